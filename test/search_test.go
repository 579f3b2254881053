package test

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/search"
)

// TestSearch finds what psql did: while the gateway keeps the index up to date, and without one, in a copy.
func TestSearch(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	g.psql("SELECT email FROM customers WHERE id = 17;\nDROP TABLE customers;\nSELECT count(*) FROM orders WHERE status = 'paid';\n")
	eventually(t, "the index has it", func() bool {
		return strings.Contains(g.ok("", nil, "sessions", "search", "paid"), "orders")
	})
	find := func(args ...string) (ids []string) {
		t.Helper()
		var got struct {
			Requests []struct {
				search.Hit
				Text string
			}
		}
		if err := json.Unmarshal([]byte(g.ok("", nil, append([]string{"sessions", "search", "-o", "json"}, args...)...)), &got); err != nil {
			t.Fatal(err)
		}
		for _, r := range got.Requests {
			ids = append(ids, r.Effect+" "+strings.TrimSuffix(r.Text, ";"))
		}
		return ids
	}
	const email, drop, paid = "permit SELECT email FROM customers WHERE id = 17", "refuse DROP TABLE customers", "permit SELECT count(*) FROM orders WHERE status = 'paid'"
	for _, one := range []struct {
		args, want string
	}{
		{"--object public.customers.email", email},
		{"--object shop/public.orders --action read", paid},
		{"--object customers", ""},
		{"--decision refuse", drop},
		{"--policy agents-never-drop", drop},
		{"--action drop --principal SHOP-agent", drop},
		{"--principal nobody", ""},
		{"table drop", drop},
		{"--since 1h count --connection shop", paid},
		{"--until 1h", ""},
		{"--limit 1 --connection shop", paid},
	} {
		if got := strings.Join(find(strings.Fields(one.args)...), "\n"); got != one.want {
			t.Errorf("%s: got %q, want %q", one.args, got, one.want)
		}
	}
	if got := find("select email"); len(got) != 1 {
		t.Errorf("a phrase: %q", got)
	}
	first := g.ok("", []string{"REQUEST", "There are more: add --before "}, "sessions", "search", "--limit", "2")
	next := strings.TrimSpace(first[strings.LastIndex(first, " "):])
	g.ok("", []string{email[len("permit "):]}, "sessions", "search", "--limit", "2", "--before", next)
	g.ok("", []string{"No requests."}, "sessions", "search", "nowhere")
	g.refuses("", []string{"has no word to search for"}, "sessions", "search", "*")
	g.refuses("", []string{"--since is not before --until"}, "sessions", "search", "--since", "1h", "--until", "2h")
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(g.recordings())); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"search.db", "search.db-wal", "search.db-shm"} {
		if err := os.Remove(copied + "/" + name); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if r := offline(t, copied, "sessions", "search", "--recordings", copied, "--decision", "refuse"); r.code != 0 || !strings.Contains(r.out, "DROP TABLE customers") {
		t.Errorf("a copy: exit %d\n%s%s", r.code, r.out, r.err)
	}
	g.stop(syscall.SIGTERM)
	g.ok("", []string{"DROP TABLE"}, "sessions", "search", "--decision", "refuse")
}
