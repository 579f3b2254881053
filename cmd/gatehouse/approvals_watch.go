package main

import (
	"context"
	"fmt"
	"time"

	"gatehouse/internal/approval"
)

type watchCommand struct {
	profileFlag
	outputFlag
	Once bool `help:"End after the first thing that waits for somebody."`
}

func (watchCommand) Help() string {
	return `Prints what waits for people now, then each thing that comes and each that changes, until it is interrupted; with --output json a line each. It goes on where the gateway is restarted.

Examples:
  gatehouse approvals watch
  gatehouse approvals watch --once
  gatehouse approvals watch --output json | jq -r .id`
}

// watchEvery is how often the gateway is asked.
const watchEvery = time.Second

func (c watchCommand) Run(ctx context.Context, s streams) error {
	api, err := c.dial()
	if err != nil {
		return err
	}
	lines := newEventLines(s.out)
	seen := map[string]string{} // state by id
	lost, first := false, true
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		list, err := api.Approvals(ctx, "", 500)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil && !lost:
			lost = true
			fmt.Fprintln(s.err, "the gateway does not answer; trying again:", plain(err.Error()))
		case err == nil:
			if lost {
				lost = false
				fmt.Fprintln(s.err, "the gateway answers again")
			}
			for i := len(list) - 1; i >= 0; i-- { // the oldest first
				v := list[i]
				waits := v.State == "pending" || v.State == "awaiting-review" || v.State == "open"
				if seen[v.ID] == v.State || first && !waits {
					seen[v.ID] = v.State
					continue
				}
				seen[v.ID] = v.State
				if c.json() {
					if err := lines.Encode(v); err != nil {
						return err
					}
				} else {
					fmt.Fprintln(s.out, watchLine(v))
				}
				if c.Once && waits {
					return nil
				}
			}
			first = false
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watchLine is one thing in a line: when, what became of it, who asks for what.
func watchLine(v approval.View) string {
	by := ""
	if n := len(v.Answers); n > 0 {
		by = " by " + v.Answers[n-1].By
	}
	return fmt.Sprintf("%s  %s  %s%s  %s  %s  %s", v.Changed.Local().Format(time.TimeOnly), v.ID, v.State, plain(by), plain(v.Hold.Connection), line(v.Hold.Principal.String(), 40), line(texts(v), 80))
}
