package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatehouse/internal/grant"
	"gatehouse/internal/store"
)

type accessRequestCommand struct {
	profileFlag
	outputFlag
	Connection string        `required:"" help:"Where." placeholder:"NAME"`
	Group      string        `required:"" help:"The group to be in there." placeholder:"GROUP"`
	Reason     string        `required:"" help:"Why. Recorded, and read by whoever grants it." placeholder:"TEXT"`
	For        time.Duration `help:"How long; 30m by default, 12h at most." placeholder:"30m"`
	Agent      string        `help:"For an agent, by its id, in place of yourself: every session of it on the connection." placeholder:"ID"`
}

func (accessRequestCommand) Help() string {
	return `Asks for a group on a connection, for a time. Somebody whom a policy lets (the action grant) answers; once granted it counts at once, in open sessions too, and ends by itself.

Examples:
  gatehouse access request --connection orders --group dba-temporary --for 30m --reason "repair the stuck orders of today"
  gatehouse access request --connection orders --group support --agent entra:OID@TID --reason "…"`
}

func (c accessRequestCommand) Run(ctx context.Context, s streams) error {
	if c.For < 0 {
		return errors.New("--for should be a length of time such as 30m")
	}
	api, err := c.dial()
	if err != nil {
		return err
	}
	g, err := api.RequestAccess(ctx, grant.Ask{Connection: c.Connection, Group: c.Group, Reason: c.Reason, For: c.For, Agent: c.Agent})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, g)
	}
	fmt.Fprintf(s.out, "asked for: %s\n", g.ID)
	fmt.Fprintf(s.out, "Whoever may grant it sees it in `gatehouse access list` and at %s\n", g.URL)
	return nil
}

type grantFlags struct {
	profileFlag
	outputFlag
	ID     string `arg:"" help:"The grant's id."`
	Reason string `help:"Why." placeholder:"TEXT"`
}

func (f grantFlags) answer(ctx context.Context, s streams, verb string, length time.Duration) error {
	if !strings.HasPrefix(f.ID, "gr-") {
		return errors.New("a grant's id begins with gr-: `gatehouse access list` shows them")
	}
	api, err := f.dial()
	if err != nil {
		return err
	}
	g, err := api.AnswerGrant(ctx, f.ID, verb, length, f.Reason)
	if err != nil {
		return err
	}
	if f.json() {
		return printJSON(s.out, g)
	}
	fmt.Fprintf(s.out, "%s is %s\n", g.ID, grantState(g))
	return nil
}

type accessGrantCommand struct {
	grantFlags
	For time.Duration `help:"How long, where that is less than was asked for." placeholder:"10m"`
}

func (accessGrantCommand) Help() string {
	return `For people whom a policy lets grant that group there, never for who asked for it or has it.

Examples:
  gatehouse access grant gr-…
  gatehouse access grant gr-… --for 10m --reason "for the two orders of the ticket"`
}

func (c accessGrantCommand) Run(ctx context.Context, s streams) error {
	return c.answer(ctx, s, "give", c.For)
}

type accessDenyCommand struct{ grantFlags }

func (accessDenyCommand) Help() string {
	return `Examples:
  gatehouse access deny gr-… --reason "use the report instead"`
}

func (c accessDenyCommand) Run(ctx context.Context, s streams) error {
	return c.answer(ctx, s, "deny", 0)
}

// grantState is what a grant waits for, or how it ended.
func grantState(g grant.Grant) string {
	switch g.State {
	case store.GrantPending:
		return "pending"
	case store.GrantGranted:
		return "granted until " + g.Expires.Local().Format(time.TimeOnly)
	}
	return string(g.State)
}

func showGrant(out io.Writer, g grant.Grant) {
	field := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-12s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	field("grant", "%s (%s)", g.ID, grantState(g))
	field("group", "%s", g.Group)
	field("principal", "%s  [%s]", g.Principal, g.Principal.ID)
	field("connection", "%s", g.Connection)
	field("asked", "by %s, %s, for %s", g.By, ago(g.Asked), time.Duration(g.Seconds)*time.Second)
	field("reason", "%s", g.Reason)
	if g.AnsweredBy != nil {
		field("answered", "by %s, %s  %s", g.AnsweredBy, ago(g.Answered), g.Answer)
	} else if g.State == store.GrantPending {
		field("answer by", "%s", g.Lapses.Local().Format(time.DateTime))
	}
	if !g.Expires.IsZero() {
		field("until", "%s", g.Expires.Local().Format(time.DateTime))
		used := "never"
		if !g.LastUsed.IsZero() {
			used = ago(g.LastUsed)
		}
		field("last used", "%s", used)
	}
	if g.EndedBy != nil {
		field("ended", "%s, by %s  %s", ago(g.Ended), g.EndedBy, g.EndedFor)
	}
}
