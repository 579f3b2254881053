package postgres

import (
	"strings"
	"testing"
)

func TestWithoutValues(t *testing.T) {
	for in, want := range map[string]string{
		"UPDATE public.customers SET email = 'bob@example.com' WHERE id = 7":              "UPDATE public.customers SET email = $1 WHERE id = $2",
		"SELECT a2 FROM t WHERE b IN ('x', 'y') AND c = 0x1F AND d = B'101' AND e = -1.5": "SELECT a2 FROM t WHERE b IN ($1, $2) AND c = $3 AND d = $4 AND e = $5",
		`SELECT "it's 4" FROM t WHERE x = 'v'`:                                            "",
		`SELECT "odd 4" FROM t WHERE x = $1`:                                              `SELECT "odd 4" FROM t WHERE x = $1`,
		"SELECT $$secret$$, E'a\\'b', U&'d\\0061t'":                                       "SELECT $1, $2, $3",
		"not a statement": "",
	} {
		if got := WithoutValues(in); got != want {
			t.Errorf("%s\n got %q\nwant %q", in, got, want)
		}
	}
	const secret = "s3cretvalue"
	for _, in := range []string{
		"ALTER ROLE x PASSWORD 's3cretvalue'", "CREATE TABLE t (a text DEFAULT 's3cretvalue')", "COMMENT ON TABLE t IS 's3cretvalue'",
		"SET a.b TO 's3cretvalue'", "COPY (SELECT 's3cretvalue') TO STDOUT", "NOTIFY c, 's3cretvalue'", "PREPARE p AS SELECT 's3cretvalue'",
		"EXECUTE p('s3cretvalue')", "DECLARE c CURSOR FOR SELECT 's3cretvalue'", "CREATE VIEW v AS SELECT 's3cretvalue' AS x",
		"SELECT interval 's3cretvalue' day", "SELECT date 's3cretvalue'", "MERGE INTO t USING u ON t.a = 's3cretvalue' WHEN MATCHED THEN DO NOTHING",
	} {
		if got := WithoutValues(in); strings.Contains(got, secret) {
			t.Errorf("%s: %s", in, got)
		}
	}
}
