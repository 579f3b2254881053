package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

// testAll asks for the long versions: `make test-all`.
var testAll = os.Getenv("GATEHOUSE_TEST_ALL") != ""

// TestCrash kills the gateway in the middle of a load of writes. Whatever reached the database has its entry
// in the recordings, which verify; the sessions show as interrupted.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := 1
	if testAll {
		rounds = 6
	}
	role := strings.Replace(table(t, "id int"), "t_", "crash_", 1)
	admin(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'made_up_secret_y'; ALTER ROLE %s SET log_statement = 'all'", role, role))
	g := start(t, options{policies: readWrite, upstream: server.URL(role, "", "shop"), password: "made_up_secret_y"})
	for round := range rounds {
		name := table(t, "client int, n int, note text, PRIMARY KEY (client, n)")
		admin(t, fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON public.%s TO %s", name, role))
		crash(t, g, name, 30+200*round)
		g.restart()
		recorded := intents(t, g)
		reached := 0
		for _, write := range loggedWrites(t, role, name) {
			reached++
			if !recorded[write] {
				t.Errorf("round %d: the database ran %s, and no recording says so", round, write)
			}
		}
		if reached == 0 {
			t.Errorf("round %d: nothing reached the database", round)
		}
		kept := truth[int](t, "SELECT count(*)::int FROM "+name)
		if kept > reached {
			t.Errorf("round %d: %d rows of %d logged writes", round, kept, reached)
		}
		t.Logf("round %d: %d writes reached the database, %d rows", round, reached, kept)
		g.verify()
	}
	list, err := record.List(context.Background(), g.recordings(), record.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for _, s := range list {
		if s.State == "interrupted" {
			interrupted++
		} else if s.State == "open" {
			t.Errorf("%s is open after the crash", s.ID)
		}
	}
	if interrupted == 0 {
		t.Error("no session shows as interrupted")
	}
	g.ok("", []string{"interrupted"}, "sessions", "list")
	exec1(t, g.dial(nil), "SELECT 1")
}

// crash writes from several clients, kills the gateway after so many writes, and returns when all is over.
func crash(t testing.TB, g *gateway, name string, after int) {
	t.Helper()
	var done atomic.Int64
	enough := make(chan struct{})
	var once sync.Once
	var clients sync.WaitGroup
	for c := range 6 {
		conn := g.dial(nil)
		clients.Add(1)
		go func() {
			defer clients.Done()
			for n := 0; ; n++ {
				mode := pgx.QueryExecModeSimpleProtocol
				if c%2 == 1 {
					mode = pgx.QueryExecModeExec
				}
				sql := fmt.Sprintf("INSERT INTO %s VALUES (%d, %d, 'write %d-%d')", name, c, n, c, n)
				if _, err := conn.Exec(context.Background(), sql, mode); err != nil {
					return
				}
				if done.Add(1) >= int64(after) {
					once.Do(func() { close(enough) })
				}
			}
		}()
	}
	<-enough
	g.cmd.Process.Kill()
	<-g.exited
	clients.Wait()
	eventually(t, "the database has ended the sessions", func() bool {
		return truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%"+name+"%' AND usename LIKE 'crash_%'") == 0
	})
}

var written = regexp.MustCompile(`write \d+-\d+`)

// loggedWrites are those that the database's own log says reached it.
func loggedWrites(t testing.TB, role, name string) []string {
	t.Helper()
	b, err := os.ReadFile(server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " "+role+" ") && strings.Contains(line, name) {
			if w := written.FindString(line); w != "" {
				out = append(out, name+" "+w)
			}
		}
	}
	return out
}

// intents are the writes that the recordings say were asked for and permitted.
func intents(t testing.TB, g *gateway) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	list, err := record.List(context.Background(), g.recordings(), record.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`t_[a-z0-9]+`)
	for _, s := range list {
		for e, err := range record.Read(context.Background(), g.recordings(), s.ID) {
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range e.Events {
				if ev.Kind != gate.Requested {
					continue
				}
				var b gate.RequestBody
				if err := json.Unmarshal(ev.Body, &b); err != nil {
					t.Fatal(err)
				}
				if w := written.FindString(b.Intent.Text); w != "" {
					out[table.FindString(b.Intent.Text)+" "+w] = true
				}
			}
		}
	}
	return out
}
