package gate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/mask"
)

// Capture says what of a connection's results is recorded. The zero value records all, as the client saw it.
type Capture struct {
	// Bounded leaves out what is beyond the first Rows rows of a result; how much that was, and the SHA-256 of all of it, is
	// recorded.
	Bounded bool
	Rows    int
	// MaskDetected puts stars where a text, a parameter or a result has what looks like a card, an IBAN, a mail address, a JSON web token
	// or a key of a cloud service.
	MaskDetected bool
}

// UnmarshalYAML reads {results: all, mask_detected: true}; results are all, none, or rows=N.
func (c *Capture) UnmarshalYAML(n *yaml.Node) error {
	var v struct {
		Results      string `yaml:"results"`
		MaskDetected bool   `yaml:"mask_detected"`
	}
	if err := strict.Decode(n, &v); err != nil {
		return err
	}
	c.MaskDetected = v.MaskDetected
	switch rows, bounded := strings.CutPrefix(v.Results, "rows="); {
	case v.Results == "" || v.Results == "all":
	case v.Results == "none":
		c.Bounded = true
	case bounded:
		number, err := strconv.ParseUint(rows, 10, 31)
		if err != nil || number == 0 {
			return strict.Errorf(strict.Find(n, "results"), "recording.results: %q should be rows=N, such as rows=100", v.Results)
		}
		c.Bounded, c.Rows = true, int(number)
	default:
		return strict.Errorf(strict.Find(n, "results"), "recording.results: %q should be all, none, or rows=N", v.Results)
	}
	return nil
}

// RowCutter is a ResultDecoder that tells rows apart without reading them.
type RowCutter interface {
	// CutRows says how many bytes the first limit rows have in the data of a ResultRows event, and how many rows are in all of it.
	CutRows(data []byte, limit int) (kept int, rows int)
}

// ValueFinder is a ResultDecoder that finds values, so that stars can stand in their places.
type ValueFinder interface {
	// Values calls each with every value in the data of a ResultRows event, a part of data itself.
	Values(data []byte, each func(value []byte))
}

// LeftOutBody is the body of LeftOut: what the client got of a result that is recorded in part, or not at all.
type LeftOutBody struct {
	// Rows and Recorded are how many rows the client got, and how many of them are here; of what has no rows, 0.
	Rows     uint64 `json:"rows,omitempty"`
	Recorded uint64 `json:"recorded,omitempty"`
	// Bytes and SHA256 are of all that the client got, in the protocol's own form, and under the stars of detected values where those are
	// put.
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// capturing is a recording of a connection that does not record everything.
type capturing struct {
	Recording
	capture Capture
	cutter  RowCutter   // nil: what is recorded has no rows
	values  ValueFinder // nil: it has no values that could be told apart, and no result is recorded where they would have to be

	mu   sync.Mutex
	open map[uint64]*captured // by request
}

// captured is one result on the way.
type captured struct {
	sum      hash.Hash
	bytes    uint64
	rows     uint64
	recorded int
}

// captured gives the recording that a connection's sessions write to.
func (c Connection) captured(r Recording) Recording {
	if c.Recording == (Capture{}) {
		return r
	}
	out := &capturing{Recording: r, capture: c.Recording, open: map[uint64]*captured{}}
	out.cutter, _ = c.Results.(RowCutter)
	out.values, _ = c.Results.(ValueFinder)
	return out
}

// Append records what is to be recorded of the events. They stay as they are: their bytes are still on the way to the client.
func (c *capturing) Append(durable bool, events ...Event) error {
	out := make([]Event, 0, len(events)+1)
	for _, e := range events {
		if c.capture.MaskDetected {
			if e = concealed(e); e.Kind == ResultRows {
				e.Data = c.conceal(e.Data)
			}
		}
		if c.capture.Bounded {
			var left *Event
			if e, left = c.bound(e); left != nil {
				out = append(out, *left)
			}
			if e.Kind == "" {
				continue
			}
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil
	}
	return c.Recording.Append(durable, out...)
}

// bound cuts the rows of a result; nothing is left where its kind is empty. left says what was left out, before the outcome.
func (c *capturing) bound(e Event) (_ Event, left *Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.open[e.Request]
	switch e.Kind {
	case ResultRows:
		if r == nil {
			r = &captured{sum: sha256.New()}
			c.open[e.Request] = r
		}
		r.sum.Write(e.Data)
		r.bytes += uint64(len(e.Data))
		kept := 0
		if c.cutter != nil {
			var rows int
			room := max(c.capture.Rows-r.recorded, 0)
			kept, rows = c.cutter.CutRows(e.Data, room)
			r.rows += uint64(rows)
			r.recorded += min(rows, room)
		}
		if e.Data = e.Data[:kept]; kept == 0 {
			return Event{}, nil
		}
	case Responded:
		if r != nil {
			delete(c.open, e.Request)
			left = &Event{Kind: LeftOut, Request: e.Request, Body: LeftOutBody{Rows: r.rows, Recorded: uint64(r.recorded), Bytes: r.bytes, SHA256: hex.EncodeToString(r.sum.Sum(nil))}}
		}
	}
	return e, left
}

// concealed gives an event without what is detected in it.
func concealed(e Event) Event {
	switch b := e.Body.(type) {
	case RequestBody:
		b.Intent.Received, b.Intent.Text = mask.ConcealText(b.Intent.Received), mask.ConcealText(b.Intent.Text)
		b.Intent.Means = append([]string{}, b.Intent.Means...)
		for i := range b.Intent.Means {
			b.Intent.Means[i] = mask.ConcealText(b.Intent.Means[i])
		}
		b.Intent.Parameters = append([]Parameter{}, b.Intent.Parameters...)
		for i := range b.Intent.Parameters {
			b.Intent.Parameters[i].Value = mask.Conceal(b.Intent.Parameters[i].Value)
		}
		e.Body = b
	case DecisionBody:
		b.Refusal = concealedRefusal(b.Refusal)
		e.Body = b
	case ApprovalBody:
		b.Reason = mask.ConcealText(b.Reason)
		e.Body = b
	case NotificationBody:
		b.Payload = mask.ConcealText(b.Payload)
		e.Body = b
	case Outcome:
		b.Error = mask.ConcealText(b.Error)
		e.Body = b
	}
	return e
}

// conceal puts stars into the values of a result. What it gives is data itself where nothing was found, else a copy.
func (c *capturing) conceal(data []byte) []byte {
	if c.values == nil {
		return nil
	}
	found := false
	c.values.Values(data, func(v []byte) { found = found || len(mask.Detect(v)) > 0 })
	if !found {
		return data
	}
	data = bytes.Clone(data)
	c.values.Values(data, mask.Stars)
	return data
}

// Check says what is wrong with a capture of results that a decoder reads.
func (c Capture) Check(d ResultDecoder) error {
	if _, ok := d.(RowCutter); c.Rows > 0 && !ok {
		return errors.New("recording.results: rows=N is for connections whose results have rows: use all or none")
	}
	if _, ok := d.(ValueFinder); c.MaskDetected && !ok {
		return errors.New("recording.mask_detected is not built yet for this kind of connection: take it out, or use results: none")
	}
	return nil
}

func concealedRefusal(r *Refusal) *Refusal {
	if r == nil {
		return nil
	}
	out := *r
	out.Reason, out.Remedy = mask.ConcealText(r.Reason), mask.ConcealText(r.Remedy)
	return &out
}

// String is as the configuration writes it.
func (c Capture) String() string {
	switch {
	case !c.Bounded:
		return "all"
	case c.Rows == 0:
		return "none"
	}
	return fmt.Sprintf("rows=%d", c.Rows)
}
