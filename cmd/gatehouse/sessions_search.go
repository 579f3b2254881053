package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
	"gatehouse/internal/search"
)

type sessionsSearchCommand struct {
	recordingsFlag
	outputFlag
	Text       []string `arg:"" optional:"" help:"Words of the request, which must all be in it; \"a b\" in quotes one after the other, order* what begins so."`
	Principal  string   `help:"Asked by principals whose id or name has this in it." placeholder:"TEXT"`
	Connection string   `help:"Asked on a connection." placeholder:"NAME"`
	Since      moment   `help:"Asked from then on: 14d or 36h ago, a day, or a time of RFC 3339." placeholder:"TIME"`
	Until      moment   `help:"Asked before then." placeholder:"TIME"`
	Decision   string   `enum:",permit,hold,refuse" default:"" help:"Decided so: permit, hold or refuse." placeholder:"DECISION"`
	Policy     string   `help:"Decided by a policy." placeholder:"ID"`
	Object     string   `help:"Touches a thing, or something in it: shop/public.orders, public.orders.total." placeholder:"NAME"`
	Action     string   `help:"Does that: read, update, drop, ….; with --object, to it." placeholder:"ACTION"`
	Limit      int      `default:"50" help:"At most so many, the newest ones."`
	Before     int64    `help:"The next page: the number that the last one ended with." placeholder:"NUMBER"`
}

func (sessionsSearchCommand) Help() string {
	return `Finds recorded requests, newest first. The index is kept beside the recordings (search.db) by the gateway; without one
that runs, this command brings it up to date first.

Examples:
  gatehouse sessions search --object public.customers.email --since 7d
  gatehouse sessions search --decision refuse --principal deploy-bot
  gatehouse sessions search 'delete from' orders --action delete --output json`
}

// foundRequest is a request as it is printed in JSON.
type foundRequest struct {
	search.Hit
	Text string `json:"text,omitempty"`
}

func (c sessionsSearchCommand) Run(ctx context.Context, s streams) error {
	if !c.Until.IsZero() && !c.Since.Before(c.Until.Time) {
		return fmt.Errorf("--since is not before --until: nothing lies between them")
	}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	x, err := search.Open(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.CatchUp(ctx, indexing(s)); err != nil {
		return fmt.Errorf("the recordings in %s cannot be indexed: %w", dir, err)
	}
	page, err := x.Search(ctx, search.Query{Text: searchText(c.Text), Principal: c.Principal, Connection: c.Connection, Since: c.Since.Time, Until: c.Until.Time,
		Effect: c.Decision, Policy: c.Policy, Object: c.Object, Action: c.Action, Limit: c.Limit, Before: c.Before})
	if err != nil {
		return err
	}
	found := make([]foundRequest, len(page.Hits))
	for i, h := range page.Hits {
		found[i].Hit = h
		if found[i].Text, err = requestText(ctx, dir, h); errors.Is(err, record.ErrGone) {
			found[i].Text = "" // what was asked stays known; its recording is elsewhere by now
		} else if err != nil {
			return fmt.Errorf("request %s cannot be read: %w", h.ID, err)
		}
	}
	behind, err := x.Behind(ctx)
	if err != nil && !errors.Is(err, record.ErrGone) {
		return err
	}
	if c.json() {
		return printJSON(s.out, map[string]any{"requests": found, "next": page.Next, "behind": max(behind, 0)})
	}
	if behind > 0 {
		fmt.Fprintf(s.err, "The index is %d KiB of recordings behind: the newest requests are not in it yet.\n", (behind+1023)>>10)
	}
	if len(found) == 0 {
		fmt.Fprintln(s.out, "No requests.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "REQUEST\tASKED\tCONNECTION\tPRINCIPAL\tDECISION\tSTATUS\tTEXT")
	for _, f := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.ID, ago(f.Time), f.Connection, line(f.Principal.String(), 30), f.Effect, cmp.Or(f.Status, "-"), line(f.Text, 70))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if page.Next != 0 {
		fmt.Fprintf(s.out, "\nThere are more: add --before %d\n", page.Next)
	}
	return nil
}

// searchText joins words as they were given: one with spaces in it is found as it is.
func searchText(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; strings.ContainsAny(w, " \t") && !strings.Contains(w, `"`) {
			out[i] = `"` + w + `"`
		}
	}
	return strings.Join(out, " ")
}

// indexing says how far it is, where it takes long.
func indexing(s streams) func(int64, int) {
	begun, said := time.Now(), time.Time{}
	return func(bytes int64, requests int) {
		if now := time.Now(); now.Sub(begun) > 2*time.Second && now.Sub(said) > time.Second {
			said = now
			fmt.Fprintf(s.err, "indexing the recordings: %d MiB, %s\n", bytes>>20, count(requests, "request"))
		}
	}
}

// requestText is the text of a request that was found, from its recording.
func requestText(ctx context.Context, dir string, h search.Hit) (string, error) {
	e, err := record.ReadAt(ctx, dir, h.At)
	if err != nil {
		return "", err
	}
	for _, ev := range e.Events {
		if e.Session == h.Session && ev.Kind == gate.Requested && ev.Request == h.Request {
			b, err := record.Body[gate.RequestBody](ev)
			return cmp.Or(b.Intent.Received, b.Intent.Text), err
		}
	}
	return "", nil
}
