package test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestFunctionsOfUsers: a function outside of pg_catalog is called by permit, by overload; what it gives is what the
// database gives; a permit that asks for a person holds it; what it writes is on the disk before.
func TestFunctionsOfUsers(t *testing.T) {
	t.Parallel()
	name := strings.ReplaceAll(table(t, "id int PRIMARY KEY, n int"), "t_", "f_")
	data := strings.Replace(name, "f_", "t_", 1)
	admin(t, "INSERT INTO "+data+" VALUES (1, 1)")
	for _, sql := range []string{
		"FUNCTION public." + name + "(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'",
		"FUNCTION public." + name + "_text(text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN upper($1); END'",
		"FUNCTION public." + name + "_rows(n int) RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT i, ''x'' || i FROM generate_series(1, n) AS i'",
		"FUNCTION public." + name + "_write(int) RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE public." + data + " SET n = n + $1 RETURNING n'",
		"FUNCTION public." + name + "_all() RETURNS SETOF public.customers LANGUAGE sql STABLE AS 'SELECT * FROM public.customers'",
		"FUNCTION public." + name + "_key() RETURNS text LANGUAGE sql STABLE AS $$SELECT current_setting('gatehouse.token_key', true)$$",
		"AGGREGATE public." + name + "_sum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
	} {
		admin(t, "CREATE "+sql)
	}
	admin(t, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO gatehouse")
	id := func(rest string) string { return `Function::"shop/public.` + name + rest + `"` }
	g := start(t, options{policies: `
@id("read") permit (principal, action == Action::"read", resource);
@id("calls") permit (principal, action == Action::"call", resource) when { resource in [` + strings.Join([]string{id("(integer)"), id("_text(text)"), id("_rows(n integer)"), id("_all()"), id("_key()"), id("_sum(integer)")}, ", ") + `] };
@id("held") @approval("dba") permit (principal, action == Action::"call", resource == ` + id("_write(integer)") + `);
@id("dba-approves") permit (principal is User in Group::"dba", action in [Action::"approve", Action::"review"], resource);`})
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		a := g.asking(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = mode })
		for sql, want := range map[string]string{
			"SELECT " + name + "(21)::text":                                                             "42",
			"SELECT public." + name + "_text('ab')":                                                     "AB",
			"SELECT string_agg(b, ',' ORDER BY a) FROM " + name + "_rows(3)":                            "x1,x2,x3",
			"SELECT (public." + name + "_rows(1)).b":                                                    "x1",
			"SELECT " + name + "_sum(i)::text FROM generate_series(1, 4) AS i":                          "10",
			"SELECT count(*)::text FROM customers WHERE " + name + "(id) = 4":                           "1",
			"SELECT count(*)::text FROM customers WHERE " + name + "_text(email) NOT LIKE '%***%'":      "0",
			"SELECT coalesce(nullif(" + name + "_key(), ''), 'nothing')":                                "nothing",
			"SELECT o.id::text FROM orders o, LATERAL " + name + "_rows(o.id) r WHERE o.id = 1 LIMIT 1": "1",
		} {
			if got := one[string](t, a.Conn, sql); got != want {
				t.Errorf("%s gives %s, want %s", sql, got, want)
			}
		}
		for sql, want := range map[string][]string{
			"SELECT email FROM " + name + "_all()": {"not_understood", "42501", "gives rows of the table public.customers"},
			"SELECT public." + name + "_none()":    {"not_understood", "42883", "does not exist"},
		} {
			_, err := a.Exec(within(t), sql)
			refused(t, err, want[0], want[1], want[2:]...)
		}
		before := truth[int](t, "SELECT n FROM "+data)
		h := a.holdSQL("SELECT " + name + "_write(5)")
		g.ok("ada", []string{"call function shop/public." + name + "_write(integer)"}, "approvals", "show", h.id)
		g.ok("ada", []string{"calls a function of the database's own"}, "approvals", "preview", h.id)
		g.ok("ada", nil, "approvals", "approve", h.id)
		if err := h.wait(); err != nil {
			t.Fatal(err)
		}
		if n := truth[int](t, "SELECT n FROM "+data); n != before+5 {
			t.Errorf("it is %d, want %d", n, before+5)
		}
	}
	// Without a permit it is named what is missing; a permit that comes later counts for new sessions.
	conn := g.asking().Conn
	g.write("policies/more.cedar", `@id("none") forbid (principal, action == Action::"call", resource);`)
	g.cmd.Process.Signal(syscall.SIGHUP)
	g.logs("the policies were read again")
	other := g.asking().Conn
	_, err := other.Exec(within(t), "SELECT "+name+"(1)")
	refused(t, err, "policy_denied", "42501")
	exec1(t, other, "SELECT 1")
	g.write("policies/more.cedar", `@id("none") forbid (principal, action == Action::"drop", resource);`)
	g.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "a permit has come", func() bool {
		_, err = other.Exec(within(t), "SELECT "+name+"(1)")
		return err == nil || strings.Contains(err.Error(), "holds a key")
	})
	if err == nil {
		t.Error("a session that holds the key of pseudonyms calls a function")
	}
	if got := one[int](t, conn, "SELECT "+name+"(1)"); got != 2 {
		t.Error(got)
	}
}
