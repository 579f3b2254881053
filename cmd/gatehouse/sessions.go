package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

type sessionCommands struct {
	List   sessionsListCommand   `cmd:"" help:"List recorded sessions, newest first."`
	Show   sessionsShowCommand   `cmd:"" help:"Show a session's requests and what was decided."`
	Replay sessionsReplayCommand `cmd:"" help:"Show a session as its client saw it: requests, decisions, approvals, results."`
	Verify sessionsVerifyCommand `cmd:"" help:"Prove that recordings are whole and unchanged; needs no server."`
}

func (sessionCommands) Help() string {
	return `These read the recordings folder itself: run them where it is, as a user who may read it.

Examples:
  gatehouse sessions list --connection orders --limit 20
  gatehouse sessions replay s-…
  gatehouse sessions verify
  gatehouse sessions verify --recordings /mnt/copy/recordings`
}

// recordingsFlag names a recordings folder: by itself, or through the configuration.
type recordingsFlag struct {
	configFlag
	Recordings string `help:"The recordings folder; by default the configuration's." placeholder:"FOLDER"`
}

func (f recordingsFlag) dir() (string, error) {
	if f.Recordings != "" {
		return f.Recordings, nil
	}
	c, err := f.load()
	if err != nil {
		return "", err
	}
	return c.RecordingsDir(), nil
}

type sessionsListCommand struct {
	recordingsFlag
	outputFlag
	Connection string `help:"Only those on a connection." placeholder:"NAME"`
	Principal  string `help:"Only those of principals whose id or name has this in it." placeholder:"TEXT"`
	Limit      int    `default:"50" help:"At most so many; 0 is all."`
}

func (sessionsListCommand) Help() string {
	return `Examples:
  gatehouse sessions list --connection orders --limit 20
  gatehouse sessions list --principal deploy-bot --output json`
}

func (c sessionsListCommand) Run(ctx context.Context, s streams) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	list, err := record.List(ctx, dir, record.Filter{Connection: c.Connection, Principal: c.Principal, Limit: c.Limit})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "No sessions.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tOPENED\tSTATE\tCONNECTION\tPRINCIPAL\tREQUESTS\tREFUSED\tHELD\tUNKNOWN")
	for _, one := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\n", one.ID, ago(one.Opened), one.State, one.Connection, line(one.Principal.String(), 40), one.Requests, one.Refused, one.Held, one.Unknown)
	}
	return w.Flush()
}

type sessionsShowCommand struct {
	recordingsFlag
	outputFlag
	ID string `arg:"" help:"The session's id."`
}

func (sessionsShowCommand) Help() string {
	return `Examples:
  gatehouse sessions show s-…`
}

func (c sessionsShowCommand) Run(ctx context.Context, s streams) error {
	return c.replay(ctx, c.outputFlag, c.ID, &replay{out: s.out, rows: -1})
}

type sessionsReplayCommand struct {
	recordingsFlag
	outputFlag
	ID   string `arg:"" help:"The session's id."`
	Rows int    `default:"50" help:"At most so many rows of each result in text; 0 is all."`
}

func (sessionsReplayCommand) Help() string {
	return `Examples:
  gatehouse sessions replay s-…
  gatehouse sessions replay s-… --rows 0 --recordings /mnt/copy/recordings`
}

func (c sessionsReplayCommand) Run(ctx context.Context, s streams) error {
	return c.replay(ctx, c.outputFlag, c.ID, &replay{out: s.out, rows: c.Rows})
}

func (f recordingsFlag) replay(ctx context.Context, o outputFlag, id string, r *replay) error {
	dir, err := f.dir()
	if err != nil {
		return err
	}
	r.decoders = map[string]gate.ResultDecoder{}
	for _, c := range connectors() {
		r.decoders[c.Kind()] = c.Decoder()
	}
	if o.json() {
		r.events = newEventLines(r.out)
	}
	for e, err := range record.Read(ctx, dir, id) {
		if err != nil {
			return err
		}
		if err := r.entry(e); err != nil {
			return err
		}
	}
	return nil
}

type sessionsVerifyCommand struct {
	recordingsFlag
	outputFlag
	IDs []string `arg:"" name:"id" optional:"" help:"Sessions to report on; all by default."`
}

func (sessionsVerifyCommand) Help() string {
	return `Examples:
  gatehouse sessions verify
  gatehouse sessions verify --recordings /mnt/copy/recordings s-… s-…`
}

func (c sessionsVerifyCommand) Run(ctx context.Context, s streams) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	begun := time.Now()
	report, err := record.Verify(ctx, dir, c.IDs...)
	if err != nil {
		return err
	}
	if c.json() {
		err = printJSON(s.out, report)
	} else {
		printReport(s, report, time.Since(begun))
	}
	if err == nil && !report.OK() {
		err = fmt.Errorf("the recordings in %s are not what was recorded: keep the folder as it is, and compare it with its copies", dir)
	}
	return err
}

func printReport(s streams, r record.Report, took time.Duration) {
	for _, p := range r.Problems {
		fmt.Fprintln(s.out, "PROBLEM ", plain(p))
	}
	for _, n := range r.Notes {
		fmt.Fprintln(s.out, "note:", plain(n))
	}
	open, unknown := 0, 0
	for _, one := range r.Sessions {
		if !one.Closed {
			open++
		}
		unknown += len(one.Unknown)
		for _, p := range one.Problems {
			fmt.Fprintf(s.out, "PROBLEM  %s: %s\n", one.ID, plain(p))
		}
	}
	if !r.OK() {
		return
	}
	fmt.Fprintf(s.out, "verified: %s (%d open), %s in %s; every hash and chain fits; %s with an unknown outcome (%s)\n",
		count(len(r.Sessions), "session"), open, count(r.Entries, "entry"), count(r.Segments, "segment"), count(unknown, "request"), took.Round(time.Millisecond))
}
