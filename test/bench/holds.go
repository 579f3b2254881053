package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// holdPolicy holds the writes of principals in the group waiting.
const holdPolicy = `
@id("held") @approval("people") forbid (principal in Group::"waiting", action in Action::"write", resource);
@id("people-approve") permit (principal is User in Group::"people", action in [Action::"approve", Action::"review"], resource);
`

// heldClient is a client that waits for a person.
type heldClient struct {
	conn     *pgx.Conn
	told     chan string // ids of approvals
	approval string
	done     chan error
}

// holds measures what requests that wait for a person cost in memory, and how long after an approval its statement is
// done: the statement itself and its record on the disk included.
func (b *bed) holds(ctx context.Context) error {
	const count = 1000
	b.end()
	pid, end, err := serve(b.dir, "postgres")
	if err != nil {
		return err
	}
	b.pid, b.end = pid, end
	var clients []*heldClient
	defer func() {
		for _, c := range clients {
			c.conn.Close(ctx)
		}
	}()
	var before int64
	for i := range count {
		token, err := b.issuer.AgentToken("bench", func(c map[string]any) {
			c["oid"] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i/10)
			c["groups"] = []string{"bench", "waiting"}
		})
		if err != nil {
			return err
		}
		config, err := pgx.ParseConfig(b.plain)
		if err != nil {
			return err
		}
		config.Password = token
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		c := &heldClient{told: make(chan string, 100), done: make(chan error, 1)}
		config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
			const start = "This statement waits for an approval: "
			if len(n.Message) > len(start) && n.Message[:len(start)] == start {
				c.told <- n.Message[len(start):]
			}
		}
		if c.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
			return err
		}
		clients = append(clients, c)
	}
	time.Sleep(2 * time.Second)
	before = rss(b.pid)
	for i, c := range clients {
		go func() {
			_, err := c.conn.Exec(ctx, fmt.Sprintf("UPDATE customers SET name = name WHERE id = %d", i+1))
			c.done <- err
		}()
		select {
		case c.approval = <-c.told:
		case err := <-c.done:
			return fmt.Errorf("it did not wait: %w", err)
		}
	}
	time.Sleep(2 * time.Second)
	after := rss(b.pid)
	fmt.Printf("\n%-34s %10s %14s %14s\n", "holds", "count", "RSS", "each")
	fmt.Printf("%-34s %10d %10d KiB %10d KiB\n", "beside a session that is logged in", count, after, (after-before)/count)
	person, err := b.issuer.PersonToken("ada", "bench-cli")
	if err != nil {
		return err
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 4}}
	times := make([]time.Duration, 0, count)
	for _, c := range clients {
		answered, err := approve(ctx, web, b.https, person, c.approval)
		if err != nil {
			return err
		}
		if err := <-c.done; err != nil {
			return err
		}
		times = append(times, time.Since(answered))
		c.conn.Close(ctx) // with its database session
	}
	slices.Sort(times)
	fmt.Printf("%-34s %10s %14s %14s\n", "", "", "p50", "p99")
	fmt.Printf("%-34s %10d %14s %14s\n", "approved to done", count, times[count/2].Round(time.Microsecond), times[count*99/100].Round(time.Microsecond))
	return nil
}

// approve answers a hold, and says when the request was sent.
func approve(ctx context.Context, web *http.Client, base, token, id string) (time.Time, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", base+"/api/v1/approvals/"+id+"/approve", bytes.NewReader([]byte("{}")))
	if err != nil {
		return time.Time{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	sent := time.Now()
	a, err := web.Do(r)
	if err != nil {
		return sent, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		json.Unmarshal(body, &problem)
		err = fmt.Errorf("approve: %s %s", a.Status, problem.Detail)
	}
	return sent, err
}
