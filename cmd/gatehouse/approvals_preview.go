package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
)

type previewCommand struct {
	profileFlag
	outputFlag
	ID string `arg:"" help:"The approval's id."`
}

func (previewCommand) Help() string {
	return `Asks the planner what it expects, counts the rows that an UPDATE or DELETE matches now, and shows up to five of them
as the policies show them to you. Nothing is changed. Where you look at rows, that is a session of yours, and recorded.

Examples:
  gatehouse approvals preview ap-…
  gatehouse approvals preview ap-… --output json`
}

func (c previewCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	e, err := api.Preview(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, e)
	}
	showEffect(s.out, e)
	return nil
}

func showEffect(w io.Writer, e gate.Effect) {
	for i := range e.Statements {
		one := &e.Statements[i]
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, line(one.Text, 200))
		if p := one.Planned; p != nil {
			fmt.Fprintf(w, "  the planner expects %.0f rows, at a cost of %.0f", p.Rows, p.Cost)
			if p.Steps != "" {
				fmt.Fprintf(w, " (%s)", plain(p.Steps))
			}
			fmt.Fprintln(w)
		}
		if one.Rows != nil {
			fmt.Fprintf(w, "  rows that match now: %d\n", *one.Rows)
		}
		for _, n := range one.Notes {
			fmt.Fprintln(w, " ", plain(n))
		}
		if one.Sample != nil {
			showSample(w, one.Sample)
		}
	}
	if len(e.Statements) == 0 {
		fmt.Fprintln(w, "There is nothing to look at.")
	}
}

func showSample(w io.Writer, s *gate.Sample) {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cells []string) { fmt.Fprintln(table, "  "+strings.Join(cells, "\t")) }
	names := make([]string, len(s.Columns))
	for i, c := range s.Columns {
		names[i] = line(c, 40)
	}
	row(names)
	for _, r := range s.Rows {
		cells := make([]string, len(r))
		for i, c := range r {
			if cells[i] = "NULL"; c != nil {
				cells[i] = line(*c, 40)
			}
		}
		row(cells)
	}
	table.Flush()
}

// preview looks at a hold by the server of its connection.
func (g *gateway) preview(ctx context.Context, who identity.Identity, client string, h gate.Hold) (gate.Effect, error) {
	p := g.previewers[h.Connection]
	if p == nil {
		return gate.Effect{}, &approval.Error{Kind: approval.Invalid, Reason: "What a request would do cannot be looked at on connections of this kind.",
			Remedy: "See `gatehouse approvals show`."}
	}
	return p.Preview(ctx, who, client, h)
}
