package record_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

// recordedSessions records some sessions that end, and gives the folder.
func recordedSessions(t *testing.T, ids ...string) string {
	t.Helper()
	dir := t.TempDir()
	j := open(t, record.Options{Dir: dir})
	for _, id := range ids {
		r := session(t, j, id)
		must(t, r.Append(false, asked(1, "SELECT 'of "+id+"'")))
		must(t, r.Append(true, answered(1)))
		must(t, r.Close(gate.SessionEnd{Reason: "client"}))
	}
	must(t, j.Close())
	return dir
}

// said are the texts of a session's events.
func said(t *testing.T, dir, id string) (text string, erased bool) {
	t.Helper()
	for e, err := range record.Read(t.Context(), dir, id) {
		must(t, err)
		erased = erased || e.Erased
		for _, ev := range e.Events {
			text += string(ev.Body)
		}
	}
	return text, erased
}

// TestErase: what an erased session says is gone, everywhere; that it was there is still proved, and the others are whole.
func TestErase(t *testing.T) {
	dir := recordedSessions(t, "s-a", "s-b", "s-c")
	if text, erased := said(t, dir, "s-b"); !strings.Contains(text, "of s-b") || erased {
		t.Fatal(text, erased)
	}
	must(t, record.Erase(dir, "s-b"))
	if err := record.Erase(dir, "s-none"); !errors.Is(err, record.ErrNoSession) {
		t.Error(err)
	}
	if text, erased := said(t, dir, "s-b"); text != "" || !erased {
		t.Error(text, erased)
	}
	if text, erased := said(t, dir, "s-c"); !strings.Contains(text, "of s-c") || erased {
		t.Error(text, erased)
	}
	r, err := record.Verify(t.Context(), dir)
	if err != nil || !r.OK() || len(r.Sessions) != 3 || !r.Sessions[1].Erased || !r.Sessions[1].Closed || r.Sessions[0].Erased {
		t.Errorf("%+v %v", r, err)
	}
	list, err := record.List(t.Context(), dir, record.Filter{})
	if err != nil || len(list) != 3 || list[1].State != "erased" || list[1].Opened.IsZero() || list[1].Closed.IsZero() || list[0].State != "closed" {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := record.ReadRequests(t.Context(), dir, record.Query{}); err != nil {
		t.Error(err)
	}
	// The journal goes on after it.
	j := open(t, record.Options{Dir: dir})
	again := session(t, j, "s-d")
	must(t, again.Append(true, asked(1, "SELECT 'of s-d'")))
	must(t, again.Close(gate.SessionEnd{Reason: "client"}))
	must(t, j.Close())
	if text, _ := said(t, dir, "s-d"); !strings.Contains(text, "of s-d") {
		t.Error(text)
	}
}

// TestKeysAreLost: without the keys nothing can be read, and it is said what is missing; keys that a crash took with it are
// those of sessions that nobody got an answer in.
func TestKeysAreLost(t *testing.T) {
	dir := recordedSessions(t, "s-a")
	path := filepath.Join(dir, "keys.ghk")
	keys, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Rename(path, path+".away"))
	for _, err := range record.Read(t.Context(), dir, "s-a") {
		if !errors.Is(err, record.ErrNoKeys) {
			t.Error(err)
		}
	}
	if r, err := record.Verify(context.Background(), dir); err != nil || !r.OK() || !r.Sealed {
		t.Errorf("%+v %v", r, err)
	}
	if err := record.Erase(dir, "s-a"); !errors.Is(err, record.ErrNoKeys) {
		t.Error(err)
	}
	must(t, os.Rename(path+".away", path))

	// A session whose key was not on the disk, nor whole, and which did not end.
	j := open(t, record.Options{Dir: dir})
	session(t, j, "s-b")
	session(t, j, "s-c")
	must(t, j.Close())
	must(t, os.WriteFile(path, append(bytes.Clone(keys), "a part of a key"...), 0o600))
	j = open(t, record.Options{Dir: dir})
	d := session(t, j, "s-d")
	must(t, d.Append(true, asked(1, "SELECT 'of s-d'")))
	must(t, j.Close())
	for id, lost := range map[string]bool{"s-a": false, "s-b": true, "s-c": true, "s-d": false} {
		if _, erased := said(t, dir, id); erased != lost {
			t.Errorf("%s: %v", id, erased)
		}
	}
	if r, err := record.Verify(t.Context(), dir); err != nil || !r.OK() {
		t.Errorf("%+v %v", r, err)
	}

	// Keys of another folder are not taken for its own, and a changed one is not used.
	other := recordedSessions(t, "s-x")
	foreign, err := os.ReadFile(filepath.Join(other, "keys.ghk"))
	must(t, err)
	for name, b := range map[string][]byte{"foreign": foreign, "changed": func() []byte { b := bytes.Clone(keys); b[50] ^= 1; return b }(), "no keys": []byte("not a file of keys at all, and long enough to be taken for one, if only its length were looked at")} {
		must(t, os.WriteFile(path, b, 0o600))
		bad := false
		for _, err := range record.Read(t.Context(), dir, "s-a") {
			bad = bad || err != nil
		}
		if !bad {
			t.Errorf("%s keys are used", name)
		}
	}
	if _, err := record.Open(record.Options{Dir: dir}); err == nil {
		t.Error("a file of no keys is continued")
	}
}
