package postgres

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Sizes of what a peer may send, checked before anything is allocated.
const (
	maxMessage  = 64 << 20 // one message of a session
	maxStartup  = 10_000   // a startup packet, as PostgreSQL has it
	maxPassword = 32 << 10 // a message with a token
	growStep    = 1 << 20  // how much is allocated before the bytes for it have come, at most
	keepBuffer  = 64 << 10 // larger buffers are not kept for the next message, and are counted
)

// errMessage is what a peer's bytes were refused for; its text may be shown to the peer.
type errMessage struct{ state, text string }

func (e *errMessage) Error() string { return e.text }

// wireReader reads whole messages: a type byte, a length of 4 bytes that counts itself, a body
// (PostgreSQL documentation, 55.2 "Message Flow" and 55.7 "Message Formats").
type wireReader struct {
	r   *bufio.Reader
	buf []byte
	// room is what large messages take, weight how many bytes each of theirs counts; without weight nothing is counted.
	room   share
	weight int64
}

func newWireReader(r io.Reader) *wireReader {
	return &wireReader{r: bufio.NewReaderSize(r, 32<<10)}
}

// next reads one message. The body is valid until the next call. A length beyond limit, or below its own
// size, is an *errMessage before anything is allocated.
func (w *wireReader) next(limit int) (typ byte, body []byte, err error) {
	typ, n, err := w.head(limit)
	if err != nil {
		return typ, nil, err
	}
	body, err = w.body(n)
	return typ, body, err
}

// nextRequest is next for what a client asks. Of a Query or Parse whose text is longer than any that is understood
// only the beginning comes, maxTextMessage bytes; the rest is read past, and never held.
func (w *wireReader) nextRequest(limit int) (typ byte, body []byte, err error) {
	if w.r.Buffered() == 0 { // it may be long until the next one
		w.release()
	}
	typ, n, err := w.head(limit)
	if err != nil {
		return typ, nil, err
	}
	kept := n
	if typ == 'Q' || typ == 'P' {
		kept = min(n, maxTextMessage)
	}
	if body, err = w.body(kept); err == nil && kept < n {
		_, err = w.r.Discard(n - kept)
		err = unexpected(err)
	}
	return typ, body, err
}

// release gives up what a large message took.
func (w *wireReader) release() {
	if cap(w.buf) > keepBuffer {
		w.buf = nil
		w.room.hold(0)
	}
}

// afford says whether a buffer may be so large.
func (w *wireReader) afford(size int) bool {
	return w.weight == 0 || size <= keepBuffer || w.room.hold(int64(size)*w.weight)
}

// past reads past the rest of a message that there is no room for.
func (w *wireReader) past(n int) error {
	w.release()
	if _, err := w.r.Discard(n); err != nil {
		return unexpected(err)
	}
	return &errNoRoom{w.room.of.limit}
}

// head reads the type and the length of a message's body.
func (w *wireReader) head(limit int) (typ byte, length int, err error) {
	head, err := w.r.Peek(5)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	typ = head[0]
	n := int64(binary.BigEndian.Uint32(head[1:5])) - 4
	if n < 0 {
		return typ, 0, &errMessage{"08P01", fmt.Sprintf("The length of a message of type %q is not valid.", typ)}
	}
	if n > int64(limit) {
		return typ, 0, &errMessage{"54000", fmt.Sprintf("A message of type %q has %d bytes; the limit is %d.", typ, n, limit)}
	}
	_, err = w.r.Discard(5)
	return typ, int(n), err
}

func (w *wireReader) body(n int) ([]byte, error) {
	if n <= keepBuffer {
		w.release()
	}
	if n <= cap(w.buf) {
		w.buf = w.buf[:n]
		_, err := io.ReadFull(w.r, w.buf)
		return w.buf, unexpected(err)
	}
	if n <= keepBuffer {
		w.buf = make([]byte, n, max(n, 4096))
		_, err := io.ReadFull(w.r, w.buf)
		return w.buf, unexpected(err)
	}
	w.buf = w.buf[:0]
	for len(w.buf) < n {
		have := len(w.buf)
		step := min(growStep, max(have, keepBuffer), n-have) // what was announced is not allocated before it comes
		if cap(w.buf) < have+step {
			if !w.afford(min(n, max(2*cap(w.buf), have+step))) {
				return nil, w.past(n - have)
			}
			grown := make([]byte, have, min(n, max(2*cap(w.buf), have+step)))
			copy(grown, w.buf)
			w.buf = grown
		}
		w.buf = w.buf[:have+step]
		if _, err := io.ReadFull(w.r, w.buf[have:]); err != nil {
			return nil, unexpected(err)
		}
	}
	return w.buf, nil
}

// emptied empties a buffer that is to be used again; one that is large is let go.
func emptied(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// unexpected turns the end of the stream inside a message into an error of its own.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendMessage appends a whole message.
func appendMessage(b []byte, typ byte, body ...[]byte) []byte {
	n := 4
	for _, part := range body {
		n += len(part)
	}
	b = append(b, typ)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	for _, part := range body {
		b = append(b, part...)
	}
	return b
}

// fields reads the parts of a message's body. After an error every further read gives zero values; err
// says so at the end.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if f.bad || n < 0 || n > len(f.b) {
		f.bad = true
		return nil
	}
	part := f.b[:n:n]
	f.b = f.b[n:]
	return part
}

func (f *fields) byte() byte {
	if p := f.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (f *fields) int16() int {
	if p := f.take(2); p != nil {
		return int(binary.BigEndian.Uint16(p))
	}
	return 0
}

func (f *fields) int32() int32 {
	if p := f.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

// string reads up to a NUL, which must be there.
func (f *fields) string() string {
	return f.text(math.MaxInt)
}

// text is a string of which at most so many bytes are kept.
func (f *fields) text(most int) string {
	i := bytes.IndexByte(f.b, 0)
	if f.bad || i < 0 {
		f.bad = true
		return ""
	}
	s := string(f.b[:min(i, most)])
	f.b = f.b[i+1:]
	return s
}

// end is the error of the whole body: a part that was missing, or bytes left over.
func (f *fields) end(message string) error {
	if f.bad || len(f.b) > 0 {
		return &errMessage{"08P01", fmt.Sprintf("A %s message is not well-formed.", message)}
	}
	return nil
}
