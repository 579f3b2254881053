package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"gatehouse/internal/pump"
	"gatehouse/internal/record"
)

// Options are what a shipper is made of.
type Options struct {
	// Dir is the recordings folder.
	Dir     string
	Targets []Target
	Log     *slog.Logger
	Now     func() time.Time
	// Silence is how long a server may take for the next byte, in either direction; 60 s by default.
	Silence time.Duration
	// Wait is back with true after a time, with false when ctx ends.
	Wait func(context.Context, time.Duration) bool
}

// Shipper ships to every target, each by itself.
type Shipper struct {
	o     Options
	lines []*line
}

// line is the way to one target.
type line struct {
	o      Options
	target Target
	state  State
}

// New makes a shipper. It opens nothing yet.
func New(o Options) (*Shipper, error) {
	if o.Dir == "" || o.Log == nil {
		return nil, errors.New("ship: a folder and a log are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = pump.Wait
	}
	if o.Silence == 0 {
		o.Silence = silence
	}
	s := &Shipper{o: o}
	for _, t := range o.Targets {
		s.lines = append(s.lines, &line{o: o, target: t})
	}
	return s, nil
}

// Run ships until ctx ends.
func (s *Shipper) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range s.lines {
		all.Go(func() { l.run(ctx) })
	}
	all.Wait()
}

func (l *line) run(ctx context.Context) {
	var err error
	if l.state, err = readState(l.o.Dir, &l.target); err != nil {
		l.o.Log.Error("where shipping was cannot be read: what is at the place already is looked at again", "target", l.target.Name, "error", err)
	}
	pump.Loop{Step: l.step, Failed: l.failed, Wait: l.o.Wait}.Run(ctx)
}

// step ships the next file; did is false where there is none.
func (l *line) step(ctx context.Context) (did bool, err error) {
	next, err := l.next()
	if err != nil {
		return false, err
	}
	if next == nil {
		return false, l.recovered(l.state)
	}
	p, err := l.target.open(l.o.Silence)
	if err != nil {
		return false, err
	}
	if d, ok := p.(folder); ok && d.same(l.o.Dir) {
		return false, errors.New("that is the recordings folder itself: name another one")
	}
	begun := l.o.Now()
	n, err := l.deliver(ctx, p, next)
	if err != nil {
		return false, err
	}
	s := l.state
	s.Segment, s.Heads = next.segment, next.heads
	s.Files, s.Bytes, s.Shipped = s.Files+1, s.Bytes+n, l.o.Now().UTC().Truncate(time.Second)
	if s.Failing == "" {
		if err := s.write(l.o.Dir); err != nil {
			return false, err
		}
		l.state = s
	} else if err := l.recovered(s); err != nil {
		return false, err
	}
	level := slog.LevelInfo
	if next.path == "" {
		level = slog.LevelDebug
	}
	l.o.Log.Log(ctx, level, "recordings were shipped", "target", l.target.Name, "file", next.name, "bytes", n, "took", l.o.Now().Sub(begun).Round(time.Millisecond), "backlog", l.backlog())
	return true, nil
}

// file is what is shipped next, and where the cursor stands after it.
type file struct {
	name    string
	path    string // of a segment
	text    []byte // of heads
	segment uint64
	heads   int64
}

func (l *line) deliver(ctx context.Context, p place, next *file) (int64, error) {
	if next.path == "" {
		if err := next.asBefore(ctx, p); err != nil {
			return 0, err
		}
		return deliver(ctx, p, next.name, bytes.NewReader(next.text))
	}
	f, err := os.Open(next.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return deliver(ctx, p, next.name, f)
}

// asBefore makes a part of the heads what was shipped of it before, where the cursor did not get as far as to say so: there
// can be more heads by now.
func (f *file) asBefore(ctx context.Context, p place) error {
	there, err := p.has(ctx, f.name)
	if err != nil || !there {
		return err
	}
	r, err := p.read(ctx, f.name)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, int64(len(f.text))))
	if err != nil {
		return err
	}
	if len(b) > 0 && bytes.HasPrefix(f.text, b) {
		f.heads -= int64(len(f.text) - len(b))
		f.text = b
	}
	return nil
}

// next is the next file: segments first, then the heads that stand on them or on the segment that is being written. So
// a place that has a head has all segments that had ended when it was signed.
func (l *line) next() (*file, error) {
	s := l.state
	segment, err := record.NextSegment(l.o.Dir, s.Segment)
	if err != nil {
		return nil, err
	}
	if segment.Number > s.Segment && s.Segment > 1 {
		l.o.Log.Error("segments were taken out of the recordings folder before they were shipped", "target", l.target.Name, "from", s.Segment, "to", segment.Number-1)
	}
	if segment.Ended {
		return &file{name: segment.Name(), path: segment.Path, segment: segment.Number + 1, heads: s.Heads}, nil
	}
	text, err := record.HeadsAfter(l.o.Dir, s.Heads, segment.Number)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	return &file{name: record.HeadsName(s.Heads), text: text, segment: s.Segment, heads: s.Heads + int64(len(text))}, nil
}

func (l *line) failed(err error, pause time.Duration) {
	l.state.Add(err, l.o.Now())
	l.o.Log.Warn("recordings cannot be shipped; they stay here and are tried again", "target", l.target.Name, "to", l.target.To, "error", err, "tries", l.state.Tries, "again_in", pause.Round(time.Second), "backlog", l.backlog())
	if err := l.state.write(l.o.Dir); err != nil {
		l.o.Log.Warn("the state of shipping cannot be written", "target", l.target.Name, "error", err)
	}
}

// recovered takes a state over in which nothing fails any more.
func (l *line) recovered(s State) error {
	if s.Failing == "" {
		return nil
	}
	was := s.Trouble
	s.Trouble = pump.Trouble{}
	if err := s.write(l.o.Dir); err != nil {
		return err
	}
	l.state = s
	l.o.Log.Info("recordings can be shipped again", "target", l.target.Name, "failed_for", l.o.Now().Sub(was.Since).Round(time.Second), "tries", was.Tries)
	return nil
}

func (l *line) backlog() string {
	b, err := backlogOf(l.o.Dir, l.state)
	if err != nil {
		return err.Error()
	}
	return b.String()
}

// Backlog is what has ended and was not shipped yet.
type Backlog struct {
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`
	// Oldest is when the oldest of them ended; zero: there is none.
	Oldest time.Time `json:"oldest,omitzero"`
}

func (b Backlog) String() string { return fmt.Sprintf("%d segments, %d bytes", b.Segments, b.Bytes) }

func backlogOf(dir string, s State) (b Backlog, err error) {
	list, err := record.Segments(dir)
	if err != nil {
		return b, err
	}
	for _, one := range list {
		if !one.Ended || one.Number < s.Segment {
			continue
		}
		info, err := os.Stat(one.Path)
		if err != nil {
			return b, err
		}
		if b.Segments == 0 {
			b.Oldest = info.ModTime().UTC().Truncate(time.Second)
		}
		b.Segments, b.Bytes = b.Segments+1, b.Bytes+info.Size()
	}
	return b, nil
}

// Status is how far a target is, and what is still to be shipped.
type Status struct {
	State
	Backlog Backlog `json:"backlog"`
}

// Statuses reads how far targets are, from the recordings folder.
func Statuses(dir string, targets []Target) ([]Status, error) {
	out := []Status{}
	for i := range targets {
		s, err := readState(dir, &targets[i])
		if err != nil {
			return nil, err
		}
		b, err := backlogOf(dir, s)
		if err != nil {
			return nil, err
		}
		out = append(out, Status{s, b})
	}
	return out, nil
}
