package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/record"
)

// TestProof exports a session of a real psql, proves it without the gateway, reads it back, and erases it.
func TestProof(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	g.psql("SELECT id, email FROM customers WHERE id IN (1, 17) ORDER BY id;\nDROP TABLE customers;\nSELECT 'it-stays-secret' AS word;\n")
	eventually(t, "the session is closed", func() bool { return strings.Contains(g.ok("", nil, "sessions", "list"), "closed") })
	id := sessionID.FindString(g.ok("", nil, "sessions", "list"))
	public := strings.TrimSpace(g.ok("", nil, "sessions", "key"))
	if len(public) != 64 {
		t.Fatalf("the public key is %q", public)
	}
	g.refuses("", []string{"--key nonsense: that is neither a public key"}, "sessions", "verify", "--key", "nonsense")
	eventually(t, "a head is signed", func() bool {
		g.ok("", nil, "sessions", "verify")
		heads, err := record.Heads(g.recordings())
		return err == nil && len(heads) > 0
	})
	g.ok("", []string{"verified: ", "signed: it comes to 1 signed head", public}, "sessions", "verify", "--key", public)
	g.refuses("", []string{"are not what was recorded"}, "sessions", "verify", "--key", strings.Repeat("0", 64))

	bundle, sealed := g.path("one.ghb"), g.path("sealed.ghb")
	g.ok("", []string{"is written"}, "sessions", "export", id, "-o", bundle)
	g.refuses("", []string{"exists: name another file"}, "sessions", "export", id, "-o", bundle)
	g.ok("", nil, "sessions", "export", id, "--sealed", "-o", sealed)
	g.refuses("", []string{"there is no such session"}, "sessions", "export", "s-none", "-o", g.path("none.ghb"))
	if _, err := os.Stat(g.path("none.ghb")); err == nil {
		t.Error("a file is left of an export that failed")
	}
	g.ok("", []string{"verified: " + bundle, "session " + id, "signed: at", public}, "sessions", "verify", "--key", public, bundle)
	g.ok("", []string{"what happened cannot be read"}, "sessions", "verify", sealed)
	g.ok("", []string{"it-stays-secret", "b***@", "DROP TABLE customers", "refuse"}, "sessions", "replay", bundle)
	b, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	g.write("bad.ghb", string(b))
	g.refuses("", []string{"1 bundle is of 2 not what was recorded"}, "sessions", "verify", bundle, g.path("bad.ghb"))

	csv := g.ok("", nil, "sessions", "export", id, "--format", "csv", "--request", "1", "-o", "-")
	if lines := strings.Split(strings.TrimSpace(csv), "\n"); len(lines) != 3 || lines[0] != "id,email" || !strings.HasPrefix(lines[2], "17,") || !strings.Contains(lines[2], "***@") {
		t.Errorf("the result as CSV:\n%s", csv)
	}
	g.refuses("", []string{"has no result of a request 2"}, "sessions", "export", id, "--format", "csv", "--request", "2", "-o", "-")
	if r := g.command(within(t), os.Environ(), "", gatehouse, "sessions", "export", id, "--format", "csv"); r.code != 2 || !strings.Contains(r.err, "needs --request N") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	for i, line := range strings.Split(strings.TrimSpace(g.ok("", nil, "sessions", "export", id, "--format", "jsonl", "-o", "-")), "\n") {
		var ev struct{ Kind string }
		if err := json.Unmarshal([]byte(line), &ev); err != nil || i == 0 && ev.Kind != "session.open" {
			t.Errorf("line %d: %v", i+1, err)
		}
	}

	// What is erased is gone from the folder, its index and its lists; its place is still proved.
	eventually(t, "the index has it", func() bool { return strings.Contains(g.ok("", nil, "sessions", "search", "word"), "it-stays-secret") })
	open := g.dial(nil)
	exec1(t, open, "SELECT 1")
	live := sessionID.FindString(g.ok("", []string{"open"}, "sessions", "list", "--limit", "1"))
	g.refuses("", []string{"is open: end it first"}, "sessions", "erase", id, live, "--reason", "asked for")
	g.ok("", []string{"it-stays-secret"}, "sessions", "replay", id)
	g.ok("", []string{id + " is erased"}, "sessions", "erase", id, "--reason", "asked for by ada")
	g.ok("", []string{"No requests."}, "sessions", "search", "word")
	g.ok("", []string{id, "erased"}, "sessions", "list")
	if got := g.ok("", nil, "sessions", "replay", id); strings.Contains(got, "secret") || strings.Contains(got, "customers") {
		t.Errorf("it can be read:\n%s", got)
	}
	g.ok("", []string{"verified: "}, "sessions", "verify", "--key", public)
	if b, err := os.ReadFile(filepath.Join(g.recordings(), "erased.jsonl")); err != nil || !strings.Contains(string(b), id) || !strings.Contains(string(b), "asked for by ada") {
		t.Errorf("%s %v", b, err)
	}
}
