package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/pump"
	"gatehouse/internal/record"
)

// Options are what a streamer is made of.
type Options struct {
	// Dir is the recordings folder.
	Dir     string
	Targets []Target
	// Decoders read the results of protocols.
	Decoders map[string]gate.ResultDecoder
	Version  string // of the gateway, as receivers are told
	Log      *slog.Logger
	Now      func() time.Time
	// Silence is how long a receiver may take; 30 s by default.
	Silence time.Duration
	// Settle is after how long what a receiver without answers was sent counts as received; 30 s by default.
	Settle time.Duration
	// Wait is back with true after a time, with false when ctx ends.
	Wait func(context.Context, time.Duration) bool
}

// Streamer sends to every target, each by itself.
type Streamer struct{ lines []*line }

// New makes a streamer. It opens nothing yet.
func New(o Options) (*Streamer, error) {
	if o.Dir == "" || o.Log == nil {
		return nil, errors.New("stream: a folder and a log are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = pump.Wait
	}
	if o.Silence == 0 {
		o.Silence = 30 * time.Second
	}
	if o.Settle == 0 {
		o.Settle = 30 * time.Second
	}
	s := &Streamer{}
	for _, t := range o.Targets {
		s.lines = append(s.lines, &line{o: o, target: t, sink: sinkOf(o, t)})
	}
	return s, nil
}

// Run sends until ctx ends.
func (s *Streamer) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range s.lines {
		all.Go(func() { l.run(ctx) })
	}
	all.Wait()
}

// sink is where events go.
type sink interface {
	// send is back when the receiver has the events, as far as it says so; rejected is how many it said it does not take.
	send(ctx context.Context, batch []message) (rejected int, err error)
	// answers says whether the receiver says what it has. Of one that does not, what was sent lately is sent again when the
	// way to it breaks.
	answers() bool
	// close ends the way to it. Where that went well, it has everything that was sent.
	close() error
}

func sinkOf(o Options, t Target) sink {
	switch t.Kind {
	case "syslog":
		return &syslog{target: t, silence: o.Silence}
	case "otlp":
		return &otlp{target: t, version: o.Version, silence: o.Silence}
	}
	return &lines{path: t.path()}
}

// State is how far a target is, as the disk has it.
type State struct {
	Target string `json:"target"`
	To     string `json:"to"`
	// At is where the next event stands; Oldest where the first of the sessions begins that are open there.
	At     record.Cursor `json:"at"`
	Oldest record.Cursor `json:"oldest"`
	// Events is how many were sent, those that were sent again among them; the last at Sent.
	Events uint64    `json:"events"`
	Sent   time.Time `json:"sent,omitzero"`
	// Rejected is how many the receiver did not take.
	Rejected uint64 `json:"rejected,omitempty"`
	pump.Trouble
}

func statePath(dir, target string) string { return filepath.Join(dir, "stream-"+target+".json") }

// readState gives the zero state where there is none for this target: it begins with the first recording that there is.
func readState(dir string, t *Target) (State, error) {
	fresh := State{Target: t.Name, To: t.To}
	var s State
	switch err := pump.ReadCursor(statePath(dir, t.Name), &s); {
	case errors.Is(err, os.ErrNotExist):
		return fresh, nil
	case err != nil:
		return fresh, fmt.Errorf("%s cannot be read: %w", statePath(dir, t.Name), err)
	case s.Target != t.Name || s.To != t.To:
		return fresh, nil // it is about another receiver
	}
	return s, nil
}

// line is the way to one target.
type line struct {
	o      Options
	target Target
	sink   sink
	state  State // as it is on the disk
	reader *reader
	batch  []message // was read, and not sent yet
	// sent are the places up to which was sent, that are not on the disk yet.
	sent []mark
}

type mark struct {
	at, oldest record.Cursor
	when       time.Time
}

func (l *line) run(ctx context.Context) {
	var err error
	if l.state, err = readState(l.o.Dir, &l.target); err != nil {
		l.o.Log.Error("where streaming was cannot be read: it begins anew", "stream", l.target.Name, "error", err)
	}
	pump.Loop{Step: l.step, Failed: l.failed, Wait: l.o.Wait}.Run(ctx)
	err = l.sink.close()
	if err == nil && len(l.sent) > 0 {
		err = l.commit(l.sent[len(l.sent)-1])
	}
	if err != nil {
		l.o.Log.Debug("a stream did not end well: what was sent lately is sent again", "stream", l.target.Name, "error", err)
	}
}

// step sends the next batch; did is false where there is none.
func (l *line) step(ctx context.Context) (did bool, err error) {
	if l.reader == nil {
		if l.reader, err = resume(ctx, l.o, &l.target, l.state.Oldest, l.state.At); errors.Is(err, record.ErrGone) {
			l.o.Log.Error("recordings were taken out of the folder before they were streamed: it goes on with the first that is there", "stream", l.target.Name, "at", l.state.At)
			l.reader, err = resume(ctx, l.o, &l.target, record.Cursor{}, record.Cursor{})
		}
		if err != nil {
			return false, err
		}
	}
	before := l.reader.next
	if len(l.batch) == 0 {
		if l.batch, err = l.reader.read(ctx); err != nil {
			l.reader = nil
			return false, err
		}
	} else {
		before = record.Cursor{}
	}
	if len(l.batch) == 0 && before == l.reader.next {
		return false, l.settle()
	}
	rejected := 0
	if len(l.batch) > 0 {
		if rejected, err = l.sink.send(ctx, l.batch); err != nil {
			return false, err
		}
	}
	if rejected > 0 {
		l.o.Log.Error("a receiver did not take events: they are in the recordings only", "stream", l.target.Name, "events", rejected, "from", l.batch[0].ID, "to", l.batch[len(l.batch)-1].ID)
	}
	l.state.Events += uint64(len(l.batch))
	l.state.Rejected += uint64(rejected)
	l.state.Sent = l.o.Now().UTC().Truncate(time.Second)
	l.batch = nil
	l.sent = append(l.sent, mark{l.reader.next, l.reader.oldest(), l.o.Now()})
	return true, l.settle()
}

// settle puts on the disk up to where the receiver has everything.
func (l *line) settle() error {
	n := len(l.sent)
	if !l.sink.answers() {
		for n > 0 && l.o.Now().Sub(l.sent[n-1].when) < l.o.Settle {
			n--
		}
	}
	if n == 0 {
		if l.state.Failing != "" && len(l.batch) == 0 {
			return l.commit(mark{at: l.state.At, oldest: l.state.Oldest})
		}
		return nil
	}
	m := l.sent[n-1]
	l.sent = append(l.sent[:0], l.sent[n:]...)
	return l.commit(m)
}

// commit puts a place on the disk, and with it that nothing fails any more.
func (l *line) commit(m mark) error {
	s := l.state
	s.At, s.Oldest, s.Trouble = m.at, m.oldest, pump.Trouble{}
	if err := pump.WriteCursor(statePath(l.o.Dir, s.Target), s); err != nil {
		return err
	}
	if was := l.state.Trouble; was.Failing != "" {
		l.o.Log.Info("recordings are streamed again", "stream", l.target.Name, "failed_for", l.o.Now().Sub(was.Since).Round(time.Second), "tries", was.Tries)
	}
	l.state = s
	return nil
}

func (l *line) failed(err error, pause time.Duration) {
	if !l.sink.answers() { // what was sent lately may not have arrived
		l.sink.close()
		l.reader, l.batch, l.sent = nil, nil, nil
	}
	l.state.Add(err, l.o.Now())
	behind, sizeErr := record.Size(l.o.Dir, l.state.At)
	l.o.Log.Warn("recordings cannot be streamed; they stay here and are tried again", "stream", l.target.Name, "to", l.target.To, "error", err, "tries", l.state.Tries, "again_in", pause.Round(time.Second), "backlog_bytes", behind)
	if err := errors.Join(sizeErr, pump.WriteCursor(statePath(l.o.Dir, l.state.Target), l.state)); err != nil {
		l.o.Log.Warn("the state of streaming cannot be written", "stream", l.target.Name, "error", err)
	}
}

// Status is how far a target is, and how many bytes of recordings are still to be sent.
type Status struct {
	State
	Backlog int64 `json:"backlog"`
}

// Statuses reads how far targets are, from the recordings folder.
func Statuses(dir string, targets []Target) ([]Status, error) {
	out := []Status{}
	for i := range targets {
		s, err := readState(dir, &targets[i])
		if err != nil {
			return nil, err
		}
		n, err := record.Size(dir, s.At)
		if err != nil && !errors.Is(err, record.ErrGone) {
			return nil, err
		}
		out = append(out, Status{s, max(n, 0)})
	}
	return out, nil
}
