package grpc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"

	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
)

// Bounds of what is kept of a call's messages, as text; of the rest, the hash.
const (
	maxRecorded = 1 << 20 // bytes of all of them
	maxLine     = 256 << 10
)

// Who a recorded message is from: the first byte of its event's data.
const (
	fromClient  = '>'
	fromService = '<'
)

// recording is what is kept of a call's messages. Both directions of a stream use it.
type recording struct {
	mu       sync.Mutex
	begun    bool
	kept     int // bytes of text
	left     int // messages of which something was left out
	messages uint64
	bytes    uint64
	sum      hash.Hash
}

// head is what is recorded of an answer before its messages.
type head struct {
	Method   string            `json:"method"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// note makes the events of a message, before it is given on.
func (c *call) note(from byte, b []byte, m *grpcguard.Message, md metadata.MD) ([]gate.Event, error) {
	r := &c.record
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []gate.Event
	if !r.begun {
		r.begun = true
		h, err := json.Marshal(head{c.method.String(), text(md)})
		if err != nil {
			return nil, err
		}
		events = append(events, gate.Event{Kind: gate.ResultSchema, Data: h})
	}
	if m == nil {
		return events, nil
	}
	if from == fromService {
		r.messages++
	}
	r.bytes += uint64(len(b))
	room := min(maxRecorded-r.kept, maxLine)
	line := c.schema.AppendText([]byte{from}, b, m, max(room, 0))
	if cut(line) {
		if r.sum == nil {
			r.sum = sha256.New()
		}
		r.left++
		r.sum.Write(b)
	}
	if room > 0 {
		r.kept += len(line)
		events = append(events, gate.Event{Kind: gate.ResultRows, Data: line})
	}
	return events, nil
}

// cut says whether a message as text is not whole: what is whole ends with no such character, since texts are quoted.
func cut(line []byte) bool { return bytes.HasSuffix(line, []byte("…")) }

// outcome is how a call ended, as its client saw it.
func (c *call) outcome(code string, failure string) gate.Outcome {
	r := &c.record
	r.mu.Lock()
	defer r.mu.Unlock()
	o := gate.Outcome{Status: "ok", Summary: code, Error: failure, Rows: r.messages, Bytes: r.bytes}
	if code != "OK" || failure != "" {
		o.Status = "error"
	}
	if r.left > 0 {
		o.Summary += fmt.Sprintf(", %d messages not recorded whole, sha256 %s", r.left, hex.EncodeToString(r.sum.Sum(nil)))
	}
	return o
}

// decoder reads recorded messages: each with who it is from, as text.
type decoder struct{}

// Schema reads what is recorded of an answer before its messages.
func (decoder) Schema(data []byte) ([]gate.ResultColumn, error) {
	var h head
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, err
	}
	return []gate.ResultColumn{{Name: "from"}, {Name: "message"}}, nil
}

// Rows are the messages: one for each event.
func (decoder) Rows(_ []gate.ResultColumn, data []byte, limit int) ([][]*string, error) {
	if len(data) == 0 || limit < 1 {
		return nil, nil
	}
	from := "service"
	if data[0] == fromClient {
		from = "client"
	}
	message := strings.ToValidUTF8(string(data[1:]), "?")
	return [][]*string{{&from, &message}}, nil
}
