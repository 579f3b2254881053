package record_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

// TestSignedHeads: a journal that was cut short, or written anew, does not come to what was signed of it.
func TestSignedHeads(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	_, foreign, err := ed25519.GenerateKey(nil)
	must(t, err)
	public := hex.EncodeToString(key.Public().(ed25519.PublicKey))
	dir := t.TempDir()
	run := func(key ed25519.PrivateKey, ids ...string) {
		j := open(t, record.Options{Dir: dir, Signer: key, SignInterval: time.Hour})
		for _, id := range ids {
			r := session(t, j, id)
			must(t, r.Append(true, asked(1, "SELECT 1")))
			must(t, r.Close(gate.SessionEnd{Reason: "client"}))
		}
		must(t, j.Close())
	}
	run(key, "s-a", "s-b")
	early, err := os.ReadFile(filepath.Join(dir, "journal-00000001.ghj"))
	must(t, err)
	run(key)
	if list, err := record.Heads(dir); err != nil || len(list) != 1 {
		t.Fatalf("the same head is signed again: %+v %v", list, err)
	}
	run(key, "s-c")
	heads, err := record.Heads(dir)
	if err != nil || len(heads) != 2 {
		t.Fatalf("%+v %v", heads, err)
	}
	report := func(kept []record.Head, keys ...string) record.Report {
		t.Helper()
		r, err := record.VerifyAgainst(t.Context(), dir, kept, keys)
		must(t, err)
		return r
	}
	if r := report(nil, public); !r.OK() || r.Heads != 2 || len(r.Keys) != 1 || r.Keys[0] != public || r.Signed.IsZero() {
		t.Errorf("%+v", r)
	}
	wrong := func(what string, r record.Report) {
		t.Helper()
		if r.OK() || !strings.Contains(strings.Join(r.Problems, "\n"), what) {
			t.Errorf("%q is not said: %+v", what, r)
		}
	}
	wrong("another key", report(nil, hex.EncodeToString(foreign.Public().(ed25519.PublicKey))))

	// Cut short between two entries: no hash says so.
	whole, err := os.ReadFile(filepath.Join(dir, "journal-00000001.ghj"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "journal-00000001.ghj"), early, 0o600))
	wrong("missing", report(nil))
	// Its heads cut too: who kept one sees it.
	lines, err := os.ReadFile(filepath.Join(dir, "heads.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "heads.jsonl"), lines[:bytes.IndexByte(lines, '\n')+1], 0o600))
	if r := report(nil); !r.OK() || r.Heads != 1 {
		t.Errorf("%+v", r)
	}
	wrong("kept elsewhere", report(heads[1:]))

	must(t, os.WriteFile(filepath.Join(dir, "journal-00000001.ghj"), whole, 0o600))
	for name, b := range map[string][]byte{
		"its signature does not fit": bytes.Replace(lines, []byte(`"segment":1`), []byte(`"segment":2`), 1),
		"line 2":                     append(bytes.Clone(lines[:bytes.IndexByte(lines, '\n')+1]), "{]\n"...),
		"32 bytes":                   bytes.Replace(lines, []byte(`"key":"`), []byte(`"key":"00`), 1),
	} {
		must(t, os.WriteFile(filepath.Join(dir, "heads.jsonl"), b, 0o600))
		wrong(name, report(nil))
	}
	// A line that a crash tore is nothing, and the next start goes on after it.
	must(t, os.WriteFile(filepath.Join(dir, "heads.jsonl"), append(bytes.Clone(lines), `{"head":"12`...), 0o600))
	if r := report(nil, public); !r.OK() || r.Heads != 2 {
		t.Errorf("%+v", r)
	}
	run(foreign, "s-d")
	if r := report(nil); !r.OK() || r.Heads != 3 || len(r.Keys) != 2 {
		t.Errorf("%+v", r)
	}
	// What a crash left open is ended, and that is signed at the start.
	j := open(t, record.Options{Dir: dir, Signer: key, SignInterval: time.Millisecond})
	session(t, j, "s-e")
	for len(func() []record.Head { l, err := record.Heads(dir); must(t, err); return l }()) < 4 {
		time.Sleep(time.Millisecond)
	}
	must(t, j.Close())
	run(key)
	if r := report(nil); !r.OK() || r.Heads != 5 {
		t.Errorf("%+v", r)
	}
}
