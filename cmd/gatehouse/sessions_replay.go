package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"gatehouse/internal/pump"
	"gatehouse/internal/record"
	"gatehouse/internal/search"
)

type sessionsReplayCommand struct {
	recordingsFlag
	outputFlag
	ID       string        `arg:"" help:"The session's id, or a bundle (FILE.ghb)."`
	Rows     int           `default:"50" help:"At most so many rows of each result in text; 0 is all."`
	From     time.Duration `help:"Begin so long after the session was opened." placeholder:"TIME"`
	Speed    float64       `help:"Show it as it happened, so many times as fast; 1 is the original timing. By default all at once." placeholder:"N"`
	SkipIdle time.Duration `help:"With --speed: wait at most so long where nothing happened." placeholder:"TIME"`
}

func (sessionsReplayCommand) Help() string {
	return `What could steer a terminal is shown escaped.

Examples:
  gatehouse sessions replay s-…
  gatehouse sessions replay s-… --rows 0 --recordings /mnt/copy/recordings
  gatehouse sessions replay s-… --speed 4 --skip-idle 2s
  gatehouse sessions replay s-… --from 1h12m`
}

// Validate says which flags do not go together.
func (c sessionsReplayCommand) Validate() error {
	switch {
	case c.Speed < 0:
		return errors.New("--speed is a number above 0, such as 1 or 4")
	case c.SkipIdle < 0 || c.From < 0:
		return errors.New("--from and --skip-idle are lengths of time, such as 90s or 1h12m")
	case c.SkipIdle > 0 && c.Speed == 0:
		return errors.New("--skip-idle goes with --speed: without it nothing is waited for")
	}
	return nil
}

func (c sessionsReplayCommand) Run(ctx context.Context, s streams) error {
	if err := c.review(s, c.ID, "replay"); err != nil {
		return err
	}
	r := &replay{out: s.out, rows: c.Rows, from: c.From}
	if c.Speed > 0 {
		r.pace = &pace{speed: c.Speed, idle: c.SkipIdle, sleep: pump.Wait}
	}
	return c.replay(ctx, c.outputFlag, c.ID, r)
}

// pace waits as long as things took.
type pace struct {
	speed float64
	idle  time.Duration // at most; 0: that does not matter
	sleep func(context.Context, time.Duration) bool
	last  time.Time
}

// until is back when it is time for what happened at a time; false where ctx ended.
func (p *pace) until(ctx context.Context, at time.Time) bool {
	d := at.Sub(p.last)
	if p.last.IsZero() || d < 0 { // a clock that went back is no reason to wait
		d = 0
	}
	p.last = at
	d = time.Duration(float64(d) / p.speed)
	if p.idle > 0 {
		d = min(d, p.idle)
	}
	return d == 0 || p.sleep(ctx, d)
}

func (r *replay) prepare(o outputFlag) {
	r.decoders = decoders()
	if o.json() {
		r.events = newEventLines(r.out)
	}
}

func (f recordingsFlag) replay(ctx context.Context, o outputFlag, id string, r *replay) error {
	r.prepare(o)
	entries, done, err := f.from(ctx, id, r.from)
	if err != nil {
		return err
	}
	defer done()
	for e, err := range entries {
		if err == nil && r.pace != nil && !r.before(e) && !r.pace.until(ctx, e.Time) {
			return ctx.Err()
		}
		if err == nil {
			err = r.entry(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// from are the entries of a session of the folder, or of a bundle, that are needed to show it from a time after its begin on:
// its first entry, the one with the columns of a result that goes on then, and all from then on; perhaps more.
func (f recordingsFlag) from(ctx context.Context, id string, after time.Duration) (_ iter.Seq2[record.Entry, error], done func(), err error) {
	if after == 0 || isBundle(id) {
		return f.entries(ctx, id)
	}
	dir, err := f.dir()
	if err != nil {
		return nil, nil, err
	}
	spot, found, err := search.Seek(ctx, dir, id, time.Time{})
	var first record.Entry
	if err == nil && found {
		if first, err = record.ReadAt(ctx, dir, spot.First); err == nil {
			spot, found, err = search.Seek(ctx, dir, id, first.Time.Add(after))
		}
	}
	if err != nil || !found { // without an index of it, it is read from its begin
		return f.entries(ctx, id)
	}
	return func(yield func(record.Entry, error) bool) {
		var seen uint64
		one := func(e record.Entry, err error) bool {
			if err == nil && e.Number <= seen {
				return true
			}
			seen = e.Number
			return yield(e, err) && err == nil
		}
		if !one(first, nil) {
			return
		}
		if spot.Columns != (record.Cursor{}) && !one(record.ReadAt(ctx, dir, spot.Columns)) {
			return
		}
		for e, err := range record.ReadFrom(ctx, dir, id, spot.At) {
			if !one(e.Entry, err) {
				return
			}
		}
	}, func() {}, nil
}

type sessionsTailCommand struct {
	recordingsFlag
	outputFlag
	ID     string `arg:"" help:"The session's id."`
	Follow bool   `short:"f" help:"Go on with what happens in it, until it ends."`
	N      uint64 `short:"n" default:"10" help:"Begin with the last so many requests; 0 is none."`
	Rows   int    `default:"50" help:"At most so many rows of each result in text; 0 is all."`
}

func (sessionsTailCommand) Help() string {
	return `Reads the recordings folder itself, beside the gateway that writes it. What could steer a terminal is shown escaped.

Examples:
  gatehouse sessions tail s-…
  gatehouse sessions tail -f s-…
  gatehouse sessions tail -f -n 0 s-… --output json`
}

// tailEvery is how often a live session is looked at.
const tailEvery = 200 * time.Millisecond

func (c sessionsTailCommand) Run(ctx context.Context, s streams) error {
	if isBundle(c.ID) {
		return errors.New("a bundle is a session as it was: show it with `gatehouse sessions replay`")
	}
	dir, err := c.dir()
	if err != nil {
		return err
	}
	var at record.Cursor
	if spot, found, err := search.Seek(ctx, dir, c.ID, time.Time{}); err == nil && found {
		at = spot.First
	}
	var first record.Entry
	var last uint64 // the newest request
	for f, err := range record.ReadFrom(ctx, dir, c.ID, at) {
		if err != nil {
			return err
		}
		if first.Number == 0 {
			first, at = f.Entry, f.At
		}
		for _, ev := range f.Events {
			last = max(last, ev.Request)
		}
	}
	if first.Number == 0 {
		return fmt.Errorf("%w: %s", record.ErrNoSession, c.ID)
	}
	if err := c.review(s, c.ID, "tail"); err != nil {
		return err
	}
	out := bufio.NewWriter(s.out)
	r := &replay{out: out, rows: c.Rows, since: last - min(last, c.N) + 1}
	r.prepare(c.outputFlag)
	for {
		for f, err := range record.ReadFrom(ctx, dir, c.ID, at) {
			if err == nil {
				err = r.entry(f.Entry)
			}
			if err != nil {
				return errors.Join(err, out.Flush())
			}
			if at = f.Next; f.Closes() {
				return out.Flush()
			}
		}
		if err := out.Flush(); err != nil || !c.Follow {
			return err
		}
		if !pump.Wait(ctx, tailEvery) {
			return nil
		}
	}
}
