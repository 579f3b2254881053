// Package record keeps the recordings: one append-only journal per gateway, chained by hashes.
//
// What an append returned for is in the file; what was durable is on the disk. Reading and verifying need
// no gateway. It must never lose an entry silently: an error poisons the journal, and nothing more is
// written.
package record

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/s2"

	"gatehouse/internal/gate"
)

// The format of a segment, journal-NNNNNNNN.ghj (docs/recordings.md):
//
//	header: "GHJRNL1\n", sequence number u64, node head at its begin [32]byte
//	frames: length of the entry u32, CRC-32C of the entry u32, entry
//	entry:  flags u8, session id (u8 length, bytes), number u64, time i64 (microseconds since 1970, UTC),
//	        previous hash [32]byte, with flag 2 the node head [32]byte, body, hash [32]byte
//	body:   with flag 1 S2-compressed: events, each kind (u8 length, bytes), request uvarint,
//	        JSON (uvarint length, bytes), data (uvarint length, bytes)
//
// Integers are big-endian. An entry's hash is SHA-256 over everything of the entry before it, so also over
// the hash of the entry before it in its session: for the first entry that is 32 zeros. The entries that
// open and close a session carry the node head and advance it: head = SHA-256(head ‖ hash).
const (
	magic      = "GHJRNL1\n"
	headerSize = len(magic) + 8 + sha256.Size
	frameSize  = 8

	flagS2   = 1
	flagNode = 2

	// maxEntry bounds an entry, in bytes; what is longer is refused before anything is written, and not
	// read.
	maxEntry = 80 << 20
	// minEntry is the size of an entry with a session id of one byte and an empty body.
	minEntry = 1 + 1 + 1 + 8 + 8 + 2*sha256.Size
	// compressFrom is the size of a body from which compressing is tried.
	compressFrom = 2 << 10
)

type hash = [sha256.Size]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Event is one event of a recording as it is read.
type Event struct {
	Kind    gate.EventKind  `json:"kind"`
	Request uint64          `json:"request,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
	Data    []byte          `json:"data,omitempty"`
}

// Entry is one append of a session: its events happened together.
type Entry struct {
	Session string    `json:"session"`
	Number  uint64    `json:"number"` // in its session, from 1
	Time    time.Time `json:"time"`
	Events  []Event   `json:"events"`

	previous, node, hash hash
	flags                byte
}

// head advances a node's head over an entry.
func advance(head, entry hash) hash {
	return sha256.Sum256(append(append(make([]byte, 0, 2*sha256.Size), head[:]...), entry[:]...))
}

// compress gives a body compressed into dst, or nil where that does not pay.
func compress(dst, body []byte) []byte {
	if small := s2.Encode(dst[:cap(dst)], body); len(small) < len(body)*9/10 {
		return small
	}
	return nil
}

// decompress bounds what a body may become before it allocates.
func decompress(b []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(b); err != nil || n > maxEntry {
		return nil, errors.Join(err, fmt.Errorf("it says that it has %d bytes", n))
	}
	return s2.Decode(nil, b)
}

// encodeEvents is the body of an entry.
func encodeEvents(b []byte, events []gate.Event) ([]byte, error) {
	for _, e := range events {
		if len(e.Kind) == 0 || len(e.Kind) > 255 {
			return nil, fmt.Errorf("record: %q is not a kind of event", e.Kind)
		}
		b = append(b, byte(len(e.Kind)))
		b = append(b, e.Kind...)
		b = binary.AppendUvarint(b, e.Request)
		var body []byte
		if raw, ok := e.Body.(json.RawMessage); ok { // encoded already
			body = raw
		} else if e.Body != nil {
			var err error
			if body, err = json.Marshal(e.Body); err != nil {
				return nil, fmt.Errorf("record: %s: %w", e.Kind, err)
			}
		}
		b = binary.AppendUvarint(b, uint64(len(body)))
		b = append(b, body...)
		b = binary.AppendUvarint(b, uint64(len(e.Data)))
		b = append(b, e.Data...)
	}
	if len(b) > maxEntry-1024 {
		return nil, fmt.Errorf("record: an entry of %d bytes is more than can be recorded at once", len(b))
	}
	return b, nil
}

var errFormat = errors.New("not a well-formed entry")

// decodeEntry reads an entry; the caller has checked the CRC. It keeps nothing of b.
func decodeEntry(b []byte) (Entry, error) {
	var e Entry
	if len(b) < minEntry || len(b) > maxEntry {
		return e, errFormat
	}
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	copy(e.hash[:], b[len(b)-sha256.Size:])
	if sum != e.hash {
		return e, errors.New("its hash does not fit")
	}
	rest := b[:len(b)-sha256.Size]
	e.flags, rest = rest[0], rest[1:]
	n := int(rest[0])
	if e.flags&^(flagS2|flagNode) != 0 || n == 0 || len(rest) < 1+n+16+sha256.Size {
		return e, errFormat
	}
	e.Session, rest = string(rest[1:1+n]), rest[1+n:]
	e.Number, rest = binary.BigEndian.Uint64(rest), rest[8:]
	e.Time, rest = time.UnixMicro(int64(binary.BigEndian.Uint64(rest))).UTC(), rest[8:]
	rest = rest[copy(e.previous[:], rest):]
	if e.flags&flagNode != 0 {
		if len(rest) < sha256.Size {
			return e, errFormat
		}
		rest = rest[copy(e.node[:], rest):]
	}
	if e.flags&flagS2 != 0 {
		var err error
		if rest, err = decompress(rest); err != nil {
			return e, fmt.Errorf("its body cannot be decompressed: %w", err)
		}
	}
	var err error
	e.Events, err = decodeEvents(rest)
	return e, err
}

func decodeEvents(b []byte) ([]Event, error) {
	var out []Event
	bytes := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		v := b[k : k+int(n)]
		b = b[k+int(n):]
		return v, true
	}
	for len(b) > 0 {
		var e Event
		n := int(b[0])
		if n == 0 || len(b) < 1+n {
			return nil, errFormat
		}
		e.Kind, b = gate.EventKind(b[1:1+n]), b[1+n:]
		request, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, errFormat
		}
		e.Request, b = request, b[k:]
		body, ok1 := bytes()
		data, ok2 := bytes()
		if !ok1 || !ok2 || len(body) > 0 && !json.Valid(body) {
			return nil, errFormat
		}
		if len(body) > 0 {
			e.Body = append(json.RawMessage(nil), body...)
		}
		if len(data) > 0 {
			e.Data = append([]byte(nil), data...)
		}
		out = append(out, e)
	}
	return out, nil
}
