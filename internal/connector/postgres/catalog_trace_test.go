package postgres

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// viewCases are definitions, with the labels that each column must have (e and s are those of email and ssn) and, behind
// a bar, the conditions by which values could be asked for: labelled columns and what stands beside them.
var viewCases = []struct{ name, definition, want string }{
	{"v_where", "SELECT id, upper(email) AS e, name FROM cust WHERE email LIKE 'a%'", ", e, |"},
	{"v_join", "SELECT c.id, o.note, row_number() OVER (ORDER BY c.email) AS n FROM cust c LEFT JOIN ord o ON o.note = c.email", ", , e | cust.email with ord.note"},
	{"v_using", "SELECT id, cust.name, ord.note, email FROM cust FULL JOIN ord USING (id)", ", , , e |"},
	{"v_using_email", "SELECT email AS both_of_them, a.id FROM cust a FULL JOIN mails USING (email)", "e, | cust.email with mails.email"},
	{"v_group", "SELECT tier, count(*) AS n, max(email) AS m FROM cust GROUP BY tier HAVING min(ssn) > 'a'", ", , e |"},
	{"v_group_by", "SELECT upper(email) AS u, count(*) AS n FROM cust GROUP BY upper(email)", "e, |"},
	{"v_group_only", "SELECT count(*) AS n FROM cust GROUP BY ssn", " |"},
	{"v_sets", "SELECT tier, ssn, grouping(ssn) AS g, count(*) AS n FROM cust GROUP BY GROUPING SETS ((tier), (ssn))", ", s, s, |"},
	{"v_union", "SELECT id, name AS a FROM cust UNION ALL SELECT id, email FROM cust", ", e |"},
	{"v_except", "SELECT id, name AS a FROM cust EXCEPT SELECT id, email FROM cust", ", e | cust.email with cust.name"},
	{"v_cte", "WITH x AS (SELECT id, email FROM cust WHERE ssn > 'a') SELECT x.id, (SELECT count(*) FROM ord WHERE note = x.email) AS n FROM x", ", e |"},
	{"v_row", "SELECT c FROM cust c", "b e s |"},
	{"v_field", "SELECT (q.r).email AS a, q.id FROM (SELECT c AS r, c.id FROM cust c) q", "b e s, |"},
	{"v_in", "SELECT id FROM ord WHERE note IN (SELECT email FROM cust)", " | cust.email with ord.note"},
	{"v_exists", "SELECT o.id FROM ord o WHERE EXISTS (SELECT 1 FROM cust c WHERE c.ssn = o.note)", " | cust.ssn with ord.note"},
	{"v_setting", "SELECT id FROM cust WHERE email = current_setting('app.me', true)", "e | cust.email with a setting"},
	{"v_time", "SELECT id FROM cust WHERE born::text LIKE '19%'", "b |"},
	{"v_recent", "SELECT id, email FROM cust WHERE made > now() - interval '3 days'", ", e |"},
	{"v_lateral", "SELECT c.id, l.x, l.y FROM cust c, LATERAL (SELECT c.email || '!' AS x, c.tier AS y) l", ", e, |"},
	{"v_function", "SELECT c.id, f.p FROM cust c, LATERAL regexp_split_to_table(c.email, '@') f(p)", ", e |"},
	{"v_values", "SELECT c.id, v.a FROM cust c, LATERAL (VALUES (c.ssn), (c.tier)) v(a)", ", s |"},
	{"v_recursive", "WITH RECURSIVE r AS (SELECT id, email FROM cust UNION ALL SELECT id + 1, email FROM r WHERE id < 3) SELECT id, email AS m FROM r", ", e |"},
	{"v_recursive_move", "WITH RECURSIVE r(a, b, c) AS (SELECT name, tier, email FROM cust UNION ALL SELECT b, c, a FROM r) SELECT a, b, c FROM r", "e, e, e |"},
	{"v_recursive_ask", "WITH RECURSIVE r AS (SELECT id, note FROM ord UNION ALL SELECT r.id, p.name FROM r JOIN cust p ON p.email = r.note) SELECT id FROM r", " | cust.email with cust.name ord.note"},
	{"v_cycle", "WITH RECURSIVE r AS (SELECT id, email FROM cust UNION ALL SELECT id, email FROM r) CYCLE id SET done USING path SELECT id FROM r", "e | cust.email with cust.id a setting"},
	{"v_unnest", "SELECT id, unnest(string_to_array(email, '@')) AS p FROM cust", ", e |"},
	{"v_unnest_ask", "SELECT u.id FROM (SELECT id, unnest(ARRAY[note]) AS x FROM ord) u JOIN cust ON cust.email = u.x", " | cust.email with ord.note"},
	{"v_order", "SELECT id, name FROM cust ORDER BY tier, ssn", "s, s |"},
	{"v_case", "SELECT id, CASE WHEN email LIKE 'a%' THEN tier END AS t FROM cust", ", e |"},
	{"v_window", "SELECT id, sum(1) OVER w AS n FROM cust WINDOW w AS (PARTITION BY ssn)", ", s |"},
	{"v_filter", "SELECT count(*) FILTER (WHERE email LIKE 'a%') AS n, string_agg(name, ',' ORDER BY ssn) AS l, max(id) AS m FROM cust", "e, s, |"},
	{"v_first", "SELECT id FROM cust ORDER BY email LIMIT 1", "e |"},
	{"v_above", "SELECT id, e FROM v_where", ", e |"},
	{"v_distinct", "SELECT DISTINCT ON (ssn) id, tier FROM cust", ", |"},
	{"v_row_compare", "SELECT id FROM cust WHERE (email, id) > ('a', 1)", "e | cust.email with cust.id"},
	{"v_count", "SELECT count(*) AS n FROM cust", " |"},
	{"v_nested", "SELECT q.id, q.u FROM (SELECT id, (SELECT d.email FROM cust d WHERE d.id = c.id) AS u, ssn FROM cust c) q", ", e |"},
	{"v_spot", "SELECT id, (at).town AS t FROM spots WHERE (at).zip > 'a'", ", p |"},
	{"v_quoted", `SELECT id AS ":a b{(", email AS "\" FROM cust`, ", e |"},
	{"v_sample", "SELECT id FROM cust TABLESAMPLE bernoulli (10) WHERE xpath_exists('/a', ('<a>' || ssn || '</a>')::xml)", "s |"},
}

// TestViewLabels: a column of a view has the labels of what it is made of.
func TestViewLabels(t *testing.T) {
	ctx := context.Background()
	setup := `CREATE TABLE cust (id int PRIMARY KEY, name text, email text UNIQUE, ssn text, tier text, born timestamptz, made timestamptz);
		CREATE TABLE ord (id int PRIMARY KEY, note text); CREATE TABLE mails (email text);
		CREATE TYPE spot AS (town text, zip text); CREATE TABLE spots (id int, at spot);`
	for _, v := range viewCases {
		setup += "CREATE VIEW " + v.name + " AS " + v.definition + ";"
		if v.name != "v_setting" && v.name != "v_quoted" {
			setup += "CREATE MATERIALIZED VIEW m" + v.name + " AS " + v.definition + " WITH NO DATA;"
		}
	}
	database(t, "traces", setup+"CREATE ROLE trace_reader LOGIN PASSWORD 'reader'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO trace_reader;")
	t.Setenv("READER", "reader")
	o := options(t, "url: "+testServer.URL("trace_reader", "", "traces")+"\npassword: {env: READER}\nlabels: {public.cust: {email: e, ssn: s, born: b}, public.spots: {at: p}}")
	c, err := newCatalogs(o, gate.Connection{Name: "traces"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	got, _, err := c.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range viewCases {
		for _, name := range []string{v.name, "m" + v.name} {
			r := got.Relations[guard.Name{Schema: "public", Name: name}]
			if r == nil {
				continue
			}
			if r.Unknown {
				t.Errorf("%s: what it reads is not known", name)
			}
			var columns []string
			for _, c := range r.Columns {
				columns = append(columns, strings.Join(c.Labels, " "))
			}
			said := strings.ReplaceAll(strings.TrimSuffix(strings.Join(columns, ", ")+" | "+asked(got, r.Asks), " "), ",  |", ", |")
			if said != v.want && name == v.name || name != v.name && strings.HasPrefix(v.want, said+" ") {
				t.Errorf("%s: %q, want %q\n%s", name, said, v.want, v.definition)
			}
		}
	}
}

// asked writes asks as the cases do.
func asked(c *guard.Catalog, asks []guard.Ask) string {
	var out []string
	for _, a := range asks {
		text := ""
		for i, list := range [][]guard.Use{a.Labelled, a.Beside} {
			if i == 1 {
				text += "with"
			}
			for _, u := range list {
				r := c.ByOID[u.OID]
				for _, col := range r.Columns {
					if col.Number == u.Column {
						text += " " + r.Name.Name + "." + col.Name
					}
				}
				text = strings.TrimSpace(text) + " "
			}
		}
		if a.Settings {
			text += " a setting"
		}
		out = append(out, strings.Join(strings.Fields(text), " "))
	}
	return strings.Join(out, "; ")
}

// TestViewsThatDecideByLabels: what a view shows of columns without labels is shown, as long as the principal cannot
// ask for values by writing what it reads. A hidden column bars the views that mention it.
func TestViewsThatDecideByLabels(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	database(t, "views", `
		CREATE TABLE people (id int PRIMARY KEY, name text, email text, secret text);
		INSERT INTO people VALUES (1, 'ada', 'ada@corp.example', 'witness'), (2, 'bob', 'bob@other.example', 'witness');
		CREATE TABLE guesses (id int PRIMARY KEY, guess text);
		INSERT INTO guesses VALUES (7, 'ada@corp.example');
		CREATE VIEW corp AS SELECT id, name, upper(email) AS mail FROM people WHERE email LIKE '%@corp.example';
		CREATE VIEW right_guesses AS SELECT g.id, g.guess, p.name FROM guesses g JOIN people p ON p.email = g.guess;
		CREATE VIEW above AS SELECT id FROM right_guesses;
		CREATE VIEW secrets AS SELECT id FROM people WHERE secret = 'witness';
		CREATE MATERIALIZED VIEW kept AS SELECT id, name FROM people WHERE email LIKE '%@corp.example';
		GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;`)
	labels := "\nlabels: {public.people: {email: pii.email}}"
	reads := `@id("read") permit (principal, action == Action::"read", resource);
@id("hide") forbid (principal, action == Action::"read", resource == Column::"shop/public.people.secret");
`
	writes := `@id("guess") permit (principal, action in Action::"write", resource in Table::"shop/public.guesses");`
	reader := dialPGX(t, before(t, "views", reads, labels), pgx.QueryExecModeExec)
	writer := dialPGX(t, before(t, "views", reads+writes, labels), pgx.QueryExecModeExec)
	for text, want := range map[string][2]string{
		"SELECT id::text FROM corp":                             {"1", "1"},
		"SELECT name FROM corp":                                 {"ada", "ada"},
		"SELECT mail FROM corp":                                 {"***", "***"},
		"SELECT name FROM kept":                                 {"ada", "ada"},
		"SELECT name FROM right_guesses":                        {"ada", "refused 42501"},
		"SELECT count(*)::text FROM right_guesses":              {"1", "refused 42501"},
		"SELECT count(*)::text FROM above":                      {"1", "refused 42501"},
		"SELECT count(*)::text FROM people":                     {"2", "2"},
		"SELECT id::text FROM secrets":                          {"refused 42501", "refused 42501"},
		"SELECT name FROM corp WHERE mail = 'ADA@CORP.EXAMPLE'": {"nothing", "nothing"},
	} {
		for i, conn := range []*pgx.Conn{reader, writer} {
			got := outcome(ctx, conn, text)
			if got != want[i] && !(strings.Contains(got, "***") && want[i] == "***") {
				t.Errorf("%s as %d: %q, want %q", text, i, got, want[i])
			}
		}
	}
}

// TestGeneratedFromHidden: what is computed from a column that is hidden, or masked without a label, is so too, unless a
// policy names it.
func TestGeneratedFromHidden(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	database(t, "generated", `
		CREATE TABLE people (id int PRIMARY KEY, secret text, plain text, loud text GENERATED ALWAYS AS (upper(secret)) STORED,
			size int GENERATED ALWAYS AS (length(secret)) STORED, twice text GENERATED ALWAYS AS (plain || plain) STORED, half text GENERATED ALWAYS AS (left(plain, 1)) STORED);
		INSERT INTO people VALUES (1, 'witness-value', 'ordinary-value');
		CREATE VIEW shown AS SELECT id, loud FROM people;
		GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;`)
	conn := dialPGX(t, before(t, "generated", `@id("read") permit (principal, action == Action::"read", resource);
@id("hide") forbid (principal, action == Action::"read", resource == Column::"shop/public.people.secret");
@id("mask") @mask("redact") forbid (principal, action == Action::"read", resource == Column::"shop/public.people.plain");
@id("size") permit (principal, action == Action::"read", resource == Column::"shop/public.people.size");
`, ""), pgx.QueryExecModeExec)
	for text, want := range map[string]string{
		"SELECT loud FROM people":       "refused 42501",
		"SELECT loud FROM shown":        "refused 42501",
		"SELECT size::text FROM people": "13",
		"SELECT twice FROM people":      "***",
		"SELECT half FROM people":       "***",
		"SELECT plain FROM people":      "***",
		"SELECT count(*)::text FROM people WHERE to_jsonb(people)::text ~* 'witness|ordinary'": "0",
	} {
		if got := outcome(ctx, conn, text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzRuleTree: no text makes the tracer panic, or take long.
func FuzzRuleTree(f *testing.F) {
	f.Add("({QUERY :commandType 1 :targetList ({TARGETENTRY :expr {VAR :varno 1 :varattno 1 :varlevelsup 0} :resno 1 :ressortgroupref 0 :resjunk false}) :rtable ({RANGETBLENTRY :rtekind 0 :relid 1}) :hasTargetSRFs false :hasModifyingCTE false})")
	f.Add("({QUERY :constvalue 4 [ 1 0 ]})")
	f.Fuzz(func(t *testing.T, text string) {
		traced, err := traceView(text, func(uint32) bool { return true })
		if err == nil && slices.Contains(slices.Collect(maps.Keys(traced.columns)), -1) {
			t.Error("a column of no number")
		}
	})
}
