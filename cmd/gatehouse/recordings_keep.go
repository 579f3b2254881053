package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse/internal/record"
)

type recordingsExpireCommand struct {
	configFlag
	outputFlag
	DryRun bool `help:"Only say what would be erased."`
}

func (recordingsExpireCommand) Help() string {
	return `Erases the sessions that ended longer ago than their connection's retention says (recordings.retention where it says nothing), as "sessions erase" does: their keys are destroyed, and their places stay proved. Open sessions, and those under a hold, are not erased. Run it every day.

Examples:
  gatehouse recordings expire --dry-run
  gatehouse recordings expire`
}

// expiring is a session that is older than its connection's retention.
type expiring struct {
	Session    string    `json:"session"`
	Connection string    `json:"connection"`
	Closed     time.Time `json:"closed"`
	Expired    time.Time `json:"expired"`
	// Hold is the id of the hold that keeps it.
	Hold   string `json:"hold,omitempty"`
	Erased bool   `json:"erased"`
}

func (c recordingsExpireCommand) Run(ctx context.Context, s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	dir := conf.RecordingsDir()
	holds, err := record.Holds(dir)
	if err != nil {
		return fmt.Errorf("what is held cannot be read, so nothing is erased: %w", err)
	}
	list, err := record.List(ctx, dir, record.Filter{})
	if err != nil {
		return err
	}
	out := []expiring{}
	var failed error
	for _, one := range list {
		keep := conf.Retention(one.Connection)
		if keep == 0 || one.Closed.IsZero() || one.State == "open" || one.State == "erased" || time.Since(one.Closed) < keep {
			continue
		}
		e := expiring{Session: one.ID, Connection: one.Connection, Closed: one.Closed, Expired: one.Closed.Add(keep)}
		if h := heldBy(holds, one); h != nil {
			e.Hold = h.ID
		} else if !c.DryRun {
			if failed = erase(ctx, dir, one.ID, fmt.Sprintf("older than the retention of %s", days(keep))); failed != nil {
				break
			}
			e.Erased = true
		}
		out = append(out, e)
	}
	return errors.Join(c.print(s, out), failed)
}

func (c recordingsExpireCommand) print(s streams, list []expiring) error {
	if c.json() {
		return printJSON(s.out, list)
	}
	erased, held := 0, 0
	if len(list) > 0 {
		w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "SESSION\tCONNECTION\tENDED\tEXPIRED\t")
		for _, e := range list {
			state := "would be erased"
			switch {
			case e.Hold != "":
				state = "held by " + e.Hold
				held++
			case e.Erased:
				state = "erased"
				erased++
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Session, e.Connection, e.Closed.Local().Format(time.DateOnly), e.Expired.Local().Format(time.DateOnly), state)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if c.DryRun {
		fmt.Fprintf(s.out, "%s would be erased, %d held\n", count(len(list)-held, "session"), held)
	} else {
		fmt.Fprintf(s.out, "%s erased, %d held\n", count(erased, "session"), held)
	}
	return nil
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

type recordingsHoldCommand struct {
	recordingsFlag
	outputFlag
	Session    string `help:"Hold this session." placeholder:"ID"`
	Connection string `help:"Hold the sessions on this connection, those to come too." placeholder:"NAME"`
	Principal  string `help:"Hold the sessions of principals whose id or name has this in it." placeholder:"TEXT"`
	Reason     string `required:"" help:"Why: it is kept with the hold (holds.jsonl)." placeholder:"TEXT"`
}

func (recordingsHoldCommand) Help() string {
	return `What is held is not erased, by nobody and not when it expires, until the hold is released. With several of --session, --connection and --principal, what is all of them is held.

Examples:
  gatehouse recordings hold --connection orders --principal deploy-bot --reason "case 4711"
  gatehouse recordings holds
  gatehouse recordings release h-… --reason "case 4711 is closed"`
}

// Validate says what is missing.
func (c recordingsHoldCommand) Validate() error {
	if c.Session+c.Connection+c.Principal == "" {
		return errors.New("say what to hold: --session, --connection or --principal")
	}
	if strings.TrimSpace(c.Reason) == "" {
		return errors.New("--reason is empty: say why it is held")
	}
	return nil
}

func (c recordingsHoldCommand) Run(s streams) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	h, err := record.PlaceHold(dir, record.Hold{Time: today(), By: who(), Reason: c.Reason, Session: c.Session, Connection: c.Connection, Principal: c.Principal})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, h)
	}
	fmt.Fprintf(s.out, "%s holds %s\n", h.ID, holdText(h))
	return nil
}

func holdText(h record.Hold) string {
	var out []string
	for _, part := range []struct{ what, which string }{{"session", h.Session}, {"connection", h.Connection}, {"principal", h.Principal}} {
		if part.which != "" {
			out = append(out, part.what+" "+line(part.which, 60))
		}
	}
	return strings.Join(out, ", ")
}

type recordingsReleaseCommand struct {
	recordingsFlag
	ID     string `arg:"" help:"The hold's id."`
	Reason string `required:"" help:"Why: it is kept (holds.jsonl)." placeholder:"TEXT"`
}

func (recordingsReleaseCommand) Help() string {
	return `Examples:
  gatehouse recordings release h-… --reason "case 4711 is closed"`
}

func (c recordingsReleaseCommand) Run(s streams) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	if err := record.ReleaseHold(dir, record.Hold{ID: c.ID, Time: today(), By: who(), Reason: c.Reason}); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is released\n", c.ID)
	return nil
}

type recordingsHoldsCommand struct {
	recordingsFlag
	outputFlag
}

func (recordingsHoldsCommand) Help() string {
	return `Examples:
  gatehouse recordings holds --output json`
}

func (c recordingsHoldsCommand) Run(s streams) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	list, err := record.Holds(dir)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, append([]record.Hold{}, list...))
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "Nothing is held.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "HOLD\tSINCE\tBY\tWHAT\tWHY")
	for _, h := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.ID, h.Time.Local().Format(time.DateOnly), line(h.By, 40), holdText(h), line(h.Reason, 80))
	}
	return w.Flush()
}

type recordingsReviewsCommand struct {
	recordingsFlag
	outputFlag
	ID string `arg:"" optional:"" help:"Only of this session."`
}

func (recordingsReviewsCommand) Help() string {
	return `Who looked at what happened in which session, with replay, show, tail or export, from this folder.

Examples:
  gatehouse recordings reviews
  gatehouse recordings reviews s-… --output json`
}

func (c recordingsReviewsCommand) Run(s streams) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	all, err := record.Reviews(dir)
	if err != nil {
		return err
	}
	list := []record.Review{}
	for _, r := range all {
		if c.ID == "" || r.Session == c.ID {
			list = append(list, r)
		}
	}
	if c.json() {
		return printJSON(s.out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "No reviews.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tTIME\tBY\tACTION")
	for _, r := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", line(r.Session, 60), r.Time.Local().Format(time.DateTime), line(r.By, 40), line(r.Action, 20))
	}
	return w.Flush()
}

// review notes that somebody looks at a session of the folder, before anything of it is shown. In the gateway's own folder that must
// work; of a copy elsewhere, where nothing can be written, a note says that it was not noted.
func (f recordingsFlag) review(s streams, id, action string) error {
	if isBundle(id) {
		return nil // it belongs to who has it
	}
	dir, err := f.dir()
	if err != nil {
		return err
	}
	err = record.NoteReview(dir, record.Review{Session: id, Time: today(), By: who(), Action: action})
	switch {
	case err == nil:
	case f.Recordings == "":
		return fmt.Errorf("that the session was looked at cannot be noted, so it is not shown: %w: run this as a user who may write the recordings folder, or on a copy (--recordings)", err)
	default:
		fmt.Fprintln(s.err, "note: that this copy was looked at could not be noted:", err)
	}
	return nil
}
