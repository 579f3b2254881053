package record_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
	"gatehouse/internal/record/faultfs"
)

// long asks for the long versions: `make test-all`.
var long = os.Getenv("GATEHOUSE_TEST_ALL") != ""

// small is a journal of three sessions in one segment, and where its entries begin.
func small(t testing.TB, dir string) (path string, whole []byte, begins []int) {
	t.Helper()
	j := open(t, record.Options{Dir: dir})
	for _, id := range []string{"s-a", "s-b", "s-c"} {
		r := session(t, j, id)
		must(t, r.Append(false, asked(1, "SELECT 1")))
		must(t, r.Append(false, answered(1)))
		must(t, r.Close(gate.SessionEnd{Reason: "client"}))
	}
	must(t, j.Close())
	path = filepath.Join(dir, "journal-00000001.ghj")
	whole, err := os.ReadFile(path)
	must(t, err)
	for at := 48; at < len(whole); at += 8 + int(binary.BigEndian.Uint32(whole[at:])) {
		begins = append(begins, at)
	}
	return path, whole, begins
}

// TestEveryBitIsNamed: a bit that is flipped anywhere fails the verification, which names the entry that it is in.
func TestEveryBitIsNamed(t *testing.T) {
	dir := t.TempDir()
	path, whole, begins := small(t, dir)
	step := 11
	if long {
		step = 1
	}
	for bit := 0; bit < len(whole)*8; bit += step {
		at := bit / 8
		changed := bytes.Clone(whole)
		changed[at] ^= 1 << (bit % 8)
		must(t, os.WriteFile(path, changed, 0o600))
		want := 0 // the header
		for _, b := range begins {
			if b <= at {
				want = b
			}
		}
		r, err := record.Verify(t.Context(), dir)
		must(t, err)
		place := fmt.Sprintf("journal-00000001.ghj at byte %d: ", want)
		last := want == begins[len(begins)-1]
		switch all := strings.Join(append(r.Problems, r.Notes...), "; "); {
		case r.OK() && !(last && len(r.Notes) == 1): // the last entry could be one that is being written
			t.Fatalf("bit %d of byte %d: it verifies", bit%8, at)
		case !strings.Contains(all, place):
			t.Fatalf("bit %d of byte %d: %q does not name %q", bit%8, at, all, place)
		}
	}
}

// TestKeysAreChanged: a bit that is flipped in the keys is noticed by who reads, and the proof stands.
func TestKeysAreChanged(t *testing.T) {
	dir := t.TempDir()
	small(t, dir)
	path := filepath.Join(dir, "keys.ghk")
	whole, err := os.ReadFile(path)
	must(t, err)
	for at := range whole {
		changed := bytes.Clone(whole)
		changed[at] ^= 4
		must(t, os.WriteFile(path, changed, 0o600))
		if at < 8 {
			continue // the header is looked at where keys are added
		}
		id := []string{"s-a", "s-b", "s-c"}[(at-8)/68]
		failed := false
		for _, err := range record.Read(t.Context(), dir, id) {
			failed = failed || err != nil
		}
		if !failed {
			t.Fatalf("byte %d of the keys was changed, and %s is read", at, id)
		}
	}
	must(t, os.Remove(path))
	if r, err := record.Verify(t.Context(), dir); err != nil || !r.OK() || !r.Sealed {
		t.Errorf("%+v %v", r, err)
	}
}

// TestTornBlock: the last block of the disk was not written when the power went. What stands before it is there.
func TestTornBlock(t *testing.T) {
	for _, block := range []int{512, 4096} {
		for _, filled := range []byte{0, 0xff, 0x5a} {
			dir := t.TempDir()
			j := open(t, record.Options{Dir: dir})
			r := session(t, j, "s-a")
			for n := uint64(1); n <= 60; n++ {
				must(t, r.Append(false, asked(n, fmt.Sprintf("SELECT %d", n)), answered(n)))
			}
			must(t, j.Close())
			path := filepath.Join(dir, "journal-00000001.ghj")
			whole, err := os.ReadFile(path)
			must(t, err)
			from := (len(whole) - 1) / block * block
			before := 0
			for at := 48; at < len(whole); {
				if at += 8 + int(binary.BigEndian.Uint32(whole[at:])); at <= from {
					before++
				}
			}
			must(t, os.WriteFile(path, append(bytes.Clone(whole[:from]), bytes.Repeat([]byte{filled}, len(whole)-from)...), 0o600))
			open(t, record.Options{Dir: dir}).Close()
			report, err := record.Verify(t.Context(), dir)
			must(t, err)
			if !report.OK() || len(report.Sessions) != 1 || report.Sessions[0].Entries != uint64(before)+1 || !report.Sessions[0].Closed {
				t.Errorf("block of %d, %#x: %d entries were before it: %+v", block, filled, before, report)
			}
		}
	}
}

// TestTornBegin: the machine stopped while a segment was begun, at any byte of its header.
func TestTornBegin(t *testing.T) {
	for cut := range 48 {
		dir := t.TempDir()
		_, whole, _ := small(t, dir)
		header := binary.BigEndian.AppendUint64([]byte("GHJRNL1\n"), 2)
		header = append(header, whole[len(whole)-32:]...) // whatever
		must(t, os.WriteFile(filepath.Join(dir, "journal-00000002.ghj"), header[:cut], 0o600))
		j := open(t, record.Options{Dir: dir})
		must(t, session(t, j, "s-after").Close(gate.SessionEnd{Reason: "client"}))
		must(t, j.Close())
		if r, err := record.Verify(t.Context(), dir); err != nil || !r.OK() || len(r.Sessions) != 4 || r.Segments != 2 {
			t.Fatalf("cut at %d: %+v %v", cut, r, err)
		}
	}
}

// TestClockGoesBack: a clock that goes back, while the journal is open and over a restart, changes no order, and nothing of the proof.
func TestClockGoesBack(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	dir := t.TempDir()
	now := time.Date(2026, 3, 29, 2, 0, 0, 0, time.UTC)
	options := record.Options{Dir: dir, Signer: key, SignInterval: time.Hour, SegmentAge: time.Hour, Now: func() time.Time { return now }}
	j := open(t, options)
	r := session(t, j, "s-a")
	for n := uint64(1); n <= 6; n++ {
		must(t, r.Append(true, asked(n, fmt.Sprintf("SELECT %d", n)), answered(n)))
		now = now.Add(-30 * time.Minute)
	}
	must(t, r.Close(gate.SessionEnd{Reason: "client"}))
	must(t, j.Close())
	now = now.Add(-48 * time.Hour)
	j = open(t, options)
	must(t, session(t, j, "s-b").Close(gate.SessionEnd{Reason: "client"}))
	now = now.Add(72 * time.Hour) // and forward: the segment is old now
	must(t, session(t, j, "s-c").Close(gate.SessionEnd{Reason: "client"}))
	must(t, j.Close())
	report, err := record.Verify(t.Context(), dir)
	if err != nil || !report.OK() || len(report.Sessions) != 3 || report.Heads != 2 || report.Segments != 2 {
		t.Errorf("%+v %v", report, err)
	}
	n := uint64(0)
	for e, err := range record.Read(t.Context(), dir, "s-a") {
		must(t, err)
		for _, ev := range e.Events {
			if ev.Kind == gate.Requested {
				if n++; ev.Request != n {
					t.Errorf("request %d comes as the %dth", ev.Request, n)
				}
			}
		}
	}
	if n != 6 {
		t.Errorf("%d requests", n)
	}
}

// full is a disk on which no more files fit.
type full struct{ faultfs.OS }

func (f full) Create(path string) (faultfs.File, error) {
	if strings.HasSuffix(path, "00000002.ghj") {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOSPC}
	}
	return f.OS.Create(path)
}

// TestFullAtTheNextSegment: a segment has ended, and the next one cannot be begun. Nothing is acknowledged from there on, and the
// journal goes on after a restart.
func TestFullAtTheNextSegment(t *testing.T) {
	dir := t.TempDir()
	j := open(t, record.Options{Dir: dir, FS: full{}, SegmentSize: 4 << 10})
	r := session(t, j, "s-a")
	acknowledged := uint64(0)
	var err error
	for n := uint64(1); n < 100; n++ {
		if err = r.Append(true, asked(n, "SELECT 'some text'")); err != nil {
			break
		}
		acknowledged = n
	}
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "free or repair the disk") {
		t.Fatalf("after %d: %v", acknowledged, err)
	}
	if r.Append(false, answered(1)) == nil || r.Close(gate.SessionEnd{}) == nil {
		t.Error("something is recorded after it")
	}
	j.Close()
	j = open(t, record.Options{Dir: dir, SegmentSize: 4 << 10})
	must(t, session(t, j, "s-b").Close(gate.SessionEnd{Reason: "client"}))
	must(t, j.Close())
	list, err := record.List(context.Background(), dir, record.Filter{})
	must(t, err)
	if report, err := record.Verify(t.Context(), dir); err != nil || !report.OK() || len(list) != 2 || list[1].State != "interrupted" || uint64(list[1].Requests) < acknowledged {
		t.Errorf("%+v %+v %v", report, list, err)
	}
}
