package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestWaitEndsWithTheToken: a held statement whose token expires does not run, though it is approved afterwards; the same
// principal can use the approval with a fresh token.
func TestWaitEndsWithTheToken(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0)")
	n := func() int { return truth[int](t, "SELECT n FROM "+name) }
	token := g.token(func(c map[string]any) { c["exp"] = time.Now().Add(4 * time.Second).Unix() })
	a := g.asking(func(c *pgx.ConnConfig) { c.Password = token })
	update := "UPDATE " + name + " SET n = n + 1 WHERE id = 1"
	h := a.holdSQL(update)
	err := h.wait()
	refused(t, err, "identity_rejected", "28000", "expired", "gatehouse token")
	g.ok("ada", []string{"is approved"}, "approvals", "approve", h.id)
	if n() != 0 {
		t.Fatal("it ran")
	}
	if _, err := g.asking().Exec(within(t), update); err != nil || n() != 1 {
		t.Errorf("%v, and it ran %d times", err, n())
	}
}

// TestPipelinedWaits: what is sent behind a held statement runs after it, in order, and not where it is denied.
func TestPipelinedWaits(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	name := table(t, "id int PRIMARY KEY, n int")
	admin(t, "INSERT INTO "+name+" VALUES (1, 0)")
	for _, approve := range []bool{true, false} {
		a := g.asking()
		exec1(t, a.Conn, "SELECT n FROM "+name)
		var seen []string
		h := a.hold(within(t), func(ctx context.Context) (pgconn.CommandTag, error) {
			p := a.PgConn().StartPipeline(ctx)
			for _, sql := range []string{"UPDATE " + name + " SET n = n + 10 WHERE id = 1", "SELECT n FROM " + name} {
				p.SendQueryParams(sql, nil, nil, nil, nil)
				if err := p.Sync(); err != nil {
					return pgconn.CommandTag{}, err
				}
			}
			for range 4 { // a result and a Sync for each
				r, err := p.GetResults()
				switch r := r.(type) {
				case *pgconn.ResultReader:
					result := r.Read()
					for _, row := range result.Rows {
						seen = append(seen, string(row[0]))
					}
					if result.Err != nil {
						seen = append(seen, result.Err.Error())
					} else {
						seen = append(seen, result.CommandTag.String())
					}
				default:
					if err != nil {
						seen = append(seen, err.Error())
					}
				}
			}
			return pgconn.CommandTag{}, p.Close()
		})
		if truth[int](t, "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%SELECT n FROM%"+name+"%' AND state = 'active' AND pid <> pg_backend_pid()") != 0 {
			t.Error("what stands behind runs")
		}
		verb, want := "approve", "UPDATE 1 10 SELECT 1"
		if !approve {
			verb, want = "deny", "denied"
		}
		g.ok("ada", nil, "approvals", verb, h.id)
		h.wait()
		got := strings.Join(seen, " ")
		if approve && got != want || !approve && (!strings.Contains(got, want) || !strings.HasSuffix(got, "10 SELECT 1")) {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

// TestBadAnswers: what an approver can get wrong is refused with a reason, and changes nothing.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	a := g.asking()
	h := a.holdSQL("UPDATE orders SET status = status WHERE id = 1")
	post := func(token, id, body string) (int, string) {
		return g.request("POST", "/api/v1/approvals/"+id+"/approve", token, body)
	}
	ada := g.person("ada", cliClient)
	for _, c := range []struct {
		what, token, id, body string
		status                int
		want                  string
	}{
		{"an id of nobody's", ada, "ap-nobody", `{}`, 404, "There is no approval"},
		{"10 MB of reason", ada, h.id, `{"reason": "` + strings.Repeat("x", 10<<20) + `"}`, 413, "longer than"},
		{"a reason that is too long", ada, h.id, `{"reason": "` + strings.Repeat("x", 2001) + `"}`, 422, "2000"},
		{"a bound below nothing", ada, h.id, `{"max_rows": -1}`, 422, "max_rows"},
		{"an unknown key", ada, h.id, `{"maxrows": 1}`, 422, "maxrows"},
		{"no JSON", ada, h.id, `approve`, 400, ""},
		{"an agent's token", g.token(), h.id, `{}`, 401, "Only people act here"},
		{"a token that is not valid yet, by five minutes", g.person("ada", cliClient, func(c map[string]any) {
			c["nbf"], c["iat"] = time.Now().Add(5*time.Minute).Unix(), time.Now().Add(5*time.Minute).Unix()
		}), h.id, `{}`, 401, "not valid yet"},
		{"a token that ended five minutes ago", g.person("ada", cliClient, func(c map[string]any) {
			c["exp"] = time.Now().Add(-5 * time.Minute).Unix()
		}), h.id, `{}`, 401, "expired"},
	} {
		status, text := post(c.token, c.id, c.body)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %.300s", c.what, status, text)
		}
	}
	g.refuses("ada", []string{"2000"}, "approvals", "approve", h.id, "--reason", strings.Repeat("x", 5000))
	if h.state() != "pending" {
		t.Error(h.state())
	}
	g.ok("ada", nil, "approvals", "deny", h.id)
	h.wait()
}
