package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse/internal/breakglass"
	"gatehouse/internal/grant"
	"gatehouse/internal/store"
)

type accessCommands struct {
	Request    accessRequestCommand `cmd:"" help:"Ask for a group on a connection, for a time."`
	Grant      accessGrantCommand   `cmd:"" help:"Grant what was asked for."`
	Deny       accessDenyCommand    `cmd:"" help:"Deny what was asked for."`
	BreakGlass breakGlassCommand    `cmd:"" name:"break-glass" help:"Get around an approval for a short time, loudly: it is recorded, told, and reviewed afterwards."`
	List       accessListCommand    `cmd:"" help:"List groups that somebody has or asks for, and windows in which somebody breaks the glass, newest first."`
	Show       accessShowCommand    `cmd:"" help:"Show one: who, why, until when, and which sessions used it."`
	Revoke     accessRevokeCommand  `cmd:"" help:"End one at once, or take back what was asked for."`
	Review     accessReviewCommand  `cmd:"" help:"Mark a window that ended as reviewed."`
}

func (accessCommands) Help() string {
	return `Examples:
  gatehouse access request --connection orders --group dba-temporary --for 30m --reason "repair the stuck orders of today"
  gatehouse access grant gr-…
  gatehouse access break-glass --connection orders --reason "orders are stuck, nobody of dba answers" --for 15m
  gatehouse access list --state ended
  gatehouse access review bg-… --finding "three updates of stuck orders, as announced"`
}

type breakGlassCommand struct {
	profileFlag
	outputFlag
	Connection string        `required:"" help:"Where." placeholder:"NAME"`
	Reason     string        `required:"" help:"Why. Recorded, told, and read by whoever reviews." placeholder:"TEXT"`
	For        time.Duration `help:"How long; 15m by default, less where the policy allows less." placeholder:"15m"`
	Agent      string        `help:"For an agent, by its id, in place of yourself: every session of it on the connection." placeholder:"ID"`
}

func (breakGlassCommand) Help() string {
	return `A policy must let you (@breakglass), and say what that gives: it counts at once, in open sessions too, and ends by itself. Masks stay, unless a policy permits to reveal. Somebody of the group that the policy names reviews what you did.

Examples:
  gatehouse access break-glass --connection orders --reason "orders are stuck, nobody of dba answers"
  gatehouse access break-glass --connection orders --reason "…" --for 5m --agent entra:OID@TID`
}

func (c breakGlassCommand) Run(ctx context.Context, s streams) error {
	if c.For < 0 {
		return errors.New("--for should be a length of time such as 15m")
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	w, err := api.BreakGlass(ctx, breakglass.Ask{Connection: c.Connection, Reason: c.Reason, For: c.For, Agent: c.Agent})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, w)
	}
	fmt.Fprintf(s.out, "the glass on %s is broken for %s until %s: %s\n", w.Connection, plain(w.Principal.String()), w.Expires.Local().Format(time.TimeOnly), w.ID)
	fmt.Fprintf(s.out, "It is recorded and told; %s reviews it. Done earlier? gatehouse access revoke %s\n", w.Review.Group, w.ID)
	return nil
}

type accessListCommand struct {
	profileFlag
	outputFlag
	State string `enum:",pending,granted,denied,withdrawn,lapsed,expired,revoked,open,ended,reviewed" default:"" help:"Only those in a state: of grants pending, granted, denied, withdrawn, lapsed, expired or revoked, of windows open, ended (they wait for a review) or reviewed." placeholder:"STATE"`
	Limit int    `default:"50" help:"At most so many."`
}

func (accessListCommand) Help() string {
	return `Examples:
  gatehouse access list
  gatehouse access list --state ended --output json`
}

func (c accessListCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	ofWindow := slices.Contains([]string{"open", "ended", "reviewed"}, c.State)
	windows, grants := []breakglass.Window{}, []grant.Grant{}
	if ofWindow || c.State == "" {
		if windows, err = api.Windows(ctx, c.State, c.Limit); err != nil {
			return err
		}
	}
	if !ofWindow {
		if grants, err = api.Grants(ctx, c.State, c.Limit); err != nil {
			return err
		}
	}
	if c.json() {
		return printJSON(s.out, map[string]any{"grants": grants, "windows": windows})
	}
	if len(windows)+len(grants) == 0 {
		fmt.Fprintln(s.out, "Nobody asks for access, has a grant, or broke the glass.")
		return nil
	}
	out := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "ID\tSTATE\tSINCE\tCONNECTION\tPRINCIPAL\tGROUP\tREASON")
	for _, g := range grants {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, grantState(g), ago(g.Asked), g.Connection, line(g.Principal.String(), 40), line(g.Group, 30), line(g.Reason, 60))
	}
	for _, w := range windows {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", w.ID, windowState(w), ago(w.Opened), w.Connection, line(w.Principal.String(), 40), "(break-glass)", line(w.Reason, 60))
	}
	return out.Flush()
}

// windowState is what a window waits for.
func windowState(w breakglass.Window) string {
	switch w.State {
	case store.WindowOpen:
		return "open until " + w.Expires.Local().Format(time.TimeOnly)
	case store.WindowEnded:
		return "awaiting review"
	}
	return string(w.State)
}

type windowFlags struct {
	profileFlag
	outputFlag
	ID string `arg:"" help:"The window's id."`
}

func (f windowFlags) check() error {
	if !strings.HasPrefix(f.ID, "bg-") && !strings.HasPrefix(f.ID, "gr-") {
		return errors.New("an id begins with gr- (a grant) or bg- (a window): `gatehouse access list` shows them")
	}
	return nil
}

type accessShowCommand struct{ windowFlags }

func (accessShowCommand) Help() string {
	return `Examples:
  gatehouse access show bg-…`
}

func (c accessShowCommand) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "gr-") {
		g, err := api.Grant(ctx, c.ID)
		if err == nil && c.json() {
			return printJSON(s.out, g)
		} else if err == nil {
			showGrant(s.out, g)
		}
		return err
	}
	w, err := api.Window(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, w)
	}
	showWindow(s.out, w)
	return nil
}

func showWindow(out io.Writer, w breakglass.Window) {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-12s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	field("window", "%s (%s)", w.ID, windowState(w))
	field("principal", "%s  [%s]", w.Principal, w.Principal.ID)
	field("connection", "%s", w.Connection)
	field("opened", "by %s, %s, until %s", w.By, ago(w.Opened), w.Expires.Local().Format(time.DateTime))
	field("reason", "%s", w.Reason)
	field("reviewers", "%s (policy %s)", w.Review.Group, w.Review.Policy)
	if w.EndedHow != "" {
		by := ""
		if w.EndedBy != nil {
			by = " by " + w.EndedBy.String()
		}
		field("ended", "%s, %s%s  %s", ago(w.Ended), w.EndedHow, by, w.EndedFor)
	}
	if w.ReviewedBy != nil {
		field("reviewed", "by %s, %s: %s", w.ReviewedBy, ago(w.Reviewed), w.Finding)
	}
	if len(w.Sessions) == 0 {
		field("sessions", "none used it")
	}
	for _, id := range w.Sessions {
		field("session", "%s  (gatehouse sessions replay %s)", id, id)
	}
}

type accessRevokeCommand struct {
	windowFlags
	Reason string `help:"Why." placeholder:"TEXT"`
}

func (accessRevokeCommand) Help() string {
	return `A grant: who asked for it or has it may, and who may grant it. A window: who opened it, who reviews, and who approves on the connection. The next statement is decided without it.

Examples:
  gatehouse access revoke gr-…
  gatehouse access revoke bg-…
  gatehouse access revoke bg-… --reason "not what was agreed"`
}

func (c accessRevokeCommand) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "gr-") {
		return grantFlags{c.profileFlag, c.outputFlag, c.ID, c.Reason}.answer(ctx, s, "revoke", 0)
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	w, err := api.RevokeWindow(ctx, c.ID, c.Reason)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, w)
	}
	fmt.Fprintf(s.out, "%s is revoked, and waits for a review by %s\n", w.ID, w.Review.Group)
	return nil
}

type accessReviewCommand struct {
	windowFlags
	Finding string `required:"" help:"What you looked at, and whether it was right. Recorded." placeholder:"TEXT"`
}

func (accessReviewCommand) Help() string {
	return `For people of the group that the policy names, never for who opened it. Look at what was done first: show names the sessions, and sessions replay shows each request, those that would not have run otherwise too.

Examples:
  gatehouse access show bg-…
  gatehouse access review bg-… --finding "three updates of stuck orders, as announced"`
}

func (c accessReviewCommand) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "gr-") {
		return errors.New("only windows are reviewed: a grant was looked at before it was given")
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	w, err := api.ReviewWindow(ctx, c.ID, c.Finding)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, w)
	}
	fmt.Fprintf(s.out, "%s is reviewed\n", w.ID)
	return nil
}
