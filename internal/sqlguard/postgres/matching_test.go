package postgres

import (
	"errors"
	"slices"
	"testing"
)

func TestMatchingOf(t *testing.T) {
	for _, c := range []struct {
		in, count, keys string
		uses            []int32
	}{
		{
			in:    "UPDATE public.orders SET status = $1 WHERE id = $2 AND total > $4",
			count: "SELECT pg_catalog.count(*) FROM public.orders WHERE id = $2 AND total > $4",
			keys:  "SELECT orders.tableoid::pg_catalog.text, orders.ctid::pg_catalog.text, orders.xmin::pg_catalog.text FROM public.orders WHERE id = $2 AND total > $4 LIMIT 5",
			uses:  []int32{2, 4},
		}, {
			in:    `DELETE FROM ONLY public."Odd" "T x"`,
			count: `SELECT pg_catalog.count(*) FROM ONLY public."Odd" "T x"`,
			keys:  `SELECT "T x".tableoid::pg_catalog.text, "T x".ctid::pg_catalog.text, "T x".xmin::pg_catalog.text FROM ONLY public."Odd" "T x" LIMIT 5`,
		}, {
			in:    "WITH w AS (SELECT 1 AS id) DELETE FROM public.orders o USING w, public.customers c WHERE o.id = w.id AND c.id = o.customer_id RETURNING o.id",
			count: "SELECT pg_catalog.count(*) FROM (WITH w AS (SELECT 1 AS id) SELECT DISTINCT o.tableoid, o.ctid FROM public.orders o, w, public.customers c WHERE o.id = w.id AND c.id = o.customer_id) matching",
			keys:  "WITH w AS (SELECT 1 AS id) SELECT DISTINCT o.tableoid::pg_catalog.text, o.ctid::pg_catalog.text, o.xmin::pg_catalog.text FROM public.orders o, w, public.customers c WHERE o.id = w.id AND c.id = o.customer_id LIMIT 5",
		},
		{in: "DELETE FROM public.orders WHERE CURRENT OF c"},
		{in: "WITH w AS (DELETE FROM public.customers RETURNING id) UPDATE public.orders SET status = 'x' FROM w WHERE w.id = orders.id"},
		{in: "INSERT INTO public.orders SELECT * FROM public.more"},
		{in: "SELECT 1"},
		{in: "DELETE FROM public.orders; DELETE FROM public.orders"},
		{in: "EXECUTE p(1)"},
		{in: "nonsense"},
		{in: ""},
	} {
		m, err := MatchingOf(c.in, 5)
		if c.count == "" {
			if !errors.Is(err, ErrNoMatching) {
				t.Errorf("%s: %v, %+v", c.in, err, m)
			}
			continue
		}
		if err != nil || m.Count != c.count || m.Keys != c.keys || !slices.Equal(m.Uses, c.uses) {
			t.Errorf("%s: %v\n got %s\nwant %s\n got %s\nwant %s\n%v", c.in, err, m.Count, c.count, m.Keys, c.keys, m.Uses)
		}
	}
}

func TestOneWrite(t *testing.T) {
	for in, want := range map[string]bool{
		"INSERT INTO public.t VALUES (1)":                                                   true,
		"UPDATE public.t SET a = 1 RETURNING a":                                             true,
		"WITH w AS (SELECT 1) DELETE FROM public.t":                                         true,
		"MERGE INTO public.t USING public.u ON t.a = u.a WHEN MATCHED THEN DELETE":          true,
		"WITH w AS (DELETE FROM public.u RETURNING a) INSERT INTO public.t SELECT a FROM w": false,
		"INSERT INTO public.t WITH w AS (DELETE FROM public.u RETURNING a) SELECT a FROM w": false,
		"WITH w AS (INSERT INTO public.u VALUES (1)) SELECT 1":                              false,
		"SELECT 1": false,
		"UPDATE public.t SET a = 1; UPDATE public.t SET a = 2": false,
		"TRUNCATE public.t": false,
		"":                  false,
	} {
		if got := OneWrite(in); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}
