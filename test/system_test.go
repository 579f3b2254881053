package test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/demo/shop"
)

// direct is what psql shows the gateway's own role, past the gateway.
func direct(t testing.TB, script string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t), "psql", "-X", "-d", server.URL(shop.Role, password, "shop"))
	cmd.Stdin, cmd.Env = strings.NewReader(script), append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("psql: %v", err)
	}
	return string(out)
}

// shopDescribed are psql's descriptions of the shop: all of them show names alone.
const shopDescribed = `\d customers
\d+ orders
\d order*
\di pay*
\dT+
\dn
\du
\dx
\sf nothing
\encoding
SHOW search_path;
SELECT 'customers'::regclass, pg_get_serial_sequence('customers', 'id'), to_regclass('nobody');
SELECT indexdef FROM pg_indexes WHERE tablename = 'customers' ORDER BY 1;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY 1;
SELECT table_name, column_name, data_type, column_default FROM information_schema.columns WHERE table_schema = 'public' AND table_name IN ('customers', 'orders') ORDER BY 1, 2;
`

// TestDescribed: psql describes the shop to an agent as to the database's own role, in words that it would use
// itself, and tells no value of a masked column.
func TestDescribed(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	path := regexp.MustCompile(`(?m)^ *("\$user", )?public *$|^-+$|^ *search_path *$`) // the client's has no $user
	want, r := direct(t, shopDescribed), g.psql(shopDescribed)
	if got := r.out; path.ReplaceAllString(got, "") != path.ReplaceAllString(want, "") {
		t.Errorf("psql shows\n%s\ndirectly\n%s\nerrors\n%s", got, want, r.err)
	}
	for _, query := range []string{
		"SELECT tablename, attname, most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'customers'",
		"SELECT * FROM pg_stats", "SELECT s::text FROM pg_stats s", "SELECT to_json(s) FROM pg_stats s", "SELECT * FROM pg_stats_ext",
		"SELECT query FROM pg_stat_activity", "SELECT attmissingval FROM pg_attribute",
	} {
		admin(t, "ANALYZE")
		res := g.psql(query + ";")
		noRaw(t, query, res.out+res.err)
		if strings.Contains(res.err, "ERROR") {
			t.Errorf("%s: %s", query, res.err)
		}
	}
}

// TestHiddenTable: a table that no policy lets the agent read is in none of psql's lists, and its name, its number
// and its columns are answered as those of no table.
func TestHiddenTable(t *testing.T) {
	t.Parallel()
	name := "vault_" + table(t, "id int PRIMARY KEY")
	admin(t, fmt.Sprintf(`CREATE TABLE public.%[1]s (id int PRIMARY KEY, vault_word text); COMMENT ON TABLE public.%[1]s IS 'vault comment';
		CREATE VIEW public.%[1]s_view AS SELECT * FROM public.%[1]s; GRANT SELECT ON public.%[1]s, public.%[1]s_view TO %[2]s`, name, shop.Role))
	g := start(t, options{policies: fmt.Sprintf(`@id("read") permit (principal, action == Action::"read", resource);
		@id("vault") forbid (principal, action, resource in Table::"shop/public.%[1]s");
		@id("vault-view") forbid (principal, action, resource in Table::"shop/public.%[1]s_view");`, name)})
	oid := truth[uint32](t, "SELECT '"+name+"'::regclass::oid")
	res := g.psql(fmt.Sprintf(`\d
\dt+ *.*
\dp
\di
\dv
\dd
\d vault*
SELECT %[1]d::regclass, %[1]d::oid::regclass::text, obj_description(%[1]d, 'pg_class'), pg_get_viewdef(%[1]d), pg_relation_size(%[1]d);
SELECT relname FROM pg_class WHERE oid = %[1]d;
SELECT attname FROM pg_attribute WHERE attrelid = %[1]d;
SELECT string_agg(relname, ',') FROM pg_class;
SELECT string_agg(table_name || column_name, ',') FROM information_schema.columns;
SELECT g::regclass FROM generate_series(%[1]d - 20, %[1]d + 20) g;
`, oid))
	if all := res.out + res.err; strings.Contains(strings.ReplaceAll(all, `"vault*"`, ""), "vault") {
		t.Errorf("the hidden table shows:\n%s", all)
	}
}
