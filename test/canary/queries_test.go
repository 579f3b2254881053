package canary

import (
	"fmt"
	"strings"
)

// item is one thing in FROM and its text. outer is what LATERAL may refer to.
func (g *generator) item(outer scope) (source, string) {
	g.depth++
	defer func() { g.depth-- }()
	switch n := g.IntN(100); {
	case n < 65 || g.depth > 3:
		t := g.table()
		src := g.named(t)
		text := src.from(t)
		switch {
		case g.chance(5) && t.set != nil:
			text = t.name + " " + src.alias + " TABLESAMPLE " + one(g, "bernoulli", "system") + " (60) REPEATABLE (4)"
		case g.chance(4) && t.set != nil:
			text = "ONLY " + text
		case g.chance(8): // under other names
			names := make([]string, len(t.columns))
			for i := range names {
				names[i] = fmt.Sprintf("x%d", i)
				src.refs[i].sql = src.alias + "." + names[i]
			}
			// The agent does not see every column: the last names may be too many.
			cut := 1 + g.IntN(len(names))
			text += "(" + strings.Join(names[:cut], ", ") + ")"
			src.refs = src.refs[:cut]
		}
		return src, text
	case n < 72 && len(g.with) > 0:
		c := one(g, g.with...)
		src := source{alias: g.alias()}
		for _, r := range c.refs {
			src.refs = append(src.refs, ref{src.alias + "." + r.sql, r.kind})
		}
		return src, c.alias + " " + src.alias
	case n < 85:
		src := source{alias: g.alias()}
		var k []kind
		for range 1 + g.IntN(3) {
			k = append(k, g.outKind())
		}
		lateral := ""
		var seen scope
		if g.chance(40) && len(outer) > 0 {
			lateral, seen = "LATERAL ", outer
		}
		text := lateral + "(" + g.query(seen, k) + ") " + src.alias
		for i, one := range k {
			src.refs = append(src.refs, ref{fmt.Sprintf("%s.o%d", src.alias, i), one})
		}
		return src, text
	case n < 94:
		src := source{alias: g.alias()}
		src.refs = []ref{{src.alias + ".v", kText}}
		f := one(g, "unnest("+g.expr(kTexts, outer)+")", "regexp_split_to_table("+g.expr(kText, outer)+", 'n')", "jsonb_array_elements_text(jsonb_build_array("+g.expr(kText, outer)+"))",
			"string_to_table("+g.expr(kText, outer)+", 'a')")
		if g.chance(25) {
			src.refs = append(src.refs, ref{src.alias + ".n", kInt})
			return src, f + " WITH ORDINALITY " + src.alias + "(v, n)"
		}
		return src, f + " " + src.alias + "(v)"
	}
	src := source{alias: g.alias()}
	src.refs = []ref{{src.alias + ".p", kInt}, {src.alias + ".q", kText}}
	return src, fmt.Sprintf("(VALUES (1, %s), (%s, 'b')) %s(p, q)", g.literal(kText), g.literal(kInt), src.alias)
}

// joins are ways in which tables of the shop belong together.
var joins = []struct{ a, b, on string }{
	{"customers", "orders", "%[1]s.id = %[2]s.customer_id"}, {"orders", "payments", "%[1]s.id = %[2]s.order_id"}, {"products", "orders", "%[1]s.id = %[2]s.product_id"},
	{"customers", "tickets", "%[1]s.email = %[2]s.customer"}, {"staff", "hr.reviews", "%[1]s.id = %[2]s.staff_id"}, {"customers", "contacts", "%[1]s.email = %[2]s.reach"},
	{"customers", "spending", "%[1]s.id = %[2]s.id"}, {"vehicles", "customers", "%[1]s.owner = %[2]s.name"}, {"regulars", "contacts", "%[1]s.reach = lower(%[2]s.reach)"},
	{"staff", "staff", "%[1]s.boss = %[2]s.id"}, {"events", "staff", "%[1]s.who = %[2]s.nick"},
}

func find(name string) *table {
	for i := range tables {
		if tables[i].name == name {
			return &tables[i]
		}
	}
	panic("there is no table " + name)
}

// from is a FROM clause.
func (g *generator) from(outer scope) (scope, string) {
	if g.chance(25) {
		j := one(g, joins...)
		for (g.seldom[j.a] || g.seldom[j.b]) && g.chance(85) {
			j = one(g, joins...)
		}
		a, b := g.named(find(j.a)), g.named(find(j.b))
		on := fmt.Sprintf(j.on, a.alias, b.alias)
		return scope{a, b}, a.from(a.table) + one(g, " JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ") + b.from(b.table) + " ON " + on
	}
	first, text := g.item(outer)
	in := scope{first}
	if g.depth > 2 || g.chance(45) {
		return in, text
	}
	for range 1 + g.IntN(2) {
		more, t := g.item(append(in, outer...))
		both := append(append(scope{}, in...), more)
		switch n := g.IntN(4); {
		case n == 0 || strings.HasPrefix(t, "LATERAL") || strings.Contains(t, "(v"):
			text += " CROSS JOIN " + t
		case n == 1:
			text = "(" + text + " LEFT JOIN " + t + " ON " + g.condition(both) + ")"
		default:
			text += " JOIN " + t + " ON " + g.equal(in, more)
		}
		in = both
	}
	return in, text
}

// equal joins by columns of the same kind.
func (g *generator) equal(a scope, b source) string {
	for _, k := range []kind{one(g, kInt, kText), kInt, kText} {
		x, ok1 := g.column(k, a)
		y, ok2 := g.column(k, scope{b})
		if ok1 && ok2 {
			return x + " = " + y
		}
	}
	return "true"
}

// query is a SELECT. want are the kinds of its columns, which are then called o0, o1 …; nil leaves it free.
func (g *generator) query(outer scope, want []kind) string {
	g.depth++
	defer func() { g.depth-- }()
	var b strings.Builder
	outermost := want == nil
	if outermost && g.chance(15) {
		b.WriteString(g.withClause())
	}
	in, from := g.from(outer)
	all := append(append(scope{}, in...), outer...)
	if outermost && g.chance(10) {
		b.WriteString(g.stars(in, from))
		return b.String()
	}
	if g.chance(25) {
		b.WriteString(g.grouped(in, outer, from, want))
		return b.String()
	}
	kindsOut := want
	if outermost {
		for range 1 + g.IntN(4) {
			kindsOut = append(kindsOut, g.outKind())
		}
	}
	var targets []string
	for i, k := range kindsOut {
		e := ""
		if g.chance(12) && g.opaque == nil {
			e = g.windowed(k, all)
		}
		if e == "" {
			e = g.expr(k, all)
		}
		targets = append(targets, fmt.Sprintf("%s AS o%d", e, i))
	}
	if outermost && g.chance(15) {
		if r := in[0].alias; g.opaque != nil {
			targets = append(targets, one(g, r, "to_jsonb("+r+")", r+"::text"))
		} else if r := g.row(in); r != "" {
			targets = append(targets, r)
		}
	}
	distinct := ""
	order := ""
	switch {
	case g.chance(12):
		distinct = "DISTINCT "
	case g.chance(6) && g.opaque == nil:
		distinct, order = "DISTINCT ON (o0) ", "o0"
		for i := range kindsOut[1:] {
			order += fmt.Sprintf(", o%d", i+1)
		}
		distinct = "DISTINCT ON (1) "
	}
	b.WriteString("SELECT " + distinct + strings.Join(targets, ", ") + " FROM " + from)
	if g.chance(55) {
		b.WriteString(" WHERE " + g.condition(all))
	}
	if order == "" && g.chance(35) && g.opaque == nil {
		order = fmt.Sprintf("%d%s", 1+g.IntN(len(kindsOut)), one(g, "", " DESC", " NULLS FIRST"))
		if distinct == "" && g.chance(40) {
			order = g.expr(kText, all)
		}
	}
	if order != "" {
		b.WriteString(" ORDER BY " + order)
	}
	if (g.chance(30) || want != nil && g.chance(50)) && g.opaque == nil {
		b.WriteString(fmt.Sprintf(" LIMIT %d", 1+g.IntN(20)))
		if g.chance(20) {
			b.WriteString(" OFFSET 2")
		}
	} else if outermost && distinct == "" && g.chance(6) && plain(in) {
		b.WriteString(one(g, " FOR UPDATE", " FOR SHARE", " FOR NO KEY UPDATE"))
	}
	return b.String()
}

// plain says whether rows of all of it can be locked.
func plain(s scope) bool {
	for _, src := range s {
		if src.table == nil || src.table.set == nil {
			return false
		}
	}
	return len(s) == 1
}

// stars are the ways to ask for everything.
func (g *generator) stars(in scope, from string) string {
	target := one(g, "*", in[0].alias+".*", in[0].alias, in[0].alias+".*, "+in[0].alias, "count(*), count("+in[0].alias+")")
	if g.chance(15) && in[0].table != nil {
		return "TABLE " + in[0].table.name
	}
	text := "SELECT " + target + " FROM " + from
	if g.chance(15) && in[0].table != nil {
		other := g.alias()
		text = "SELECT " + one(g, "*", other+".*", "row_to_json("+other+")") + " FROM " + in[0].table.name + " " + in[0].alias + one(g, " NATURAL JOIN ", " NATURAL LEFT JOIN ") + in[0].table.name + " " + other
		if g.chance(50) && in[0].refs[0].kind == kInt {
			text = "SELECT * FROM " + in[0].table.name + " " + in[0].alias + " JOIN " + in[0].table.name + " " + other + " USING (id)"
		}
		return text
	}
	if g.chance(40) {
		text += " WHERE " + g.condition(in)
	}
	return text
}

// grouped is a SELECT with aggregates.
func (g *generator) grouped(in, outer scope, from string, want []kind) string {
	var group []ref
	for range g.IntN(3) {
		if r, ok := g.column(kToken, in); ok && g.chance(60) {
			group = append(group, ref{r, kToken})
		} else if r, ok := g.anyColumn(in); ok && r.kind != kOther && r.kind != kJSON {
			group = append(group, r)
		}
	}
	var names, targets []string
	for _, r := range group {
		names = append(names, r.sql)
	}
	ks := want
	if want == nil {
		for range 1 + g.IntN(3) {
			ks = append(ks, g.outKind())
		}
	}
	for i, k := range ks {
		e := ""
		for _, r := range group {
			if r.kind == k && g.chance(60) {
				e = r.sql
			}
		}
		if e == "" {
			e = g.aggregate(k, in)
		}
		targets = append(targets, fmt.Sprintf("%s AS o%d", e, i))
	}
	text := "SELECT " + strings.Join(targets, ", ") + " FROM " + from
	if g.chance(40) {
		text += " WHERE " + g.condition(append(append(scope{}, in...), outer...))
	}
	if len(names) > 0 {
		list := strings.Join(names, ", ")
		text += " GROUP BY " + one(g, list, list, "ROLLUP ("+list+")", "CUBE ("+list+")", "GROUPING SETS (("+list+"), ())")
	}
	if g.chance(25) {
		text += " HAVING " + one(g, "count(*) > 1", "min("+g.expr(kText, in)+") > 'g'", "count(DISTINCT "+g.expr(kText, in)+") < 4")
	}
	if g.chance(50) {
		text += " ORDER BY 1"
	}
	return text
}

// aggregate is one of a kind.
func (g *generator) aggregate(k kind, in scope) string {
	filter := ""
	if g.chance(15) {
		filter = " FILTER (WHERE " + g.condition(in) + ")"
	}
	switch k {
	case kToken:
		return one(g, "count(DISTINCT "+g.expr(kToken, in)+")", "count("+g.expr(kToken, in)+")") + filter + "::text"
	case kInt:
		return one(g, "count(*)", "count("+g.expr(g.anyKind(), in)+")", "count(DISTINCT "+g.expr(kText, in)+")", "max(length("+g.expr(kText, in)+"))") + filter + "::int"
	case kNum:
		return one(g, "sum", "avg", "max", "min") + "(" + g.expr(kNum, in) + ")" + filter
	case kText:
		return one(g, "min("+g.expr(kText, in)+")", "max("+g.expr(kText, in)+")", "string_agg("+g.distinct()+g.expr(kText, in)+", ';')",
			"string_agg(DISTINCT "+g.expr(kText, in)+", ';')") + filter
	case kBool:
		return one(g, "bool_or", "bool_and", "every") + "(" + g.expr(kBool, in) + ")" + filter
	case kJSON:
		if g.opaque != nil {
			return "jsonb_agg(DISTINCT " + g.expr(kText, in) + ")"
		}
		return one(g, "jsonb_agg("+g.expr(kText, in)+")", g.objects(in), "to_jsonb(array_agg("+one(g, g.row(in), g.expr(kText, in))+"))")
	case kTexts:
		return "array_agg(" + g.distinct() + g.expr(kText, in) + ")" + filter
	case kDate, kTime, kGrade:
		return one(g, "min", "max") + "(" + g.expr(k, in) + ")" + filter
	}
	return g.literal(k)
}

// objects is an aggregate of which the last of equal keys counts.
func (g *generator) objects(in scope) string {
	k, v := "coalesce("+g.expr(kText, in)+", '-')", g.expr(kInt, in)
	return "jsonb_object_agg(" + k + ", " + v + " ORDER BY " + k + ", " + v + ")"
}

// windowed is a window function of a kind; "" where there is none.
func (g *generator) windowed(k kind, in scope) string {
	over := " OVER (" + one(g, "", "PARTITION BY "+g.expr(kText, in)+" ") + "ORDER BY " + g.expr(kText, in) + ", " + g.expr(kInt, in) + one(g, "", " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING") + ")"
	switch k {
	case kInt:
		return one(g, "row_number()", "rank()", "dense_rank()", "count("+g.expr(kText, in)+")") + over + "::int"
	case kText, kDate, kJSON:
		return one(g, "lag", "lead", "first_value", "last_value") + "(" + g.expr(k, in) + ")" + over
	case kNum:
		return one(g, "sum", "avg") + "(" + g.expr(kNum, in) + ")" + over
	}
	return ""
}

// withClause makes WITH queries, which the rest may read.
func (g *generator) withClause() string {
	var list []string
	recursive := ""
	for range 1 + g.IntN(2) {
		c := source{alias: g.alias()}
		if g.chance(20) {
			recursive = "RECURSIVE "
			c.refs = []ref{{"n", kInt}, {"w", kText}}
			list = append(list, fmt.Sprintf("%s(n, w) AS (SELECT id, %s FROM customers WHERE id < 5 UNION ALL SELECT n + 1, w || 'z' FROM %s WHERE n < 8)", c.alias, g.readable("email", "name", "phone"), c.alias))
		} else {
			var k []kind
			for range 1 + g.IntN(3) {
				k = append(k, g.outKind())
			}
			list = append(list, c.alias+" AS "+one(g, "", "MATERIALIZED ", "NOT MATERIALIZED ")+"("+g.query(nil, k)+")")
			for i, one := range k {
				c.refs = append(c.refs, ref{fmt.Sprintf("o%d", i), one})
			}
		}
		g.with = append(g.with, c)
	}
	return "WITH " + recursive + strings.Join(list, ", ") + " "
}

// setOperation joins queries of the same columns.
func (g *generator) setOperation() string {
	var k []kind
	for range 1 + g.IntN(3) {
		k = append(k, one(g, kText, kText, kInt, kDate, kNum, kGrade))
		if g.opaque != nil && g.chance(40) {
			k[len(k)-1] = kToken
		}
	}
	arm := func() string { return "(" + g.query(nil, k) + ")" }
	text := arm()
	for range 1 + g.IntN(2) {
		text += " " + one(g, "UNION", "UNION ALL", "EXCEPT", "INTERSECT") + " " + arm()
	}
	if g.chance(40) {
		text += " ORDER BY 1"
	}
	return text
}

// probe asks whether a value that the first database has is there.
func (g *generator) probe() string {
	g.probing = true
	p := g.known[g.IntN(len(g.known))]
	name, column, _ := strings.Cut(strings.Replace(p.column, " (left out)", "", 1), ".")
	if name == "hr" {
		name, column, _ = strings.Cut(p.column[3:], ".")
		name = "hr." + name
	}
	value := "'" + p.text + "'"
	t := one(g, name, name, "contacts", "spending", "regulars", "tickets")
	column = map[string]string{"contacts": "reach", "spending": "card", "regulars": "reach", "tickets": "customer"}[t] + map[bool]string{true: column}[t == name]
	c := "p." + column + "::text"
	cond := g.either(
		func() string { return c + " = " + value },
		func() string { return c + " LIKE '" + p.text[:4] + "%'" },
		func() string { return c + " > '" + p.text[:2] + "'" },
		func() string { return "strpos(" + c + ", '" + p.text[1:4] + "') > 0" },
		func() string { return "md5(" + c + ") = md5(" + value + ")" },
		func() string { return c + " IN (SELECT " + value + ")" },
		func() string { return c + " ~ '" + p.text[2:4] + "'" },
		func() string { return "to_jsonb(p)::text LIKE '%" + p.text[:5] + "%'" },
		func() string { return "p::text LIKE '%" + p.text[2:6] + "%'" },
		func() string { return "length(" + c + ") = " + fmt.Sprint(len(p.text)) },
	)
	if strings.HasPrefix(p.column, "staff.note") || strings.HasPrefix(p.column, "staff.pin") || strings.HasSuffix(p.column, ".remark") || strings.HasSuffix(p.column, ".reviewer") {
		cond = strings.ReplaceAll(cond, c, "p::text")
	}
	return g.either(
		func() string { return "SELECT count(*) FROM " + t + " p WHERE " + cond },
		func() string { return "SELECT p.id FROM " + t + " p WHERE " + cond + " ORDER BY 1" },
		func() string { return "SELECT bool_or(" + cond + ") FROM " + t + " p" },
		func() string {
			return "SELECT id, CASE WHEN " + cond + " THEN 1 ELSE 0 END FROM " + t + " p ORDER BY id"
		},
		func() string { return "SELECT 1 FROM " + t + " p WHERE " + cond + " AND 1 / (p.id - 3) > 0" },
		func() string { return "SELECT id FROM " + t + " p ORDER BY " + cond + ", id" },
		func() string {
			return "SELECT count(*) FROM products x JOIN " + t + " p ON x.id = p.id AND " + cond
		},
	)
}

// hiddenColumn names what is not there for the agent.
func (g *generator) hiddenColumn() string {
	h := one(g, hidden...)
	schema, rest, _ := strings.Cut(h, ".")
	name, column, _ := strings.Cut(rest, ".")
	return fmt.Sprintf(one(g, "SELECT %[3]s FROM %[1]s.%[2]s", "SELECT id FROM %[1]s.%[2]s WHERE %[3]s IS NULL", "SELECT (t).%[3]s FROM %[1]s.%[2]s t", "SELECT count(*) FROM %[1]s.%[2]s ORDER BY max(%[3]s::text)",
		"SELECT to_jsonb(t) -> '%[3]s' FROM %[1]s.%[2]s t", "SELECT t.* FROM %[1]s.%[2]s t", "SELECT count(*) FROM %[1]s.%[2]s GROUP BY %[3]s"), schema, name, column)
}
