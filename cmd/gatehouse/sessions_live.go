package main

import (
	"context"
	"fmt"
	"text/tabwriter"
)

type sessionsLiveCommand struct {
	profileFlag
	outputFlag
}

func (sessionsLiveCommand) Help() string {
	return `Asks the gateway, as the profile's person: their own sessions, and those on connections that they review or may end sessions on.

Examples:
  gatehouse sessions live
  gatehouse sessions live --output json`
}

func (c sessionsLiveCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	list, err := api.Sessions(ctx)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "No open sessions.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tOPENED\tCONNECTION\tPRINCIPAL\tCLIENT")
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.ID, ago(l.Opened), l.Connection, line(l.Principal.String(), 50), l.Client)
	}
	return w.Flush()
}

type sessionsKillCommand struct {
	profileFlag
	outputFlag
	ID     string `arg:"" help:"The session's id."`
	Reason string `required:"" help:"Why. Recorded, and told to the client." placeholder:"TEXT"`
}

func (sessionsKillCommand) Help() string {
	return `Ends a session at once: what runs is stopped, what waits for an approval waits no more, and the client is told why. One's own sessions, and those of agents that act for one, anybody may end; others need a permit of the action kill on the connection.

Examples:
  gatehouse sessions live
  gatehouse sessions kill s-… --reason "it reads the whole table"`
}

func (c sessionsKillCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	k, err := api.KillSession(ctx, c.ID, c.Reason)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, k)
	}
	fmt.Fprintf(s.out, "%s is ended\n", k.ID)
	return nil
}
