package postgres

import (
	"strings"
	"testing"

	"gatehouse/internal/policy"
)

func only(texts ...string) policy.Exposure {
	var clause []policy.Row
	for _, t := range texts {
		clause = append(clause, policy.Row{Text: t, ID: "test:o'x"})
	}
	return policy.Exposure{Visible: true, Mask: policy.MaskNone, Rows: policy.Rows{clause}}
}

// filtered is the shop where some rows may be touched only, with what a server says is leakproof.
func filtered() Environment {
	env := shop()
	see := env.Sight.(eyes)
	see["orders/public.customers"] = only("name = 'eu'", "id BETWEEN 1 AND 9 AND NOT name IS NULL")
	see["orders/public.orders"] = only("status = 'paid'")
	see["update orders/public.orders"] = only("customer_id = 7")
	see["insert orders/public.orders"] = only("status = 'open'")
	see["delete orders/public.log"] = only("who = principal.id")
	see["orders/public.audited"] = only("id = 1")
	see["delete orders/public.audited"] = only("nothing = 1")
	lp := Leakproof{Operators: map[Operator]bool{}, Casts: map[[2]string]bool{{"int4", "int8"}: true}}
	for _, t := range []string{"int4", "int8", "text"} {
		for _, op := range comparisons {
			if t != "text" || op == "=" || op == "<>" {
				lp.Operators[Operator{op, t, t}] = true
			}
		}
	}
	env.Catalog.Leakproof = lp
	return env
}

// filteredColumns is the shop on PostgreSQL 18 where a column may be read in some rows only.
func filteredColumns() Environment {
	env := shop()
	env.Catalog.Server = 18
	env.Catalog.Leakproof = filtered().Catalog.Leakproof
	env.Sight.(eyes)["orders/public.orders.status"] = only("customer_id = 7")
	return env
}

func TestCheckRows(t *testing.T) {
	for _, text := range []string{
		"region = 'eu'", "region IN ('eu', 'us') AND NOT gone", "a IS NOT NULL OR b BETWEEN 1 AND -2", "gone",
		"created >= DATE '2024-01-01'", "owner = principal.id", "owner = principal.user", "x IS DISTINCT FROM y",
		"\"Col \"\"x\"\"\" = 1.5", "a = true -- fine",
	} {
		if err := CheckRows(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"", "true", "1 = 1", "region = 'eu'; DROP TABLE x", "lower(region) = 'eu'", "region LIKE 'e%'", "a + 1 = 2",
		"id IN (SELECT id FROM t)", "EXISTS (SELECT 1)", "a = 1) UNION (SELECT 1 WHERE b = 1", "c.region = 'eu'", "principal.name = region",
		"region = $1", "a::int = 1", "a = '1'::regclass", "a = ANY (ARRAY[1])", "a ~ 'x'", "a OPERATOR(public.=) 1", "row(a) = row(1)",
		"a = 1 ORDER BY 1", "a = 0x10_", "region = 'eu", "a = 1) LIMIT (1", "ctid.a = 1", "a.*", strings.Repeat("a = 1 AND ", 1000) + "a = 1",
	} {
		if err := CheckRows(text); err == nil {
			t.Errorf("%s may be a filter", text)
		}
	}
}
