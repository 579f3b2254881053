package postgres

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// answer is what a client sees of a query: rows, or an error with all its fields.
func answer(ctx context.Context, conn *pgx.Conn, query string) string {
	out, err := table(ctx, conn, query)
	if err != nil {
		return "error: " + err.Error()
	}
	return out
}

// ownersOnly are the entries that show something only to who owns the tables, or on a server that has collected more.
var ownersOnly = map[string]bool{"check clauses": true, "constraint usage": true, "function definitions": true, "statistics of indexes": true, "partition tree": true}

// refusedWholly are the entries that may be refused altogether; every other one is answered, or its error is the
// database's own.
var refusedWholly = map[string]bool{"range of an enum": true}

// TestCatalogEvasions: no entry of testdata/evasions-catalogs.sql shows what is hidden or masked.
func TestCatalogEvasions(t *testing.T) {
	ctx := context.Background()
	b, err := os.ReadFile("testdata/evasions-catalogs.sql")
	if err != nil {
		t.Fatal(err)
	}
	name := systemDatabase(t)
	direct := connect(t, testServer.URL("gw", "p", name))
	part := connect(t, serveSystem(t, name, partly()))
	raw := func(query, text string) bool {
		for _, word := range []string{"hidden", "secret1", "secret2"} {
			if strings.Contains(text, word) && !strings.Contains(query, word) {
				return true
			}
			if word == "hidden" && strings.Count(text, word) > strings.Count(query, word) {
				return true
			}
		}
		return false
	}
	// The entries go through all numbers that objects of the database have; which these are depends on what the
	// server made before.
	var numbers string
	if err := direct.QueryRow(ctx, `SELECT min(o) || ', ' || max(o) FROM (SELECT oid::int8 o FROM pg_class UNION ALL SELECT oid::int8 FROM pg_type
		UNION ALL SELECT oid::int8 FROM pg_proc UNION ALL SELECT oid::int8 FROM pg_constraint UNION ALL SELECT oid::int8 FROM pg_rewrite UNION ALL SELECT oid::int8 FROM pg_trigger
		UNION ALL SELECT oid::int8 FROM pg_namespace UNION ALL SELECT oid::int8 FROM pg_statistic_ext UNION ALL SELECT oid::int8 FROM pg_attrdef) s WHERE o >= 16384`).Scan(&numbers); err != nil {
		t.Fatal(err)
	}
	for _, entry := range strings.Split(strings.ReplaceAll(string(b), "16384, 17000", numbers), "\n-- @")[1:] {
		title, query, _ := strings.Cut(entry, "\n")
		if !raw(query, answer(ctx, direct, query)) && !ownersOnly[title] && !strings.Contains(query, "'hid") && !strings.Contains(query, "hidden_") {
			t.Errorf("%s shows nothing even directly: %.300s", title, answer(ctx, direct, query))
		}
		got := answer(ctx, part, query)
		if raw(query, strings.ReplaceAll(got, "the details are hidden", "")) {
			t.Errorf("LEAK %s: %.1500s", title, got)
		}
		if strings.Contains(got, "42501") && !refusedWholly[title] || strings.Contains(got, "0A000") || strings.Contains(got, "XX000") {
			t.Errorf("%s: %.500s", title, got)
		}
	}
}

// TestCatalogOracles: a name that is hidden is answered as one that is not there.
func TestCatalogOracles(t *testing.T) {
	ctx := context.Background()
	part := connect(t, serveSystem(t, systemDatabase(t), partly()))
	for pair, queries := range map[[2]string][]string{
		{"hidden_table", "absent_table"}: {
			"SELECT 'NAME'::regclass", "SELECT 'public.NAME'::regclass::oid", "SELECT to_regclass('NAME')", "SELECT to_regclass('public.NAME') IS NULL",
			"SELECT has_table_privilege('NAME', 'SELECT')", "SELECT has_table_privilege(current_user, 'public.NAME', 'SELECT')", "SELECT has_any_column_privilege('NAME', 'SELECT')",
			"SELECT pg_relation_size('NAME')", "SELECT pg_total_relation_size('public.' || 'NAME')", "SELECT ('public.' || 'NAME')::regclass", "SELECT ('NA' || 'ME')::regclass",
			"SELECT pg_get_viewdef('NAME')", "SELECT pg_get_serial_sequence('NAME', 'id')", "SELECT row_security_active('NAME')", "SELECT 'NAME'::regtype", "SELECT NULL::NAME",
			"SELECT pg_table_is_visible('NAME'::regclass)", "SELECT count(*) FROM pg_class WHERE relname = 'NAME'", "SELECT count(*) FROM information_schema.tables WHERE table_name = 'NAME'",
			"SELECT pg_relation_is_updatable('NAME', true)", "SELECT 'NAME[]'::regtype", "SELECT ('NAME')::text::regtype",
			"SELECT obj_description('NAME'::regclass, 'pg_class')", "SELECT has_column_privilege('NAME', 'id', 'SELECT')",
		},
		{"hidden_note", "absent_note"}: {
			"SELECT has_column_privilege('customers', 'NAME', 'SELECT')", "SELECT pg_get_serial_sequence('customers', 'NAME')", "SELECT count(*) FROM pg_attribute WHERE attname = 'NAME'",
			"SELECT count(*) FROM information_schema.columns WHERE column_name = 'NAME'", "SELECT count(*) FROM pg_stats WHERE attname = 'NAME'",
		},
		{"hidden_function", "absent_function"}: {
			"SELECT 'NAME'::regproc", "SELECT 'NAME(hidden_table)'::regprocedure", "SELECT 'public.NAME'::regproc", "SELECT has_function_privilege('public.NAME(hidden_table)', 'EXECUTE')", "SELECT count(*) FROM pg_proc WHERE proname = 'NAME'",
			"SELECT count(*) FROM pg_type WHERE typinput = 'NAME'", "SELECT count(*) FROM pg_type WHERE typinput IN ('NAME', 'boolin')", "SELECT count(COALESCE(typinput, 'NAME')) FROM pg_type", "SELECT count(NULLIF(typinput, 'public.NAME')) FROM pg_type",
			"SELECT count(CASE WHEN true THEN typinput ELSE 'NAME' END) FROM pg_type", "SELECT count(ARRAY[typinput, 'NAME']) FROM pg_type", "SELECT count(*) FROM (SELECT typinput FROM pg_type UNION SELECT 'NAME') s",
			"SELECT count(*) FROM (VALUES ('boolin'::regproc), ('NAME')) s", "SELECT count(*) FROM pg_type WHERE typinput IS DISTINCT FROM 'NAME'", "SELECT count(*) FROM pg_type WHERE typinput BETWEEN 'NAME' AND 'NAME'",
		},
		{"hidden_mood", "absent_mood"}:     {"SELECT 'NAME'::regtype", "SELECT pg_typeof(1) = 'NAME'", "SELECT pg_typeof(1) IN ('NAME', 'text')", "SELECT NULLIF(pg_typeof(1), 'public.NAME')", "SELECT GREATEST(pg_typeof(1), 'NAME') IS NULL", "SELECT 'public.NAME'::regtype", "SELECT NULL::NAME", "SELECT has_type_privilege('NAME', 'USAGE')", "SELECT ('public.' || 'NAME')::regtype"},
		{"hidden_schema", "absent_schema"}: {"SELECT 'NAME'::regnamespace", "SELECT has_schema_privilege('NAME', 'USAGE')", "SELECT to_regnamespace('NAME')", "SELECT has_schema_privilege('NA' || 'ME', 'USAGE')", "SELECT 'NAME.hidden_far'::regclass"},
	} {
		for _, query := range queries {
			fill := func(name string) string {
				q := strings.ReplaceAll(query, "NAME", name)
				return strings.ReplaceAll(answer(ctx, part, strings.ReplaceAll(q, "'NA' || 'ME'", "'"+name[:2]+"' || '"+name[2:]+"'")), name, "NAME")
			}
			if hidden, absent := fill(pair[0]), fill(pair[1]); hidden != absent {
				t.Errorf("%s tells that %s is there:\n%.300s\n%.300s", query, pair[0], hidden, absent)
			}
		}
	}
}

// TestRefusedCatalogs: what shows secrets of the server, of other sessions, or values, is not read at all.
func TestRefusedCatalogs(t *testing.T) {
	ctx := context.Background()
	all := connect(t, serveSystem(t, systemDatabase(t), everythingPolicy))
	for _, query := range []string{
		"SELECT * FROM pg_statistic", "SELECT * FROM pg_statistic_ext_data", "SELECT * FROM pg_stats_ext_exprs", "SELECT * FROM pg_authid", "SELECT * FROM pg_shadow",
		"SELECT * FROM pg_user_mapping", "SELECT * FROM pg_user_mappings", "SELECT * FROM pg_largeobject", "SELECT * FROM pg_hba_file_rules", "SELECT * FROM pg_file_settings",
		"SELECT * FROM pg_prepared_statements", "SELECT * FROM pg_cursors", "SELECT * FROM pg_replication_slots", "SELECT * FROM pg_stat_replication", "SELECT * FROM pg_ident_file_mappings",
		"SELECT * FROM pg_config", "SELECT * FROM pg_shmem_allocations", "SELECT * FROM pg_shdepend", "SELECT * FROM pg_catalog.pg_subscription_rel", "SELECT * FROM pg_toast.pg_toast_1255",
		"SELECT * FROM information_schema.user_mapping_options", "SELECT * FROM information_schema.foreign_server_options", "TABLE pg_authid",
		"SELECT query_to_xml('SELECT 1', true, true, '')", "SELECT table_to_xml('customers', true, true, '')", "SELECT schema_to_xml('public', true, true, '')",
		"SELECT pg_read_file('PG_VERSION')", "SELECT pg_ls_dir('.')", "SELECT pg_relation_filepath('customers')", "SELECT pg_filenode_relation(0, 1259)", "SELECT lo_get(1)",
		"SELECT * FROM pg_stat_get_activity(NULL)", "SELECT pg_identify_object(1259, 16384, 0)", "SELECT pg_get_object_address('table', '{hidden_table}', '{}')",
		"SELECT current_setting('data_directory')", "SELECT current_setting('hba_file')", "SHOW data_directory", "SHOW ALL",
		"SELECT 'other.==='::regoper", "SELECT currtid2('customers', '(0,1)')", "SELECT has_server_privilege('x', 'USAGE')",
		"SELECT relname FROM pg_class FOR UPDATE", "UPDATE pg_class SET relname = 'x'", "DELETE FROM pg_catalog.pg_class", "INSERT INTO pg_class SELECT * FROM pg_class", "COPY pg_authid TO STDOUT",
		"SELECT pg_get_userbyid(_gatehouse_a.o) FROM (SELECT 10::oid AS o) _gatehouse_a, pg_class WHERE format_type(reltype, NULL) = ''",
		"SELECT format_type(count(*)::oid OVER (), NULL) FROM pg_class", "SELECT obj_description()", "SELECT * FROM obj_description(1259, 'pg_class')",
	} {
		if got := answer(ctx, all, query); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%s is answered: %.300s", query, got)
		}
	}
	part := connect(t, serveSystem(t, systemDatabase(t), partly()))
	for _, query := range []string{"SELECT current_setting('app.secret', true)", "SHOW app.secret", "SELECT set_config('app.secret', 'x', false)", "SET app.secret = 'x'"} {
		if got := answer(ctx, part, query); !strings.Contains(got, "No policy permits: set connection shop") { // it takes a permit for set
			t.Errorf("%s is answered: %.300s", query, got)
		}
	}
	for _, name := range []string{"data_directory", "hba_file", "DATA_DIRECTORY", "search_path"} {
		if got := answer(ctx, all, "SELECT current_setting(lower('"+name[:3]+"') || '"+name[3:]+"')"); got != "current_setting|\n∅|\n" {
			t.Errorf("%s is shown: %.300s", name, got)
		}
	}
}
