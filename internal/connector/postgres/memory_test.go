package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMemory: parts never take more together than there is, nor those of one principal more than half of it.
func TestMemory(t *testing.T) {
	m := newMemory(100)
	a, b, c := m.share("ada"), m.share("ada"), m.share("bob")
	for _, step := range []struct {
		of   *share
		n    int64
		want bool
	}{
		{&a, 30, true}, {&b, 21, false}, {&b, 20, true}, {&c, 51, false}, {&c, 50, true}, {&a, 31, false}, {&a, 10, true}, {&b, 40, true}, {&c, 51, false}, {&c, 0, true}, {&a, 0, true}, {&b, 0, true},
	} {
		if got := step.of.hold(step.n); got != step.want {
			t.Errorf("a part of %d: %v", step.n, got)
		}
	}
	if m.used != 0 || len(m.by) != 0 {
		t.Errorf("%d bytes of %v are left", m.used, m.by)
	}
	var none share
	if none.hold(1) || !none.hold(0) {
		t.Error("the zero value has room")
	}
	var running sync.WaitGroup
	for _, who := range []string{"ada", "bob", "ada", "eve"} {
		running.Add(1)
		go func() {
			defer running.Done()
			s := m.share(who)
			for n := range int64(1000) {
				s.hold(n % 40)
				m.mu.Lock()
				if m.used > m.limit || m.used < 0 || m.by[who] > m.limit/2 {
					t.Errorf("%d bytes, %v", m.used, m.by)
				}
				m.mu.Unlock()
			}
			s.hold(0)
		}()
	}
	running.Wait()
	if m.used != 0 || len(m.by) != 0 {
		t.Errorf("%d bytes of %v are left", m.used, m.by)
	}
}

// TestNoRoom: a message that there is no room for is read past, and never held; the next one comes. What is announced
// counts when it comes.
func TestNoRoom(t *testing.T) {
	m := newMemory(4 << 20)
	large := appendMessage(nil, 'B', bytes.Repeat([]byte{'x'}, 3<<20))
	r := newWireReader(bytes.NewReader(append(large, appendMessage(nil, 'S')...)))
	r.room, r.weight = m.share("ada"), 1
	typ, body, err := r.nextRequest(maxMessage)
	if full := (*errNoRoom)(nil); typ != 'B' || body != nil || !errors.As(err, &full) || full.limit != 4<<20 {
		t.Fatalf("%q, %d bytes, %v", typ, len(body), err)
	}
	if m.used != 0 || cap(r.buf) > keepBuffer {
		t.Errorf("%d bytes are counted, %d kept", m.used, cap(r.buf))
	}
	if typ, _, err := r.nextRequest(maxMessage); typ != 'S' || err != nil {
		t.Errorf("behind it: %q, %v", typ, err)
	}
	announced := binary.BigEndian.AppendUint32([]byte{'B'}, 64<<20)
	r = newWireReader(bytes.NewReader(append(announced, make([]byte, 100)...)))
	r.room, r.weight = m.share("ada"), 1
	if _, _, err := r.nextRequest(maxMessage); err == nil || m.used > keepBuffer {
		t.Errorf("%d bytes are counted for 100 that came: %v", m.used, err)
	}
	r.release()
	if m.used != 0 {
		t.Errorf("%d bytes are left", m.used)
	}
}

// TestSharedMemory: sessions share a bound. What is beyond it is refused, and disturbs nobody.
func TestSharedMemory(t *testing.T) {
	f := evasionField(t)
	f.serve()
	m := newMemory(20 << 20) // half of it is for the one principal
	f.server.memory = m
	dial := func() *rawClient {
		t.Helper()
		c, err := dialRaw(f.url("app"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, bystander := dial(), dial()
	defer one.close()
	defer bystander.close()
	bind := func(n int) []byte {
		b := appendMessage(nil, 'P', []byte("\x00SELECT length($1::text)\x00\x00\x00"))
		head := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, 0, 1}, uint32(n))
		b = appendMessage(b, 'B', head, bytes.Repeat([]byte{'x'}, n), []byte{0, 0})
		b = appendMessage(b, 'E', []byte{0, 0, 0, 0, 0})
		return appendMessage(b, 'S')
	}
	parse := func(name string, n int) []byte {
		b := appendMessage(nil, 'P', []byte(name+"\x00SELECT length('"+strings.Repeat("x", n)+"')\x00\x00\x00"))
		return appendMessage(b, 'S')
	}
	query := func(text string) []byte { return appendMessage(nil, 'Q', []byte(text), []byte{0}) }
	const mib = 1 << 20
	for _, step := range []struct {
		what string
		send []byte
		want string // in what comes back
	}{
		{"a parameter", bind(mib), "D\t1048576"},
		{"a large parameter", bind(3 * mib), "53200"},
		{"a parameter again", bind(mib), "D\t1048576"},
		{"a text", query("SELECT length('" + strings.Repeat("x", mib) + "')"), "D\t1048576"},
		{"a large text", query("SELECT length('" + strings.Repeat("x", 4*mib-100) + "')"), "53200"},
		{"a statement", parse("a", mib), "1\t"},
		{"another statement", parse("b", mib), "1\t"},
		{"more statements than there is room for", parse("c", mib), "53200"},
		{"the first one is closed", appendMessage(appendMessage(nil, 'C', []byte("Sa\x00")), 'S'), "3\t"},
		{"then there is room", parse("c", mib), "1\t"},
		{"they go", query("DEALLOCATE ALL"), "DEALLOCATE"},
		{"a row", query("SELECT repeat('x', 1048576)"), "D\txxxx"},
	} {
		before := one.transcript.Len()
		if err := one.send(step.send); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := one.transcript.String()[before:]; !strings.Contains(got, step.want) || step.want != "53200" && strings.Contains(got, "53200") {
			t.Errorf("%s: %.300s", step.what, got)
		}
		if err := bystander.send(query("SELECT 1")); err != nil {
			t.Fatalf("a bystander, after %s: %v", step.what, err)
		}
	}
	counted := func(want int64) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
			m.mu.Lock()
			used := m.used
			m.mu.Unlock()
			if used == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d bytes are counted, want %d", used, want)
			}
		}
	}
	// One that sends most of a message and waits leaves little to others of its principal, until it goes.
	stalling := dial()
	head := binary.BigEndian.AppendUint32([]byte{'B'}, 63*mib)
	if _, err := stalling.conn.Write(append(head, make([]byte, 6*mib)...)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		m.mu.Lock()
		used := m.used
		m.mu.Unlock()
		if used >= 6*mib {
			break
		}
	}
	for _, want := range []string{"53200", "D\t1048576"} {
		before := one.transcript.Len()
		if err := one.send(bind(mib)); err != nil {
			t.Fatal(err)
		}
		if got := one.transcript.String()[before:]; !strings.Contains(got, want) {
			t.Errorf("beside one that waits, %s: %.300s", want, got)
		}
		if want == "53200" {
			stalling.close()
			if err := one.send(query("SELECT 1")); err != nil {
				t.Fatal(err)
			}
			counted(0)
		}
	}
	// A row that there is no room for ends its session, which cannot read past it.
	ended := dial()
	defer ended.close()
	err := ended.send(query("SELECT repeat('x', 6000000)"))
	if got := ended.transcript.String(); err == nil || !strings.Contains(got, "53200") || strings.Contains(got, "xxxx") {
		t.Errorf("a large row: %v\n%.300s", err, got)
	}
	if err := bystander.send(query("SELECT 1")); err != nil {
		t.Errorf("a bystander: %v", err)
	}
	one.close()
	counted(0)
}
