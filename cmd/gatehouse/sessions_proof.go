package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/ocsf"
	"gatehouse/internal/record"
	"gatehouse/internal/search"
)

type sessionsVerifyCommand struct {
	recordingsFlag
	outputFlag
	IDs  []string `arg:"" name:"id" optional:"" help:"Sessions to report on, all by default; or bundles (FILE.ghb)."`
	Key  []string `help:"A public key that must have signed, in hex (\"gatehouse sessions key\" prints it), or a file with it; several are allowed." placeholder:"KEY"`
	From string   `help:"A folder that recordings were shipped to (recordings.ship), or fetched from there into." type:"existingdir" placeholder:"FOLDER"`
	Head []string `help:"A copy of heads.jsonl that was kept elsewhere: the recordings must come to its heads too." type:"existingfile" placeholder:"FILE"`
}

func (sessionsVerifyCommand) Help() string {
	return `Examples:
  gatehouse sessions verify
  gatehouse sessions verify --recordings /mnt/copy/recordings s-… s-…
  gatehouse sessions verify --key 3b6a27bc… --head /mnt/kept/heads.jsonl
  gatehouse sessions verify --key 3b6a27bc… --from /mnt/archive
  gatehouse sessions verify --key 3b6a27bc… s-….ghb`
}

func (c sessionsVerifyCommand) Run(ctx context.Context, s streams) error {
	keys, err := publicKeys(c.Key)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.IDs, isBundle) {
		return c.bundles(s, keys)
	}
	dir, verify := c.From, record.VerifyShipped
	if dir == "" {
		verify = record.VerifyAgainst
		if dir, err = c.dir(); err != nil {
			return err
		}
	}
	kept, err := keptHeads(c.Head)
	if err != nil {
		return err
	}
	begun := time.Now()
	report, err := verify(ctx, dir, kept, keys, c.IDs...)
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
	if r.Sealed {
		fmt.Fprintln(s.out, "note: the keys of the sessions are not here: the chains were looked at, and what happened could not be")
	}
	switch {
	case r.Heads > 0:
		fmt.Fprintf(s.out, "signed: it comes to %s, the last one of %s, signed with %s\n", count(r.Heads, "signed head"), r.Signed.Local().Format(time.DateTime), strings.Join(r.Keys, ", "))
	default:
		fmt.Fprintln(s.out, "note: nothing of it is signed: that it was not cut short cannot be seen")
	}
	fmt.Fprintf(s.out, "verified: %s (%d open), %s in %s; every hash and chain fits; %s with an unknown outcome (%s)\n",
		count(len(r.Sessions), "session"), open, count(r.Entries, "entry"), count(r.Segments, "segment"), count(unknown, "request"), took.Round(time.Millisecond))
}

func (c sessionsVerifyCommand) bundles(s streams, keys []string) error {
	bad := 0
	var reports []record.BundleReport
	for _, path := range c.IDs {
		if !isBundle(path) {
			return fmt.Errorf("%s is a session and not a bundle: verify the one or the other", path)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		begun := time.Now()
		r, err := record.VerifyBundle(f, keys)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(keys) > 0 && r.OK() && r.Key == "" {
			r.Problems = append(r.Problems, "nothing of it is signed")
		}
		if !r.OK() {
			bad++
		}
		if reports = append(reports, r); c.json() {
			continue
		}
		for _, p := range r.Problems {
			fmt.Fprintf(s.out, "PROBLEM  %s: %s\n", path, plain(p))
		}
		if !r.OK() {
			continue
		}
		fmt.Fprintf(s.out, "verified: %s, session %s, %s in %s; every hash and chain fits\n", path, r.Session, count(int(r.Entries), "entry"), time.Since(begun).Round(time.Millisecond))
		switch {
		case r.Key == "":
			fmt.Fprintln(s.out, "note: no signed head stands behind it: it was exported before one was signed, which happens every 10 seconds")
		case len(keys) == 0:
			fmt.Fprintf(s.out, "signed: at %s with %s; is that the gateway's key? Ask with --key\n", r.Signed.Local().Format(time.DateTime), r.Key)
		default:
			fmt.Fprintf(s.out, "signed: at %s with %s\n", r.Signed.Local().Format(time.DateTime), r.Key)
		}
		if !r.Closed {
			fmt.Fprintln(s.out, "note: the session had not ended")
		}
		if r.Sealed {
			fmt.Fprintln(s.out, "note: its key is not in it: what happened cannot be read")
		}
	}
	if c.json() {
		if err := printJSON(s.out, reports); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%s of %d not what was recorded: keep the file as it is, and ask for another copy", areBundles(bad), len(c.IDs))
	}
	return nil
}

func areBundles(n int) string {
	if n == 1 {
		return "1 bundle is"
	}
	return fmt.Sprintf("%d bundles are", n)
}

// publicKeys reads public keys, each in hex or from a file with it.
func publicKeys(list []string) ([]string, error) {
	var out []string
	for _, one := range list {
		text := one
		if b, err := os.ReadFile(one); err == nil {
			text = string(b)
		}
		text = strings.ToLower(strings.TrimSpace(text))
		if b, err := hex.DecodeString(text); err != nil || len(b) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("--key %s: that is neither a public key of 32 bytes in hex nor a file with one", one)
		}
		out = append(out, text)
	}
	return out, nil
}

func keptHeads(paths []string) ([]record.Head, error) {
	var out []record.Head
	for _, path := range paths {
		list, err := record.ReadHeads(path)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("--head %s: there is no head in it", path)
		}
		out = append(out, list...)
	}
	return out, nil
}

type sessionsKeyCommand struct{ configFlag }

func (sessionsKeyCommand) Help() string {
	return `Keep it where the gateway's operators cannot change it: it proves recordings to who does not trust them.

Examples:
  gatehouse sessions key > gateway.pub
  gatehouse sessions verify --key gateway.pub`
}

func (c sessionsKeyCommand) Run(s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(conf.StateDir(), signingName)); errors.Is(err, fs.ErrNotExist) {
		return errors.New("this gateway has no key yet: it makes one when it is started first")
	}
	key, err := signingKey(conf.StateDir())
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, hex.EncodeToString(key.Public().(ed25519.PublicKey)))
	return nil
}

type sessionsExportCommand struct {
	recordingsFlag
	ID      string `arg:"" help:"The session's id."`
	Format  string `enum:"bundle,jsonl,csv,ocsf,asciicast" default:"bundle" help:"bundle: with its proof; jsonl: its events, a line each; csv: the result of one request; ocsf: its requests as OCSF events; asciicast: a terminal's stream." placeholder:"FORMAT"`
	File    string `short:"o" help:"Where to write it: a file that does not exist yet, or - for standard output. By default the session's id with an ending." placeholder:"FILE"`
	Sealed  bool   `help:"Leave the session's key out of a bundle: it proves what it cannot show."`
	Request uint64 `help:"The number of the request whose result is written as csv." placeholder:"N"`
}

func (sessionsExportCommand) Help() string {
	return `A bundle has the session as it was recorded, its place among the other sessions, and the head that the gateway signed: who has
its public key proves it without the gateway (docs/recordings.md has the format). It holds what the client saw, masked as it saw it.

Examples:
  gatehouse sessions export s-… && gatehouse sessions verify --key gateway.pub s-….ghb
  gatehouse sessions export s-… --format jsonl -o - | jq .kind
  gatehouse sessions export s-… --format csv --request 3 -o orders.csv
  gatehouse sessions export s-… --format ocsf -o -`
}

func (c sessionsExportCommand) Validate() error {
	switch {
	case c.Format == "csv" && c.Request == 0:
		return errors.New("--format csv needs --request N: a session has many results")
	case c.Format != "csv" && c.Request != 0:
		return errors.New("--request goes with --format csv")
	case c.Format != "bundle" && c.Sealed:
		return errors.New("--sealed goes with --format bundle")
	}
	return nil
}

func (c sessionsExportCommand) Run(ctx context.Context, s streams) (err error) {
	if c.Format == "asciicast" { // no connector records terminals
		return errors.New("asciicast is for sessions with a terminal, and this one has none: --format jsonl has everything that happened in it")
	}
	if err := c.review(s, c.ID, "export"); err != nil {
		return err
	}
	path := c.File
	if path == "" {
		path = c.ID + map[string]string{"bundle": bundleSuffix, "jsonl": ".jsonl", "csv": ".csv", "ocsf": ".ocsf.jsonl", "asciicast": ".cast"}[c.Format]
	}
	var out io.Writer = s.out
	if path != "-" {
		f, exists := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(exists, fs.ErrExist) {
			return fmt.Errorf("%s exists: name another file with -o", path)
		} else if exists != nil {
			return exists
		}
		out = f
		defer func() {
			if err = errors.Join(err, f.Close()); err != nil {
				os.Remove(path)
			}
		}()
	}
	signed := true
	switch c.Format {
	case "jsonl":
		to := bufio.NewWriter(out)
		if err := c.replay(ctx, outputFlag{Output: "json"}, c.ID, &replay{out: to}); err != nil {
			return err
		}
		err = to.Flush()
	case "csv":
		err = c.csv(ctx, out)
	case "ocsf":
		err = c.ocsf(ctx, out)
	default:
		var dir string
		if dir, err = c.dir(); err == nil {
			signed, err = record.Export(ctx, dir, c.ID, c.Sealed, out)
		}
	}
	if err != nil {
		return err
	}
	if !signed {
		fmt.Fprintln(s.err, "note: no signed head stands behind it yet: the session goes on, or ended in the last 10 seconds")
	}
	if path != "-" {
		fmt.Fprintf(s.out, "%s is written\n", path)
	}
	return nil
}

// csv writes the result of one request: a line with the names of its columns, then its rows. A null is an empty field.
func (c sessionsExportCommand) csv(ctx context.Context, out io.Writer) error {
	entries, done, err := c.entries(ctx, c.ID)
	if err != nil {
		return err
	}
	defer done()
	var decoder gate.ResultDecoder
	var columns []gate.ResultColumn
	w := csv.NewWriter(out)
	found := false
	for e, err := range entries {
		if err != nil {
			return err
		}
		for _, ev := range e.Events {
			switch {
			case ev.Kind == gate.SessionOpened:
				info, err := record.Body[gate.SessionInfo](ev)
				if err != nil {
					return err
				}
				decoder = decoders()[info.Protocol]
			case ev.Request != c.Request || decoder == nil:
			case ev.Kind == gate.ResultSchema:
				if found {
					return fmt.Errorf("request %d has more than one result: --format jsonl shows them all", c.Request)
				}
				found = true
				if columns, err = decoder.Schema(ev.Data); err != nil {
					return err
				}
				names := make([]string, len(columns))
				for i, one := range columns {
					names[i] = one.Name
				}
				w.Write(names)
			case ev.Kind == gate.ResultRows && found:
				rows, err := decoder.Rows(columns, ev.Data, allRows)
				if err != nil {
					return err
				}
				for _, row := range rows {
					fields := make([]string, len(row))
					for i, cell := range row {
						if cell != nil {
							fields[i] = *cell
						}
					}
					w.Write(fields)
				}
			}
		}
	}
	if !found {
		return fmt.Errorf("session %s has no result of a request %d (`gatehouse sessions show %s` lists its requests)", c.ID, c.Request, c.ID)
	}
	w.Flush()
	return w.Error()
}

// ocsf writes the session's requests as events of the Open Cybersecurity Schema Framework, a line each.
func (c sessionsExportCommand) ocsf(ctx context.Context, out io.Writer) error {
	entries, done, err := c.entries(ctx, c.ID)
	if err != nil {
		return err
	}
	defer done()
	m, to := ocsf.New(versionText()), bufio.NewWriter(out)
	write := func(list []ocsf.Event) error {
		for _, e := range list {
			line, err := e.MarshalLine()
			if err != nil {
				return err
			}
			if _, err := to.Write(line); err != nil {
				return err
			}
		}
		return nil
	}
	var last time.Time
	for e, err := range entries {
		if err != nil {
			return err
		}
		list, err := m.Entry(e)
		if err == nil {
			err = write(list)
		}
		if err != nil {
			return err
		}
		last = e.Time
	}
	if err := write(m.End(last)); err != nil { // it is open
		return err
	}
	return to.Flush()
}

type sessionsEraseCommand struct {
	recordingsFlag
	IDs    []string `arg:"" name:"id" help:"The sessions' ids."`
	Reason string   `required:"" help:"Why: it is kept with the session's id (erased.jsonl)." placeholder:"TEXT"`
}

func (sessionsEraseCommand) Help() string {
	return `Every session is encrypted with a key of its own. Without it neither this folder nor any copy of its segments can be read; a copy
of the folder's keys.ghk that was made before can, so erase the session there too. Sessions that are open are not erased.

Examples:
  gatehouse sessions erase s-… --reason "asked for by the data subject, case 4711"`
}

func (c sessionsEraseCommand) Run(ctx context.Context, s streams) error {
	if strings.TrimSpace(c.Reason) == "" {
		return errors.New("--reason is empty: say why the sessions are erased")
	}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	list, err := record.List(ctx, dir, record.Filter{})
	if err != nil {
		return err
	}
	holds, err := record.Holds(dir)
	if err != nil {
		return err
	}
	for _, id := range c.IDs { // none, where one of them cannot be
		i := slices.IndexFunc(list, func(one record.Summary) bool { return one.ID == id })
		switch {
		case i < 0:
			return fmt.Errorf("%w: %s", record.ErrNoSession, id)
		case list[i].State == "open":
			return fmt.Errorf("session %s is open: end it first (`gatehouse sessions kill %s`)", id, id)
		}
		if h := heldBy(holds, list[i]); h != nil {
			return fmt.Errorf("session %s is held by %s since %s (%s): it is erased when the hold is released (`gatehouse recordings release %s`)", id, h.ID, h.Time.Format(time.DateOnly), h.Reason, h.ID)
		}
	}
	for _, id := range c.IDs {
		if err := erase(ctx, dir, id, c.Reason); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s is erased\n", id)
	}
	return nil
}

// heldBy is the first hold that a session is under; nil where it is under none.
func heldBy(holds []record.Hold, s record.Summary) *record.Hold {
	for i := range holds {
		if holds[i].Holds(s) {
			return &holds[i]
		}
	}
	return nil
}

// erase destroys a session's key, and notes before who did it and why.
func erase(ctx context.Context, dir, id, reason string) error {
	if err := record.NoteErasure(dir, record.Erasure{Session: id, Time: today(), By: who(), Reason: reason}); err != nil {
		return err
	}
	if err := record.Erase(dir, id); err != nil {
		return err
	}
	if err := search.Forget(ctx, dir, id); err != nil {
		return fmt.Errorf("session %s is erased, but the search index still has its words: %w: delete %s while no gateway runs", id, err, filepath.Join(dir, "search.db"))
	}
	return nil
}

func today() time.Time { return time.Now().UTC().Truncate(time.Second) }

// who is the user of the operating system that runs the command.
func who() string {
	by := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		by = u.Username
	}
	if from := os.Getenv("SUDO_USER"); from != "" && from != by {
		by += " (sudo by " + from + ")"
	}
	return by
}
