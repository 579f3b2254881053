package postgres

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

const tokenSetup = `
	CREATE TABLE people (id int PRIMARY KEY, email text, phone varchar(20), code char(4), ref uuid, account bigint, born date, seen timestamptz, pay numeric(7,2), age int2, score float8);
	INSERT INTO people VALUES
		(1, 'ada@corp.example', '+49-170-1234567', 'ab', '11111111-1111-1111-1111-111111111111', 77, '1984-07-05', '1999-12-31 23:30:00+00', -99999.99, 38, 12.5),
		(2, 'ada@corp.example', NULL, NULL, '11111111-1111-1111-1111-111111111111', 77, 'infinity', '-infinity', 'NaN', -32768, 'NaN'),
		(3, 'bob@corp.example', 'x', 'cd', NULL, -77, '4713-01-01 BC', '4713-01-01 00:00:00+00 BC', 99999.99, 32767, 1e308),
		(4, NULL, '+49-170-1234567', 'ef', NULL, NULL, '5874897-12-31', '294276-12-31 23:59:59+00', 0, 0, 1e-320);
	CREATE TABLE orders (id int PRIMARY KEY, email text, writable text);
	INSERT INTO orders VALUES (1, 'ada@corp.example', 'w'), (2, 'carol@corp.example', 'w');
	GRANT ALL ON ALL TABLES IN SCHEMA public TO rows_gw;
`

const tokenLabels = `
labels:
  public.people: {email: pii.email, phone: pii.phone, code: pii, ref: pii.id, account: pii.account, born: pii.date, seen: pii.date, pay: pay, age: pay, score: pay}
  public.orders: {email: pii.email, writable: pii.email}
`

const tokenPolicies = `
@id("read") permit (principal, action == Action::"read", resource);
@id("token") @mask("token") forbid (principal, action == Action::"read", resource) when { resource is Column && resource.labels.containsAny(["pii.email", "pii.phone", "pii", "pii.id", "pii.account"]) };
@id("reveal") permit (principal, action == Action::"reveal", resource);
@id("year") @mask("year") forbid (principal, action == Action::"read", resource) when { resource is Column && resource.labels.contains("pii.date") };
@id("bucket") @mask("bucket:10") forbid (principal, action == Action::"read", resource) when { resource is Column && resource.labels.contains("pay") };
@id("write") permit (principal, action == Action::"update", resource in Table::"shop/public.orders");
@id("not-email") forbid (principal, action == Action::"update", resource == Column::"shop/public.orders.email");
`

// TestTokens: equal values have equal pseudonyms, which work as keys and in conditions, and the key cannot be had.
func TestTokens(t *testing.T) {
	gatewayRole(t)
	ctx := context.Background()
	database(t, "rows_tokens", tokenSetup)
	address := before(t, "rows_tokens", tokenPolicies, tokenLabels)
	conn := dialPGX(t, address, pgx.QueryExecModeExec)
	var ada, bob string
	if err := conn.QueryRow(ctx, "SELECT (SELECT email FROM people WHERE id = 1), (SELECT email FROM people WHERE id = 3)").Scan(&ada, &bob); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^tok_[0-9a-f]{24}$`).MatchString(ada) || ada == bob {
		t.Errorf("pseudonyms %q and %q", ada, bob)
	}
	for text, want := range map[string]string{
		"SELECT count(*) FROM people WHERE email = '" + ada + "'":                                                "2",
		"SELECT count(*) FROM people WHERE email = 'ada@corp.example'":                                           "0",
		"SELECT count(DISTINCT email) FROM people":                                                               "2",
		"SELECT count(*) FROM people WHERE email IS NULL":                                                        "1",
		"SELECT count(*) FROM people p JOIN orders o USING (email)":                                              "2",
		"SELECT max(c) FROM (SELECT count(*) AS c FROM people GROUP BY email) s":                                 "2",
		"SELECT count(DISTINCT ref) FROM people":                                                                 "1",
		"SELECT count(DISTINCT account) FROM people":                                                             "2",
		"SELECT count(*) FROM people WHERE account = 77":                                                         "0",
		"SELECT count(*) FROM people WHERE ref = '11111111-1111-1111-1111-111111111111'":                         "0",
		"SELECT max(length(phone)) FROM people":                                                                  "20",
		"SELECT code FROM people WHERE id = 1":                                                                   "*** ",
		"SELECT DISTINCT writable FROM orders":                                                                   "***", // it may be written, and so tried
		"SELECT born::text FROM people WHERE id = 1":                                                             "1984-01-01",
		"SELECT count(born) FROM people":                                                                         "1",
		"SELECT count(seen) FROM people":                                                                         "1",
		"SELECT pay::text FROM people WHERE id = 1":                                                              "-99990.00",
		"SELECT pay::text FROM people WHERE id = 3":                                                              "99990.00",
		"SELECT age FROM people WHERE id = 2":                                                                    "-32760",
		"SELECT age FROM people WHERE id = 1":                                                                    "30",
		"SELECT score FROM people WHERE id = 1":                                                                  "10",
		"SELECT count(score) FROM people":                                                                        "2",
		"SELECT pg_typeof(pay)::text || pg_typeof(phone)::text || pg_typeof(age)::text FROM people WHERE id = 1": "numericcharacter varyingsmallint",
	} {
		if got := outcome(ctx, conn, text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for _, zone := range []string{"Pacific/Kiritimati", "Etc/GMT+12"} {
		if _, err := conn.Exec(ctx, "SET timezone = '"+zone+"'"); err != nil {
			t.Fatal(err)
		}
		if got := outcome(ctx, conn, "SELECT extract(epoch FROM seen)::int FROM people WHERE id = 1"); got != "915148800" {
			t.Errorf("in %s the year is another one: %s", zone, got)
		}
	}
	if got := outcome(ctx, conn, "SELECT * FROM people ORDER BY 1"); !strings.Contains(got, "tok_") || strings.Contains(got, "corp.example") {
		t.Errorf("everything: %s", got)
	}
	other := dialPGX(t, before(t, "rows_tokens", tokenPolicies, tokenLabels), pgx.QueryExecModeSimpleProtocol)
	if got := outcome(ctx, other, "SELECT email FROM people WHERE id = 1"); got != ada {
		t.Errorf("another start gives another pseudonym: %s", got)
	}
	for _, text := range []string{
		"SHOW gatehouse.token_key", "SHOW ALL", "SELECT current_setting('gatehouse.token_key')", "SELECT current_setting('Gatehouse.Token_Key', true)",
		"SELECT set_config('gatehouse.token_key', '\\x00', false)", "SET gatehouse.token_key = '\\x00'", "RESET gatehouse.token_key", "SET SESSION gatehouse.token_key TO DEFAULT",
		"SELECT string_agg(setting, ',') FROM pg_settings WHERE name LIKE 'gatehouse%'", "EXPLAIN (ANALYZE, VERBOSE, SETTINGS) SELECT email FROM people", "EXPLAIN SELECT email FROM people",
		"SELECT email::int FROM people", "SELECT 1/(length(email) - 28) FROM people",
	} {
		rows, err := conn.Query(ctx, text)
		var got string
		if err == nil {
			for rows.Next() {
				v, _ := rows.Values()
				for _, one := range v {
					if s, ok := one.(string); ok {
						got += s
					}
				}
			}
			rows.Close()
			err = rows.Err()
		}
		if regexp.MustCompile(`[0-9a-f]{40}`).MatchString(got) || err != nil && regexp.MustCompile(`[0-9a-f]{40}`).MatchString(err.Error()) {
			t.Errorf("LEAK %s: %s %v", text, got, err)
		}
	}
	if got := outcome(ctx, conn, "SELECT email FROM people WHERE id = 1"); got != ada {
		t.Errorf("the pseudonym changed: %s", got)
	}
}
