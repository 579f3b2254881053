package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

func TestLimitComesBeforeAllocation(t *testing.T) {
	head := binary.BigEndian.AppendUint32([]byte{'Q'}, maxMessage+5)
	r := newWireReader(io.MultiReader(bytes.NewReader(head), zeros{}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := r.next(maxMessage)
	runtime.ReadMemStats(&after)
	var m *errMessage
	if !errors.As(err, &m) || m.state != "54000" {
		t.Fatalf("got %v, want an error of state 54000", err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes were allocated for a message that was refused", grown)
	}
}

// A message that is announced but never comes must not cost its announced size.
func TestAnnouncedBytesAreNotAllocatedAhead(t *testing.T) {
	head := binary.BigEndian.AppendUint32([]byte{'Q'}, maxMessage)
	r := newWireReader(bytes.NewReader(append(head, make([]byte, 100)...)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := r.next(maxMessage)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v, want an unexpected EOF", err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes were allocated for 100 that came", grown)
	}
}

func TestLargeMessageArrivesWhole(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 700_000)
	r := newWireReader(bytes.NewReader(append(appendMessage(nil, 'd', body), appendMessage(nil, 'S')...)))
	typ, got, err := r.next(maxMessage)
	if err != nil || typ != 'd' || !bytes.Equal(got, body) {
		t.Fatalf("type %q, %d bytes, %v", typ, len(got), err)
	}
	if typ, got, err := r.next(maxMessage); err != nil || typ != 'S' || len(got) != 0 {
		t.Fatalf("type %q, %d bytes, %v", typ, len(got), err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		decode func() error
		want   string
	}{
		"query without an end": {func() error { _, err := decodeQuery([]byte("select 1")); return err }, "not well-formed"},
		"query with NUL":       {func() error { _, err := decodeQuery([]byte("select 1\x00 x\x00")); return err }, "NUL"},
		"query not UTF-8":      {func() error { _, err := decodeQuery([]byte("select '\xff'\x00")); return err }, "UTF-8"},
		"parse cut off":        {func() error { _, err := decodeParse([]byte("a\x00select 1\x00\x00\x02\x00")); return err }, "not well-formed"},
		"parse with a tail":    {func() error { _, err := decodeParse([]byte("a\x00select 1\x00\x00\x00x")); return err }, "not well-formed"},
		"bind with 65535 values that do not come": {func() error {
			_, err := decodeBind([]byte("\x00\x00\x00\x00\xff\xff\x00\x00"))
			return err
		}, "not well-formed"},
		"bind with a format that is not one": {func() error {
			_, err := decodeBind([]byte("\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00"))
			return err
		}, "not well-formed"},
		"bind with too few formats": {func() error {
			_, err := decodeBind([]byte("\x00\x00\x00\x02\x00\x00\x00\x01\x00\x01\xff\xff\xff\xff\x00\x00"))
			return err
		}, "2 parameter formats for 1"},
		"describe of nothing": {func() error { _, err := decodeDescribe([]byte("X\x00"), "Describe"); return err }, "neither"},
		"execute cut off":     {func() error { _, err := decodeExecute([]byte("p\x00\x00")); return err }, "not well-formed"},
		"long name": {func() error {
			_, err := decodeExecute([]byte(strings.Repeat("n", maxName+1) + "\x00\x00\x00\x00\x00"))
			return err
		}, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.decode()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzWireReader(f *testing.F) {
	f.Add(appendMessage(nil, 'Q', []byte("select 1\x00")))
	f.Add([]byte{'Q', 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{'Q', 0, 0, 0, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newWireReader(bytes.NewReader(b))
		for range len(b) + 1 {
			_, body, err := r.next(1 << 16)
			if err != nil {
				return
			}
			if len(body) > len(b) {
				t.Fatal("a body is longer than what came")
			}
		}
		t.Fatal("the reader does not end")
	})
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte("p\x00s\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x04\x00\x00\x00\x01\x00\x01\x00\x01"))
	f.Add([]byte("\x00select $1\x00\x00\x01\x00\x00\x00\x17"))
	f.Add([]byte("\x00\x01id\x00\x00\x00\x00\x10\x00\x01\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00"))
	f.Add([]byte("SERROR\x00C42601\x00Mmessage\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeQuery(b)
		decodeParse(b)
		if m, err := decodeBind(b); err == nil {
			m.parameters(nil)
		}
		decodeDescribe(b, "Describe")
		decodeExecute(b)
		decodeCopyResponse(b)
		if columns, err := decodeRowDescription(b); err == nil {
			if again := withFormats(b, []int16{1}); len(columns) > 0 && len(again) != len(b) {
				t.Fatal("a RowDescription changed its size")
			}
		}
		if values, err := decodeError(b); err == nil {
			_, body, err := newWireReader(bytes.NewReader(encodeError(nil, 'E', values))).next(len(b) + 64)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeError(body); err != nil {
				t.Fatal(err)
			}
		}
		c := &client{}
		c.parameters(b)
		splitOptions(string(b))
		decodeNotification(b)
	})
}

func FuzzRows(f *testing.F) {
	row := appendMessage(nil, 'D', []byte{0, 2, 0, 0, 0, 1, 'x', 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("\x00\x01id\x00\x00\x00\x00\x10\x00\x01\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x01"), row)
	f.Add([]byte{}, appendMessage(appendMessage(nil, 'd', []byte("1\tx\n")), 'd', []byte("PGCOPY\n\xff")))
	f.Fuzz(func(t *testing.T, schema, data []byte) {
		columns, err := decoder{}.Schema(schema)
		if err != nil {
			columns = nil
		}
		rows, _ := decoder{}.Rows(columns, data, 10)
		if len(rows) > 10 {
			t.Fatal("more rows than asked for")
		}
	})
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	f.Fuzz(func(t *testing.T, b []byte) {
		startupPacket(newWireReader(bytes.NewReader(b)).r)
	})
}

// TestLongTextsAreReadPast: of a text that is longer than any that is understood the beginning is held, and the message
// behind it is found. What ends within it is malformed, as it is in a message that is read whole.
func TestLongTextsAreReadPast(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 64<<20-64)
	for _, c := range []struct {
		typ  byte
		body [][]byte
		bad  bool
	}{
		{'Q', [][]byte{text, {0}}, false}, {'P', [][]byte{[]byte("n\x00"), text, {0, 0, 0}}, false},
		{'Q', [][]byte{[]byte("SELECT 1\x00"), text, {0}}, true}, {'P', [][]byte{[]byte("n\x00SELECT 1\x00"), text, {0}}, true}, {'P', [][]byte{text, {0}}, true},
	} {
		r := newWireReader(bytes.NewReader(appendMessage(appendMessage(nil, c.typ, c.body...), 'S')))
		typ, body, err := r.nextRequest(maxMessage)
		if err != nil || typ != c.typ || len(body) != maxTextMessage {
			t.Fatalf("%q: %q, %d bytes, %v", c.typ, typ, len(body), err)
		}
		var got string
		if typ == 'Q' {
			got, err = decodeQuery(body)
		} else {
			var m parseMessage
			m, err = decodeParse(body)
			got = m.text
		}
		if (err != nil) != c.bad || !c.bad && len(got) != keptText {
			t.Errorf("%q: %d bytes of text, %v", c.typ, len(got), err)
		}
		if typ, body, err := r.nextRequest(maxMessage); typ != 'S' || len(body) != 0 || err != nil {
			t.Errorf("behind it: %q, %d bytes, %v", typ, len(body), err)
		}
	}
	r := newWireReader(bytes.NewReader(appendMessage(nil, 'Q', text)[:32<<20]))
	if _, _, err := r.nextRequest(maxMessage); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a message that ends early: %v", err)
	}
}
