package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"strings"
	"text/tabwriter"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

type sessionCommands struct {
	List   sessionsListCommand   `cmd:"" help:"List recorded sessions, newest first."`
	Show   sessionsShowCommand   `cmd:"" help:"Show a session's requests and what was decided."`
	Replay sessionsReplayCommand `cmd:"" help:"Show a session as its client saw it: requests, decisions, approvals, results."`
	Tail   sessionsTailCommand   `cmd:"" help:"Show the end of a session, and with -f what happens in it as it happens."`
	Live   sessionsLiveCommand   `cmd:"" help:"List the sessions that are open now."`
	Kill   sessionsKillCommand   `cmd:"" help:"End a session at once."`
	Search sessionsSearchCommand `cmd:"" help:"Find requests: by who asked, when, how they were decided, what they touched, their words."`
	Export sessionsExportCommand `cmd:"" help:"Write a session to a file: a bundle that proves itself, JSON lines, or a result as CSV."`
	Verify sessionsVerifyCommand `cmd:"" help:"Prove that recordings, or a bundle, are whole and unchanged; needs no server."`
	Key    sessionsKeyCommand    `cmd:"" help:"Print the public key that this gateway signs recordings with."`
	Erase  sessionsEraseCommand  `cmd:"" help:"Destroy the key of a session: nobody reads it again, and its place stays proved."`
}

func (sessionCommands) Help() string {
	return `These read the recordings folder itself: run them where it is, as a user who may read it. Live and kill ask the gateway.

Examples:
  gatehouse sessions list --connection orders --limit 20
  gatehouse sessions replay s-…
  gatehouse sessions tail -f s-…
  gatehouse sessions search --object public.customers.email --since 7d
  gatehouse sessions export s-… && gatehouse sessions verify s-….ghb
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

// entries are those of a session of the folder, or of a bundle.
func (f recordingsFlag) entries(ctx context.Context, id string) (_ iter.Seq2[record.Entry, error], done func(), err error) {
	if isBundle(id) {
		file, err := os.Open(id)
		if err != nil {
			return nil, nil, err
		}
		return record.ReadBundle(file), func() { file.Close() }, nil
	}
	dir, err := f.dir()
	if err != nil {
		return nil, nil, err
	}
	return record.Read(ctx, dir, id), func() {}, nil
}

// isBundle says whether what names a session is a file with it.
func isBundle(id string) bool { return strings.HasSuffix(id, bundleSuffix) }

const bundleSuffix = ".ghb"

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
	ID string `arg:"" help:"The session's id, or a bundle (FILE.ghb)."`
}

func (sessionsShowCommand) Help() string {
	return `Examples:
  gatehouse sessions show s-…`
}

func (c sessionsShowCommand) Run(ctx context.Context, s streams) error {
	if err := c.review(s, c.ID, "show"); err != nil {
		return err
	}
	return c.replay(ctx, c.outputFlag, c.ID, &replay{out: s.out, rows: -1})
}

// decoders read what the connectors recorded, by protocol.
func decoders() map[string]gate.ResultDecoder {
	out := map[string]gate.ResultDecoder{}
	for _, c := range connectors() {
		out[c.Kind()] = c.Decoder()
	}
	return out
}
