package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse/internal/pump"
	"gatehouse/internal/ship"
	"gatehouse/internal/stream"
)

type recordingsCommands struct {
	Status recordingsStatusCommand `cmd:"" help:"Show how far recordings were shipped and streamed, and what is still to be."`
	Fetch  recordingsFetchCommand  `cmd:"" help:"Copy what was shipped to a place into a folder."`

	Expire  recordingsExpireCommand  `cmd:"" help:"Erase the sessions that are older than their connection's retention."`
	Hold    recordingsHoldCommand    `cmd:"" help:"Keep sessions from being erased."`
	Holds   recordingsHoldsCommand   `cmd:"" help:"List what is kept from being erased."`
	Release recordingsReleaseCommand `cmd:"" help:"End a hold."`
	Reviews recordingsReviewsCommand `cmd:"" help:"List who looked at which session."`
}

func (recordingsCommands) Help() string {
	return `Examples:
  gatehouse recordings status
  gatehouse recordings expire --dry-run
  gatehouse recordings fetch archive copy/ && gatehouse sessions verify --from copy/`
}

type recordingsStatusCommand struct {
	configFlag
	outputFlag
}

func (recordingsStatusCommand) Help() string {
	return `Reads the recordings folder; the gateway need not run.

Examples:
  gatehouse recordings status
  gatehouse recordings status --output json`
}

func (c recordingsStatusCommand) Run(s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	out := movement{}
	if out.Ship, err = ship.Statuses(conf.RecordingsDir(), conf.Recordings.Ship); err != nil {
		return err
	}
	if out.Streams, err = stream.Statuses(conf.RecordingsDir(), conf.Recordings.Streams); err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, out)
	}
	if len(out.Ship)+len(out.Streams) == 0 {
		fmt.Fprintln(s.out, "Recordings are shipped and streamed nowhere (recordings.ship and recordings.streams name places).")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tTO\tDONE\tLAST\tBACKLOG\tSTATE")
	for _, one := range out.Ship {
		backlog := "none"
		if one.Backlog.Segments > 0 {
			backlog = fmt.Sprintf("%s, %s, the oldest from %s", count(one.Backlog.Segments, "segment"), size(one.Backlog.Bytes), ago(one.Backlog.Oldest))
		}
		fmt.Fprintf(w, "%s\t%s\t%s, %s\t%s\t%s\t%s\n", one.Target, one.To, count(int(one.Files), "file"), size(one.Bytes), since(one.Shipped), backlog, trouble(one.Trouble))
	}
	for _, one := range out.Streams {
		backlog := "none"
		if one.Backlog > 0 {
			backlog = size(one.Backlog)
		}
		done := count(int(one.Events), "event")
		if one.Rejected > 0 {
			done += fmt.Sprintf(" (%d rejected)", one.Rejected)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", one.Target, one.To, done, since(one.Sent), backlog, trouble(one.Trouble))
	}
	return w.Flush()
}

// movement is how far recordings are, wherever they go.
type movement struct {
	Ship    []ship.Status   `json:"ship"`
	Streams []stream.Status `json:"streams"`
}

func since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return ago(t)
}

func trouble(t pump.Trouble) string {
	if t.Failing == "" {
		return "ok"
	}
	return fmt.Sprintf("failing since %s (%s): %s", ago(t.Since), tries(t.Tries), line(t.Failing, 300))
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

type recordingsFetchCommand struct {
	configFlag
	Target string `arg:"" help:"The place's name in recordings.ship."`
	Folder string `arg:"" help:"Where to: a folder that is empty, or does not exist yet."`
}

func (recordingsFetchCommand) Help() string {
	return `What is fetched is encrypted, and proves itself with "sessions verify --from". To read it, put keys.ghk of the recordings folder into it.

Examples:
  gatehouse recordings fetch archive copy/
  gatehouse sessions verify --from copy/ --key gateway.pub`
}

func (c recordingsFetchCommand) Run(ctx context.Context, s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(conf.Recordings.Ship, func(t ship.Target) bool { return t.Name == c.Target })
	if i < 0 {
		var names []string
		for _, t := range conf.Recordings.Ship {
			names = append(names, t.Name)
		}
		return fmt.Errorf("recordings.ship has no %q: there are %s", c.Target, strings.Join(names, ", "))
	}
	begun := time.Now()
	files, n, err := ship.Fetch(ctx, conf.Recordings.Ship[i], c.Folder)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s, %s, fetched from %s into %s in %s\n", count(files, "file"), size(n), conf.Recordings.Ship[i].To, c.Folder, time.Since(begun).Round(time.Millisecond))
	return nil
}
