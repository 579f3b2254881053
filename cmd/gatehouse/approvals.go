package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"gatehouse/internal/api/client"
	"gatehouse/internal/approval"
)

type approvalCommands struct {
	List    approvalsListCommand `cmd:"" help:"List held requests that you may see, newest first."`
	Show    approvalsShowCommand `cmd:"" help:"Show exactly what will run, and what it touches."`
	Preview previewCommand       `cmd:"" help:"Look at what a held request would do now: what the planner expects, which rows match."`
	Approve approveCommand       `cmd:"" help:"Let a held request run, once."`
	Deny    denyCommand          `cmd:"" help:"Refuse a held request."`
	Watch   watchCommand         `cmd:"" help:"Show what comes, and how it is answered, as it happens."`
}

func (approvalCommands) Help() string {
	return `Examples:
  gatehouse approvals list --state pending
  gatehouse approvals show ap-…
  gatehouse approvals preview ap-…
  gatehouse approvals approve ap-… --reason "the customer called"
  gatehouse approvals deny ap-… --reason "name the order's id"
  gatehouse approvals watch`
}

// outputFlag chooses between text for people and JSON for programs.
type outputFlag struct {
	Output string `short:"o" default:"text" enum:"text,json" help:"text or json."`
}

func (o outputFlag) json() bool { return o.Output == "json" }

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// dial is the control API as the profile's person.
func (f profileFlag) dial() (*client.Client, error) {
	store, p, err := f.open()
	if err != nil {
		return nil, err
	}
	if p.API == "" {
		return nil, fmt.Errorf("the profile %s does not say where the gateway is: sign in again with --api URL", p.Name)
	}
	web, err := trusting(p.CA)
	if err != nil {
		return nil, err
	}
	return &client.Client{Base: p.API, HTTP: web, Token: func(ctx context.Context) (string, error) {
		t, _, err := store.Token(ctx, p)
		return t, err
	}}, nil
}

type approvalsListCommand struct {
	profileFlag
	outputFlag
	State approvalState `help:"Only those in a state: pending, approved, denied, expired, withdrawn, running, done or unknown; of broken glass: open, awaiting-review or reviewed." placeholder:"STATE"`
	Limit int           `default:"50" help:"At most so many."`
}

func (approvalsListCommand) Help() string {
	return `Examples:
  gatehouse approvals list
  gatehouse approvals list --state pending --output json`
}

// approvalState is a state that a held request can be in; none is any.
type approvalState string

var approvalStates = []string{"pending", "approved", "denied", "expired", "withdrawn", "running", "done", "unknown", "open", "awaiting-review", "reviewed"}

// UnmarshalText takes the word of a state.
func (a *approvalState) UnmarshalText(b []byte) error {
	if !slices.Contains(approvalStates, string(b)) {
		return fmt.Errorf("%q is not a state: choose one of %s", b, strings.Join(approvalStates, ", "))
	}
	*a = approvalState(b)
	return nil
}

func (c approvalsListCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	list, err := api.Approvals(ctx, string(c.State), c.Limit)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "No held requests.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "APPROVAL\tSTATE\tASKED\tCONNECTION\tPRINCIPAL\tREQUEST")
	for _, v := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", v.ID, v.State, ago(v.Created), v.Hold.Connection, line(v.Hold.Principal.String(), 40), line(texts(v), 60))
	}
	return w.Flush()
}

func texts(v approval.View) string {
	var out []string
	for _, i := range v.Hold.Intents {
		if !i.Prepare {
			out = append(append(out, i.Text), i.Means...)
		}
	}
	return strings.Join(out, "; ")
}

// line makes a text fit for one line of a table: what could steer a terminal is escaped.
func line(s string, width int) string {
	s = plain(s)
	if r := []rune(s); len(r) > width {
		s = string(r[:width-1]) + "…"
	}
	return s
}

// plain escapes what could steer a terminal, or stand in a text without being seen.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsGraphic(r), unicode.Is(unicode.Variation_Selector, r), strings.ContainsRune(blanks, r):
			return '·'
		}
		return r
	}, s)
}

// blanks are letters that show nothing.
const blanks = "\u115f\u1160\u3164\uffa0\u2800"

func ago(t time.Time) string {
	d := time.Since(t).Round(time.Second)
	if d < 24*time.Hour {
		return d.String() + " ago"
	}
	return t.Local().Format("2006-01-02 15:04")
}

type approvalsShowCommand struct {
	profileFlag
	outputFlag
	ID string `arg:"" help:"The approval's id."`
}

func (approvalsShowCommand) Help() string {
	return `Examples:
  gatehouse approvals show ap-…`
}

func (c approvalsShowCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	v, err := api.Approval(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, v)
	}
	showApproval(s.out, v)
	return nil
}

// doing is what becomes of a text that is approved, by the kind of the approval.
var doing = map[string]string{"request": "will run:", "publish": "will be published:", "break-glass": "somebody does (gatehouse access shows more):"}

func showApproval(w io.Writer, v approval.View) {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	field("approval", "%s (%s)", v.ID, v.State)
	field("principal", "%s", v.Hold.Principal)
	if v.Hold.Connection != "" {
		field("connection", "%s", v.Hold.Connection)
	}
	if v.Hold.Session != "" {
		field("session", "%s, request %s", v.Hold.Session, v.Hold.RequestID)
	}
	until := time.TimeOnly
	if time.Until(v.Expires) > 12*time.Hour {
		until = time.DateTime
	}
	field("asked", "%s, may be answered until %s", ago(v.Created), v.Expires.Local().Format(until))
	for _, n := range v.Hold.Needs {
		also := ""
		if n.Escalate != "" {
			also = fmt.Sprintf(", after %s also of %s", time.Duration(n.After)*time.Second, n.Escalate)
		}
		field("needs", "%d of %s%s (policy %s)", n.Quorum, n.Group, also, n.Policy)
	}
	for _, i := range v.Hold.Intents {
		if i.Prepare {
			continue
		}
		show := func(title, text string) {
			fmt.Fprintln(w, title)
			for one := range strings.Lines(text) {
				fmt.Fprintf(w, "    %s\n", plain(strings.TrimRight(one, "\n")))
			}
		}
		show(cmp.Or(doing[v.Kind], doing["request"]), i.Text)
		for _, text := range i.Means {
			show("which uses, by its name:", text)
		}
		for n, p := range i.Parameters {
			field(fmt.Sprintf("    $%d", n+1), "%s", parameterText(p))
		}
		if i.Position != "" && i.Position != "idle" {
			field("position", "%s", i.Position)
		}
		for _, name := range slices.Sorted(maps.Keys(i.Settings)) {
			if v.Kind == "publish" {
				field(name, "%s", i.Settings[name])
				continue
			}
			field("setting", "%s = %s", name, i.Settings[name])
		}
	}
	for _, t := range v.Hold.Touches {
		field("touches", "%s", t)
	}
	for _, a := range v.Answers {
		word := "denied"
		if a.Approve {
			word = "approved"
		}
		if a.MaxRows > 0 {
			word += fmt.Sprintf(" for at most %d rows", a.MaxRows)
		}
		field(word, "by %s, %s %s", a.By, ago(a.At), a.Reason)
	}
	if v.Outcome != "" {
		field("outcome", "%s", v.Outcome)
	}
}

type answerFlags struct {
	profileFlag
	outputFlag
	ID     string `arg:"" help:"The approval's id."`
	Reason string `help:"Recorded; the requester is told it when denied." placeholder:"TEXT"`
}

type approveCommand struct {
	answerFlags
	MaxRows int64 `help:"Roll back if it changes more rows than these." placeholder:"N"`
}

func (approveCommand) Help() string {
	return `Look at it first, with show: what runs is exactly what that shows.

Examples:
  gatehouse approvals approve ap-… --reason "the customer called"
  gatehouse approvals approve ap-… --max-rows 1`
}

func (c approveCommand) Run(ctx context.Context, s streams) error {
	if c.MaxRows < 0 {
		return errors.New("--max-rows is 1 or more")
	}
	return c.answer(ctx, s, approval.Said{Approve: true, Reason: c.Reason, MaxRows: c.MaxRows})
}

type denyCommand struct{ answerFlags }

func (denyCommand) Help() string {
	return `Examples:
  gatehouse approvals deny ap-… --reason "name the order's id"`
}

func (c denyCommand) Run(ctx context.Context, s streams) error {
	return c.answer(ctx, s, approval.Said{Reason: c.Reason})
}

func (c answerFlags) answer(ctx context.Context, s streams, said approval.Said) error {
	if !strings.HasPrefix(c.ID, "ap-") {
		return errors.New("an approval's id begins with ap-: `gatehouse approvals list` shows them")
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	v, err := api.Answer(ctx, c.ID, said)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, v)
	}
	if v.State == "pending" {
		fmt.Fprintf(s.out, "%s: your approval counts; more persons have to answer\n", v.ID)
		return nil
	}
	fmt.Fprintf(s.out, "%s is %s\n", v.ID, v.State)
	return nil
}
