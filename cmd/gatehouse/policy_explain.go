package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/cases"
	"gatehouse/internal/policy/offline"
	"gatehouse/internal/record"
)

type policyExplainCommand struct {
	worldFlags
	outputFlag
	JSON       bool   `name:"json" help:"The same as --output json."`
	Request    string `arg:"" optional:"" help:"The id of a recorded request, such as s-….3: it is in the refusal, and in sessions show."`
	Recordings string `help:"The recordings folder; by default the configuration's." placeholder:"FOLDER"`
	Principal  string `help:"The id of who asks, where no recorded request is named." placeholder:"ID"`
	principalFlags
	Connection string `help:"The connection; may be left out where there is one." placeholder:"NAME"`
	SQL        string `name:"sql" help:"The statement." placeholder:"TEXT"`
	Action     string `help:"What is done, instead of a statement: read, update, …" placeholder:"ACTION"`
	Resource   string `help:"What it is done to: public.customers.email." placeholder:"NAME"`
	All        bool   `help:"Show the policies about other actions too."`
}

func (policyExplainCommand) Help() string {
	return `Says for everything that a request touches which policies were considered, which of them match, and for those that do not, the part that does not fit; then what would be needed. A recorded request is decided again by the policies in force now, or those of --policies: where that differs from what was decided then, it is said.

Examples:
  gatehouse policy explain s-….3
  gatehouse policy explain --principal entra:… --group ai-agents --connection orders --sql 'select email from customers'
  gatehouse policy explain --principal entra:… --group analysts --connection orders --action read --resource customers.email
  gatehouse policy explain --policies draft.cedar --catalog orders.catalog.json --principal x --group ai-agents --sql 'drop table orders'`
}

// explained is the answer.
type explained struct {
	// Request is the recorded one's id; empty for one that was only described.
	Request    string           `json:"request,omitempty"`
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	Text       string           `json:"text,omitempty"` // as it was received
	Sent       string           `json:"sent,omitempty"` // as it would be sent
	Version    string           `json:"policy_version"`
	// Recorded is what was decided then, by the policies of that version.
	Recorded        *policy.Decision `json:"recorded,omitempty"`
	RecordedVersion string           `json:"recorded_policy_version,omitempty"`
	// BreakGlass is set where it was decided in a window; it is explained as without one.
	BreakGlass *gate.Broken     `json:"break_glass,omitempty"`
	Refusal    *gate.Refusal    `json:"refusal,omitempty"`
	Outcome    cases.Outcome    `json:"outcome"`
	Touches    []explainedTouch `json:"touches"`
	Needed     needed           `json:"needed"`
}

type explainedTouch struct {
	Touch   string               `json:"touch"`
	Effect  string               `json:"effect"`
	Mask    string               `json:"mask,omitempty"`
	Rows    []string             `json:"rows,omitempty"`
	Limit   string               `json:"limit,omitempty"`
	Labels  []string             `json:"labels,omitempty"`
	Parties []policy.Explanation `json:"parties"`
}

// needed is what would have to be so for the request to run.
type needed struct {
	// Permits is the least Cedar that permits what is missing.
	Permits string `json:"permits,omitempty"`
	// Forbids are the policies that would have to go, or to except it.
	Forbids []string `json:"forbids,omitempty"`
	// Approvals are those that people would have to give.
	Approvals []string `json:"approvals,omitempty"`
	// Remedy is what else there is to do.
	Remedy string `json:"remedy,omitempty"`
}

func (c policyExplainCommand) Run(ctx context.Context, s streams) error {
	w, conf, err := c.open()
	if err != nil {
		return err
	}
	var out *explained
	switch {
	case c.Request != "" && (c.Principal != "" || c.SQL != "" || c.Action != ""):
		return errors.New("a recorded request says by itself who asks for what: leave out --principal, --sql and --action")
	case c.Request != "":
		out, err = c.recorded(ctx, s, w, conf)
	default:
		out, err = c.described(ctx, s, w, conf)
	}
	if err != nil {
		return err
	}
	if c.JSON || c.json() {
		return printJSON(s.out, out)
	}
	out.print(s.out, c.All)
	return nil
}

// described explains a request that the flags describe.
func (c policyExplainCommand) described(ctx context.Context, s streams, w *world, conf *config.Config) (*explained, error) {
	if c.Principal == "" {
		return nil, errors.New("which request? name a recorded one, or say who asks for what: --principal ID --sql TEXT")
	}
	p, err := c.principal(c.Principal)
	if err != nil {
		return nil, err
	}
	at, err := c.place(w, conf, c.Connection)
	if err != nil {
		return nil, err
	}
	r := request{principal: p, place: at, text: c.SQL}
	switch {
	case (c.SQL == "") == (c.Action == ""):
		return nil, errors.New("say what is asked for: --sql TEXT, or --action ACTION --resource NAME")
	case c.SQL != "" && c.Resource != "":
		return nil, errors.New("--resource goes with --action, not with --sql")
	case c.SQL != "":
		err = c.see(ctx, s, conf, at)
	default:
		if at.model == nil && strings.Count(c.Resource, ".") > 0 {
			if c.see(ctx, s, conf, at) != nil {
				fmt.Fprintf(s.err, "note: without a catalog of %s no column has labels\n", at.resource.ID)
			}
		}
		var t policy.Touch
		t, err = w.touch(at, c.Action+" "+c.Resource, nil)
		r.touches = []policy.Touch{t}
	}
	if err != nil {
		return nil, err
	}
	a, err := w.decide(r)
	if err != nil {
		return nil, err
	}
	out := explainAnswer(w, r, a)
	out.Text = c.SQL
	return out, nil
}

// explainAnswer explains an answer touch by touch, what is refused first.
func explainAnswer(w *world, r request, a answered) *explained {
	out := &explained{Principal: r.principal, Connection: r.place.resource.ID, Version: w.set.Version(), Sent: a.text, Refusal: a.refusal, Outcome: a.outcome, Touches: []explainedTouch{}}
	slice := w.slice(r.principal)
	lacking := map[string][]policy.Touch{}
	var order []policy.Principal
	touches := slices.Clip(a.touches)
	if a.refusal != nil { // what understanding it found out that is missing besides
		for _, t := range a.refusal.Missing {
			if !slices.ContainsFunc(touches, func(o policy.Touch) bool { return o.Action == t.Action && o.Resource.Entity == t.Resource.Entity }) {
				touches = append(touches, t)
			}
		}
	}
	for _, t := range touches {
		v := slice.Verdict(t)
		one := explainedTouch{Touch: t.String(), Effect: v.Effect.String(), Mask: v.Mask, Rows: cases.RowsText(v.Rows), Limit: cases.LimitText(v.Limit), Labels: t.Resource.Labels, Parties: w.set.Explain(r.principal, w.moment, t)}
		if r.place.model != nil && v.Mask != "" {
			one.Mask = cmp.Or(r.place.model.Shown(slice, t.Resource), v.Mask)
		}
		for _, party := range one.Parties {
			if party.Effect == policy.Refuse && len(party.Errors) == 0 && !slices.ContainsFunc(party.Policies, func(c policy.Considered) bool { return c.Decides }) {
				if lacking[party.Party.ID] == nil {
					order = append(order, party.Party)
				}
				lacking[party.Party.ID] = append(lacking[party.Party.ID], t)
			}
		}
		out.Touches = append(out.Touches, one)
	}
	slices.SortStableFunc(out.Touches, func(x, y explainedTouch) int { return cmp.Compare(rank(x.Effect), rank(y.Effect)) })
	for _, p := range order {
		out.Needed.Permits += policy.LeastPermit(p, lacking[p.ID])
	}
	out.Needed.Forbids, out.Needed.Approvals = a.decision.Forbidden, a.outcome.Approvals
	if a.refusal != nil && out.Needed.Permits == "" && len(out.Needed.Forbids) == 0 {
		out.Needed.Remedy = a.refusal.Remedy
	}
	return out
}

func rank(effect string) int { return slices.Index([]string{"refuse", "hold", "permit"}, effect) }

// recorded explains a request of a recording.
func (c policyExplainCommand) recorded(ctx context.Context, s streams, w *world, conf *config.Config) (*explained, error) {
	dir := c.Recordings
	if dir == "" {
		if conf == nil {
			return nil, errors.New("there is no configuration that says where the recordings are: name them with --recordings FOLDER")
		}
		dir = conf.RecordingsDir()
	}
	info, asked, was, when, err := findRequest(ctx, dir, c.Request)
	if err != nil {
		return nil, err
	}
	if c.At.IsZero() {
		w.moment.Millis = when.UnixMilli()
	}
	if c.From == "" {
		w.moment.Source = gate.SourceOf(info.Client)
	}
	at := w.places[info.Connection]
	if at == nil { // it is not configured any more, or is the gateway itself
		at = &place{resource: gate.Connection{Name: info.Connection}.Resource()}
	}
	r := request{principal: info.Principal, place: at, text: cmp.Or(asked.Intent.Received, asked.Intent.Text)}
	touches, known := recordedTouches(was, at.resource)
	var a answered
	switch {
	case known:
		slice := w.slice(r.principal)
		if at.model == nil && slices.ContainsFunc(touches, func(t policy.Touch) bool { return len(t.Resource.Labels) > 0 }) {
			c.see(ctx, s, conf, at) // only to show what a mask is left for a column's type
		}
		shown, rows := cases.Touched(slice, touches)
		for id := range shown {
			if at.model != nil {
				shown[id] = cmp.Or(at.model.Shown(slice, policy.Resource{Entity: policy.Entity{Type: "Column", ID: id}}), shown[id])
			}
		}
		a = decided(slice, touches, shown, rows)
		a.text = asked.Intent.Text
	default:
		if err := c.see(ctx, s, conf, at); err != nil {
			a.refusal = was.Refusal // as it was then is all that is known
			a.decision = was.Decision
			a.outcome = cases.Of(was.Decision, nil, nil)
			if was.Refusal != nil {
				a.outcome.Code, a.outcome.Reason = string(was.Refusal.Code), was.Refusal.Reason
			}
			fmt.Fprintf(s.err, "note: what it touches was not recorded, and its text cannot be understood again: %v\n", err)
			break
		}
		if a, err = w.decide(r); err != nil {
			return nil, err
		}
	}
	out := explainAnswer(w, r, a)
	out.Request, out.Recorded, out.RecordedVersion = asked.ID, &was.Decision, was.Version
	if out.BreakGlass = was.BreakGlass; out.BreakGlass != nil {
		fmt.Fprintf(s.err, "note: it was decided while the glass was broken (%s), otherwise it had been: %s. It is explained as without that.\n", strings.Join(was.BreakGlass.Windows, ", "), was.BreakGlass.Otherwise)
	}
	out.Text = r.text
	if out.Refusal == nil && out.Outcome.Decision == policy.Refuse.String() {
		out.Refusal = was.Refusal
	}
	return out, nil
}

// recordedTouches are the touches that a decision was recorded with; they are known where all of them were.
func recordedTouches(was *gate.DecisionBody, connection policy.Resource) ([]policy.Touch, bool) {
	if was.Partial || len(was.Touches) == 0 {
		return nil, false
	}
	if list, err := was.Judged(); err == nil {
		var out []policy.Touch
		for _, j := range list {
			out = append(out, j.Touch)
		}
		return out, true
	}
	labels := map[string][]string{}
	for _, t := range append(slices.Clip(was.Decision.Missing), was.Decision.Barred...) {
		labels[t.Resource.ID] = t.Resource.Labels
	}
	var out []policy.Touch
	for _, line := range was.Touches {
		t, err := offline.Touch(line, connection, func(id string) []string { return labels[id] })
		if err != nil {
			return nil, false
		}
		out = append(out, t)
	}
	return out, true
}

// findRequest reads one request of the recordings.
func findRequest(ctx context.Context, dir, id string) (info *gate.SessionInfo, asked *gate.RequestBody, was *gate.DecisionBody, when time.Time, err error) {
	session, _, found := strings.Cut(id, ".")
	if !found {
		return nil, nil, nil, when, fmt.Errorf("%q is not the id of a request, such as s-….3: `gatehouse sessions show %s` lists those of a session", id, plain(id))
	}
	info = &gate.SessionInfo{}
	var number uint64
	for entry, err := range record.Read(ctx, dir, session) {
		if err != nil {
			return nil, nil, nil, when, err
		}
		for _, ev := range entry.Events {
			switch {
			case ev.Kind == gate.SessionOpened:
				err = json.Unmarshal(ev.Body, info)
			case ev.Kind == gate.Requested && asked == nil:
				var b gate.RequestBody
				if err = json.Unmarshal(ev.Body, &b); err == nil && b.ID == id {
					asked, number, when = &b, ev.Request, entry.Time
				}
			case ev.Kind == gate.Decided && asked != nil && was == nil && ev.Request == number:
				was = &gate.DecisionBody{}
				err = json.Unmarshal(ev.Body, was)
			}
			if err != nil {
				return nil, nil, nil, when, fmt.Errorf("entry %d of session %s cannot be read: %w", entry.Number, session, err)
			}
		}
		if was != nil {
			return info, asked, was, when, nil
		}
	}
	return nil, nil, nil, when, fmt.Errorf("there is no request %s in the recordings in %s: `gatehouse sessions show %s` lists those of the session", plain(id), dir, plain(session))
}

// print writes an explanation for people.
func (e *explained) print(out io.Writer, all bool) {
	say := func(format string, args ...any) {
		fmt.Fprintln(out, strings.TrimRight(plain(fmt.Sprintf(format, args...)), " "))
	}
	if e.Request != "" {
		say("request     %s", e.Request)
	}
	say("principal   %s", fullName(e.Principal))
	say("connection  %s", e.Connection)
	if e.Text != "" {
		say("text        %s", line(strings.Join(strings.Fields(e.Text), " "), 200))
	}
	if e.Sent != "" && e.Sent != e.Text {
		say("sent as     %s", line(strings.Join(strings.Fields(e.Sent), " "), 400))
	}
	say("decision    %s", e.decision())
	if e.Recorded != nil {
		say("recorded    %s, by the policies %s; this is by %s", e.Recorded.Effect, e.RecordedVersion, e.Version)
	}
	for _, t := range e.Touches {
		fmt.Fprintln(out)
		say("%s", t.Touch)
		say("  %s%s", t.Effect, t.details())
		for _, p := range t.Parties {
			printParty(say, p, len(t.Parties) > 1, all)
		}
	}
	e.Needed.print(out, say)
}

func (e *explained) decision() string {
	o := e.Outcome
	switch {
	case o.Decision == "hold":
		return "hold, for approval by " + strings.Join(o.Approvals, " and ")
	case o.Reason != "":
		return o.Decision + " (" + o.Code + "): " + o.Reason
	case len(o.Forbidden) > 0:
		return o.Decision + ": forbidden is " + shortList(o.Forbidden)
	case len(o.Missing) > 0:
		return o.Decision + ": no policy permits " + shortList(o.Missing)
	}
	return o.Decision
}

// details are what a touch is under.
func (t *explainedTouch) details() string {
	var parts []string
	if t.Mask != "" && t.Mask != policy.MaskNone.String() {
		parts = append(parts, "masked: "+t.Mask)
	}
	if len(t.Labels) > 0 {
		parts = append(parts, "labels "+strings.Join(t.Labels, ", "))
	}
	if len(t.Rows) > 0 {
		parts = append(parts, "rows where "+strings.Join(t.Rows, " and "))
	}
	if t.Limit != "" {
		parts = append(parts, "limit "+t.Limit)
	}
	if parts == nil {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}

// printParty writes what was considered for one party: what decides first, then what matches, then near misses.
func printParty(say func(string, ...any), e policy.Explanation, several, all bool) {
	indent := "  "
	if several {
		say("  %s: %s", fullName(e.Party), e.Effect)
		indent = "    "
	}
	for _, err := range e.Errors {
		say("%s!! %s", indent, err)
	}
	nearness := []policy.Part{policy.Condition, policy.What, policy.Who, policy.Action}
	list := slices.Clone(e.Policies)
	slices.SortStableFunc(list, func(a, b policy.Considered) int {
		at := func(c policy.Considered) int {
			switch {
			case c.Decides:
				return -2
			case c.Matches:
				return -1
			}
			return slices.Index(nearness, c.Fails)
		}
		return cmp.Compare(at(a), at(b))
	})
	others := 0
	for _, c := range list {
		if c.Fails == policy.Action && !all {
			others++
			continue
		}
		mark := "-"
		if c.Decides {
			mark = "*"
		}
		where := ""
		if c.Source != "" && c.Line > 0 {
			where = fmt.Sprintf(" (%s:%d)", c.Source, c.Line)
		}
		asks := ""
		if len(c.Asks) > 0 {
			asks = " " + strings.Join(c.Asks, " ")
		}
		say("%s%s %s %s%s%s: %s", indent, mark, c.Effect, c.Policy, where, asks, c.Why)
	}
	switch {
	case others == 1:
		say("%s  1 policy is about other actions", indent)
	case others > 1:
		say("%s  %s are about other actions", indent, count(others, "policy"))
	}
}

func (n *needed) print(out io.Writer, say func(string, ...any)) {
	if n.Permits == "" && len(n.Forbids) == 0 && len(n.Approvals) == 0 && n.Remedy == "" {
		return
	}
	fmt.Fprintln(out)
	say("what it would need")
	if len(n.Forbids) > 0 {
		say("  that it is excepted from %s, which forbids it", strings.Join(n.Forbids, ", "))
	}
	if n.Permits != "" {
		say("  a permit; the least is")
		for l := range strings.Lines(n.Permits) {
			say("    %s", strings.TrimRight(l, "\n"))
		}
	}
	if len(n.Approvals) > 0 {
		say("  approval by %s (GROUP,N: by N persons)", strings.Join(n.Approvals, " and "))
	}
	if n.Remedy != "" {
		say("  %s", n.Remedy)
	}
}
