// Package record keeps the recordings: one append-only journal per gateway, chained by hashes.
//
// What an append returned for is in the file; what was durable is on the disk. Reading and verifying need
// no gateway. It must never lose an entry silently: an error poisons the journal, and nothing more is
// written.
package record

import (
	"bytes"
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
//	        previous hash [32]byte, with flag 2 the node head [32]byte, with flag 4 the slot of the session's key u32
//	        and a nonce [12]byte, body, hash [32]byte
//	body:   with flag 4 sealed (AES-256-GCM, the session id authenticated beside), in it with flag 1 S2-compressed: events, each kind (u8 length, bytes), request uvarint,
//	        JSON (uvarint length, bytes), data (uvarint length, bytes)
//
// Integers are big-endian. An entry's hash is SHA-256 over everything of the entry before it, so also over
// the hash of the entry before it in its session: for the first entry that is 32 zeros. The entries that
// open and close a session carry the node head and advance it: head = SHA-256(head ‖ hash).
const (
	magic      = "GHJRNL1\n"
	headerSize = len(magic) + 8 + sha256.Size
	frameSize  = 8

	flagS2     = 1
	flagNode   = 2
	flagSealed = 4

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
	// Erased says that the session's key was destroyed: there are no events to be read any more.
	Erased bool `json:"erased,omitempty"`

	previous, node, hash hash
	flags                byte
	slot                 uint32 // of its key, where it is sealed
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

// encodeEvents appends the body of an entry, which begins at start.
func encodeEvents(b []byte, start int, events []gate.Event) ([]byte, error) {
	for _, e := range events {
		if len(e.Kind) == 0 || len(e.Kind) > 255 {
			return nil, fmt.Errorf("record: %q is not a kind of event", e.Kind)
		}
		b = append(b, byte(len(e.Kind)))
		b = append(b, e.Kind...)
		b = binary.AppendUvarint(b, e.Request)
		switch body := e.Body.(type) {
		case nil:
			b = append(b, 0)
		case json.RawMessage: // encoded already
			b = binary.AppendUvarint(b, uint64(len(body)))
			b = append(b, body...)
		case jsonAppender:
			b = appendSized(b, body)
		default:
			text, err := json.Marshal(body)
			if err != nil {
				return nil, fmt.Errorf("record: %s: %w", e.Kind, err)
			}
			b = binary.AppendUvarint(b, uint64(len(text)))
			b = append(b, text...)
		}
		b = binary.AppendUvarint(b, uint64(len(e.Data)))
		b = append(b, e.Data...)
	}
	if len(b)-start > maxEntry-1024 {
		return nil, fmt.Errorf("record: an entry of %d bytes is more than can be recorded at once", len(b)-start)
	}
	return b, nil
}

// jsonAppender is a body that writes its own JSON.
type jsonAppender interface{ AppendJSON([]byte) []byte }

// appendSized appends a body's length and its JSON. The length of nearly all has two bytes.
func appendSized(b []byte, body jsonAppender) []byte {
	at := len(b)
	b = body.AppendJSON(append(b, 0, 0))
	n := uint64(len(b) - at - 2)
	var size [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(size[:], n)
	switch {
	case k > 2:
		b = append(b, size[2:k]...)
		copy(b[at+k:], b[at+2:at+2+int(n)])
	case k == 1:
		copy(b[at+1:], b[at+2:])
		b = b[:len(b)-1]
	}
	copy(b[at:], size[:k])
	return b
}

var (
	errFormat = errors.New("not a well-formed entry")
	errHash   = errors.New("its hash does not fit")
)

// sumOf is the hash of an encoded entry, which must have one at its end.
func sumOf(b []byte) hash { return sha256.Sum256(b[:len(b)-sha256.Size]) }

// decodeEntry reads an entry; the caller has checked the CRC. It keeps nothing of b.
func decodeEntry(b []byte, keys *keyring) (Entry, error) {
	if len(b) < minEntry || len(b) > maxEntry {
		return Entry{}, errFormat
	}
	if sumOf(b) != hash(b[len(b)-sha256.Size:]) {
		return Entry{}, errHash
	}
	e, rest, err := openEntry(b, keys)
	if err != nil {
		return e, err
	}
	e.Events, err = decodeEvents(rest)
	return e, err
}

// openEntry reads all of an entry but its events, which it gives as they are encoded: in b, where they are not
// compressed or sealed. It does not check the hash.
func openEntry(b []byte, keys *keyring) (e Entry, events []byte, err error) {
	e, rest, err := splitEntry(b)
	if err != nil {
		return e, nil, err
	}
	events, err = bodyOf(e, rest, func() (body []byte, _ bool, err error) {
		body, e.Erased, err = keys.unseal(rest, e.Session)
		return body, e.Erased, err
	})
	return e, events, err
}

// splitEntry reads what stands before an entry's body, and gives the body as it stands: with its slot and nonce in front
// where it is sealed.
func splitEntry(b []byte) (e Entry, body []byte, err error) {
	if len(b) < minEntry || len(b) > maxEntry {
		return e, nil, errFormat
	}
	copy(e.hash[:], b[len(b)-sha256.Size:])
	rest := b[:len(b)-sha256.Size]
	e.flags, rest = rest[0], rest[1:]
	n := int(rest[0])
	if e.flags&^(flagS2|flagNode|flagSealed) != 0 || n == 0 || len(rest) < 1+n+16+sha256.Size {
		return e, nil, errFormat
	}
	e.Session, rest = string(rest[1:1+n]), rest[1+n:]
	e.Number, rest = binary.BigEndian.Uint64(rest), rest[8:]
	e.Time, rest = time.UnixMicro(int64(binary.BigEndian.Uint64(rest))).UTC(), rest[8:]
	rest = rest[copy(e.previous[:], rest):]
	if e.flags&flagNode != 0 {
		if len(rest) < sha256.Size {
			return e, nil, errFormat
		}
		rest = rest[copy(e.node[:], rest):]
	}
	if e.flags&flagSealed != 0 {
		if len(rest) < sealSize+tagSize {
			return e, nil, errFormat
		}
		e.slot = binary.BigEndian.Uint32(rest)
	}
	return e, rest, nil
}

// bodyOf gives the events of an entry, encoded; none where its key was destroyed, as unseal says.
func bodyOf(e Entry, body []byte, unseal func() ([]byte, bool, error)) ([]byte, error) {
	var err error
	if e.flags&flagSealed != 0 {
		var erased bool
		if body, erased, err = unseal(); err != nil || erased {
			return nil, err
		}
	}
	if e.flags&flagS2 != 0 {
		if body, err = decompress(body); err != nil {
			return nil, fmt.Errorf("its body cannot be decompressed: %w", err)
		}
	}
	return body, nil
}

// nextEvent takes the first event of those that are encoded in b. Its body and data are parts of b, and are not
// looked into.
func nextEvent(b []byte) (e Event, rest []byte, err error) {
	n := int(b[0])
	if n == 0 || len(b) < 1+n {
		return e, nil, errFormat
	}
	e.Kind, b = gate.EventKind(b[1:1+n]), b[1+n:]
	request, k := binary.Uvarint(b)
	if k <= 0 {
		return e, nil, errFormat
	}
	e.Request, b = request, b[k:]
	for _, part := range []*[]byte{(*[]byte)(&e.Body), &e.Data} {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return e, nil, errFormat
		}
		*part, b = b[k:k+int(n)], b[k+int(n):]
	}
	return e, b, nil
}

func decodeEvents(b []byte) ([]Event, error) {
	var out []Event
	for len(b) > 0 {
		e, rest, err := nextEvent(b)
		if err != nil || len(e.Body) > 0 && !json.Valid(e.Body) {
			return nil, errFormat
		}
		e.Body, e.Data = bytes.Clone(e.Body), bytes.Clone(e.Data)
		if len(e.Body) == 0 {
			e.Body = nil
		}
		if len(e.Data) == 0 {
			e.Data = nil
		}
		out, b = append(out, e), rest
	}
	return out, nil
}
