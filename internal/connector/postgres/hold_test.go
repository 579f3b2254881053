package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
)

// nobody answers nothing until it is told to, and counts who waits.
type nobody struct {
	waiting atomic.Int64
	voided  atomic.Int64
	answer  chan struct{}
}

func (n *nobody) Open(context.Context, gate.Hold) (gate.Ticket, error) {
	return gate.Ticket{ID: "ap-1", URL: "https://gw/approvals/ap-1", Expires: time.Now().Add(time.Hour)}, nil
}

func (n *nobody) Wait(ctx context.Context, _ string) (gate.Answer, error) {
	n.waiting.Add(1)
	defer n.waiting.Add(-1)
	select {
	case <-n.answer:
		return gate.Answer{State: "approved", By: []string{"ada"}}, nil
	case <-ctx.Done():
		return gate.Answer{}, ctx.Err()
	}
}

func (n *nobody) Start(context.Context, string, string) error        { return nil }
func (n *nobody) Void(context.Context, string, string) error         { n.voided.Add(1); return nil }
func (n *nobody) Leave(string)                                       {}
func (n *nobody) Finish(context.Context, string, gate.Outcome) error { return nil }

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1500 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(what)
}

const holdPolicies = `
@id("read") permit (principal, action == Action::"read", resource);
@id("set") permit (principal, action == Action::"set", resource);
@id("write") @approval("dba") permit (principal, action in Action::"write", resource);
`

// held is a gateway whose writes wait for people who answer when the test says so.
func heldGateway(t *testing.T, name string) (*nobody, string) {
	t.Helper()
	gatewayRole(t)
	database(t, name, "CREATE TABLE held (id int PRIMARY KEY, n int); INSERT INTO held SELECT i, 0 FROM generate_series(1, 1000) i; GRANT ALL ON held TO rows_gw")
	people := &nobody{answer: make(chan struct{})}
	_, address := serveWith(t, people, "url: "+testServer.URL("rows_gw", "", name)+"\npassword: {env: GW_PASSWORD}", policy.Source{Name: "test.cedar", Text: []byte(holdPolicies)})
	return people, clientURL(address)
}

// TestStatementTimeoutEndsTheWait: the client's own limit counts while it waits, wherever it comes from. The approval
// stays open; the session and its transaction are as after any error.
func TestStatementTimeoutEndsTheWait(t *testing.T) {
	people, address := heldGateway(t, "hold_timeout")
	ctx := context.Background()
	const write = "UPDATE held SET n = n + 1 WHERE id = 1"
	for name, before := range map[string][]string{
		"given when signing in":   nil,
		"SET":                     {"SET statement_timeout = '300ms'"},
		"SET LOCAL":               {"BEGIN", "SET LOCAL statement_timeout = 300"},
		"in repeatable read":      {"BEGIN ISOLATION LEVEL REPEATABLE READ", "SET LOCAL statement_timeout = '0.3s'"},
		"after it was used":       {"SELECT count(*) FROM held", "SELECT set_config('statement_timeout', '300ms', false)"},
		"after another one ended": {"SET statement_timeout = '300ms'", write},
	} {
		t.Run(name, func(t *testing.T) {
			url := address
			if before == nil {
				url += "&statement_timeout=300"
			}
			conn := dialPGX(t, url, pgx.QueryExecModeSimpleProtocol)
			for _, sql := range before {
				if _, err := conn.Exec(ctx, sql); err != nil && sql != write {
					t.Fatal(err)
				}
			}
			begun := time.Now()
			_, err := conn.Exec(ctx, write)
			var pe *pgconn.PgError
			if !errors.As(err, &pe) || pe.Code != "57014" || !strings.Contains(pe.Message, "limit of time") || !strings.Contains(pe.Message, "ap-1 stays open") {
				t.Fatalf("%v", err)
			}
			if time.Since(begun) < 300*time.Millisecond {
				t.Error("it did not wait")
			}
			want := byte('I')
			if strings.HasPrefix(strings.Join(before, ""), "BEGIN") {
				want = 'E'
			}
			if got := conn.PgConn().TxStatus(); got != want {
				t.Errorf("the status is %c, want %c", got, want)
			}
		})
	}
	if people.voided.Load() != 0 {
		t.Error("a hold was withdrawn")
	}
}

// TestToldAgain: who waits is told so from time to time; what it gets then is still in order.
func TestToldAgain(t *testing.T) {
	old := holdNotices
	holdNotices = 50 * time.Millisecond
	t.Cleanup(func() { holdNotices = old })
	people, address := heldGateway(t, "hold_told")
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var notices []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		notices = append(notices, n.Message)
		mu.Unlock()
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	done := make(chan error, 1)
	go func() {
		tag, err := conn.Exec(context.Background(), "UPDATE held SET n = n + 1 WHERE id = 1")
		if err == nil && tag.String() != "UPDATE 1" {
			err = errors.New(tag.String())
		}
		done <- err
	}()
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(notices) }
	until(t, "the client is not told again", func() bool { return count() >= 4 })
	close(people.answer)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if !strings.Contains(notices[0], "waits for an approval: ap-1") || !strings.Contains(notices[3], "still waits for approval ap-1") {
		t.Error(notices)
	}
	mu.Unlock()
	told := count()
	time.Sleep(4 * holdNotices)
	if count() != told {
		t.Error("it is told again after the wait")
	}
}

// TestManyHolds: many wait at once, what is sent behind them waits too, and nothing of them is left when they have left.
func TestManyHolds(t *testing.T) {
	people, address := heldGateway(t, "hold_many")
	settle := func() int {
		for range 100 {
			runtime.GC()
			time.Sleep(10 * time.Millisecond)
		}
		return runtime.NumGoroutine()
	}
	before := settle()
	const all = 200
	conns := make([]*pgx.Conn, all)
	var behind atomic.Int64
	var running sync.WaitGroup
	for i := range conns {
		config, err := pgx.ParseConfig(address)
		if err != nil {
			t.Fatal(err)
		}
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
		if conns[i], err = pgx.ConnectConfig(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			p := conns[i].PgConn().StartPipeline(context.Background())
			p.SendQueryParams(fmt.Sprintf("UPDATE held SET n = n + 1 WHERE id = %d", i+1), nil, nil, nil, nil)
			p.Sync()
			p.SendQueryParams("SELECT 1", nil, nil, nil, nil)
			p.Sync()
			p.Flush()
			if _, err := p.GetResults(); err == nil {
				behind.Add(1)
			}
		})
	}
	until(t, "not all of them wait", func() bool { return people.waiting.Load() == all })
	if behind.Load() != 0 {
		t.Error("something came through")
	}
	for _, conn := range conns {
		conn.PgConn().Conn().Close()
	}
	running.Wait()
	until(t, "somebody waits for a client that has left", func() bool { return people.waiting.Load() == 0 })
	until(t, "goroutines are left", func() bool { return settle() <= before+5 })
}
