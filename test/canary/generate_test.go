package canary

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// kind is a type as far as the generator tells them apart.
type kind int

const (
	kInt kind = iota
	kNum
	kText
	kBool
	kDate
	kTime
	kJSON
	kTexts
	kGrade
	kRange
	kOther // uuid, bytea, inet, composite: what few functions take
	kToken // a pseudonym, where statements are compared up to these
	kinds
)

type col struct {
	name string
	kind kind
}

type table struct {
	name    string
	columns []col
	// The rest is for writes.
	key     string
	set     []col // columns that may be assigned freely
	insert  string
	system  bool // its system columns can be read
	partial bool // some of its columns are hidden: a view or whole row of it is another matter
}

func cols(s string) []col {
	names := map[string]kind{"i": kInt, "n": kNum, "t": kText, "b": kBool, "d": kDate, "s": kTime, "j": kJSON, "l": kTexts, "g": kGrade, "r": kRange, "o": kOther}
	var out []col
	for _, f := range strings.Fields(s) {
		name, k, _ := strings.Cut(f, ":")
		out = append(out, col{name, names[k]})
	}
	return out
}

var tables = []table{
	{name: "products", columns: cols("id:i name:t price:n"), key: "id", set: cols("name:t price:n"), insert: "id, name, price|%d, %s, 5"},
	{name: "customers", columns: cols("id:i name:t email:t national_id:t phone:t birth_date:d tier:t profile:j created_at:s"), key: "id", set: cols("name:t phone:t birth_date:d tier:t profile:j"),
		insert: "id, name, email, national_id, tier, created_at|%d, %s, 'new' || %[1]d || '@new', 'n', 'gold', '2024-01-01'", system: true},
	{name: "orders", columns: cols("id:i customer_id:i product_id:i quantity:i total:n status:t created_at:s"), key: "id", set: cols("status:t total:n created_at:s"),
		insert: "id, customer_id, product_id, quantity, total, status, created_at|%d, 1, 1, 2, 10, %s, '2024-01-01'", system: true},
	{name: "payments", columns: cols("id:i order_id:i method:t amount:n paid_at:s"), key: "id", set: cols("method:t amount:n"), insert: "id, order_id, method, amount, paid_at|%d, 1, %s, 10, '2024-01-01'"},
	{name: "staff", columns: cols("id:i login:t rank:i level:g skills:l window_:r boss:i extra:j mail:t salary:n judged:g address:o phones:l shifts:r badge:o photo:o home_ip:o born:s initials:t nick:t key:t passed:b mobile:t"),
		key: "id", set: cols("login:t level:g skills:l window_:r extra:j salary:n phones:l passed:b nick:t key:t"), insert: "id, login, rank, level, skills, window_|%d, %s, 5, 'low', '{go}', '[1,2)'", system: true, partial: true},
	{name: "events", columns: cols("day:d id:i kind:g hits:i who:t detail:j amount:n"), key: "id", set: cols("hits:i who:t detail:j kind:g"), insert: "day, id, kind, hits, who|'2024-03-03', %d, 'low', 1, %s", partial: true},
	{name: "events_late", columns: cols("day:d id:i kind:g hits:i who:t detail:j amount:n"), key: "id", set: cols("hits:i who:t"), partial: true},
	{name: "vehicles", columns: cols("id:i wheels:i colour:t owner:t plate:t"), key: "id", set: cols("wheels:i colour:t owner:t"), insert: "id, wheels, colour|%d, 4, %s"},
	{name: "lorries", columns: cols("id:i wheels:i colour:t owner:t plate:t load_kg:i"), key: "id", set: cols("load_kg:i colour:t"), insert: "id, wheels, colour, load_kg|%d, 4, %s, 3"},
	{name: "tickets", columns: cols("id:i customer:t order_id:i subject:t shouted:t"), key: "id", set: cols("subject:t"), insert: "id, subject|%d, %s"},
	{name: "hr.reviews", columns: cols("id:i staff_id:i year:i body:t score:i"), key: "id", set: cols("year:i body:t"), insert: "id, staff_id, year, body|%d, 1, 2024, %s", partial: true},
	{name: "contacts", columns: cols("id:i name:t reach:t phone:t tier:t")},
	{name: "spending", columns: cols("id:i name:t card:t orders:i total:n")},
	{name: "regulars", columns: cols("id:i reach:t birth_date:d tier:t")},
}

var written = tables[:11]

// ref is a column that can be referred to.
type ref struct {
	sql  string
	kind kind
}

// source is one thing in FROM.
type source struct {
	alias string
	table *table // nil for a sub-select, function or CTE
	refs  []ref
}

type scope []source

// generator makes one script. The same seed and number make the same one.
type generator struct {
	*rand.Rand
	manner
	values  []string
	params  bool // literals become parameters
	probing bool // a literal is a value that the first database has under a label
	aliases int
	depth   int
	calm    bool   // nothing that may raise an error
	what    string // the kind of script
	with    []source
}

// script is what one number stands for.
type script struct {
	what  string
	steps []step
	form  form
	probe bool
}

// manner is what a test asks for.
type manner struct {
	known   []planted       // values that a statement may probe for
	reading bool            // nothing is written but temporary tables
	seldom  map[string]bool // tables that are refused, and so named seldom
	opaque  map[string]bool // columns that are pseudonyms, of which nothing is done that depends on how they are spelled
	tokens  int             // how many pseudonyms there are
}

func generate(seed uint64, n int, how manner) script {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, uint64(n))), calm: true, manner: how}
	f := form(n % int(forms))
	texts := g.script(f != simple)
	s := script{what: g.what, form: f, probe: g.probing}
	for _, text := range texts {
		s.steps = append(s.steps, g.bind(text))
	}
	return s
}

// bind numbers the parameters anew: some that were made are in no text.
func (g *generator) bind(text string) step {
	var values []string
	given := map[string]string{}
	text = parameter.ReplaceAllStringFunc(text, func(p string) string {
		if given[p] == "" {
			var n int
			fmt.Sscan(p[1:], &n)
			values = append(values, g.values[n-1])
			given[p] = fmt.Sprintf("$%d", len(values))
		}
		return given[p]
	})
	return step{text, values}
}

// chance is true n times of a hundred.
func (g *generator) chance(n int) bool { return g.IntN(100) < n }

func one[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// either calls one of the functions.
func (g *generator) either(list ...func() string) string { return one(g, list...)() }

func (g *generator) alias() string {
	g.aliases++
	return fmt.Sprintf("a%d", g.aliases)
}

// script chooses what a number stands for.
func (g *generator) script(extended bool) []string {
	reading := func(what string, f func() string) []string {
		g.what = what
		g.params = extended && g.chance(30)
		return []string{f()}
	}
	writing := func(what string, f func() string) []string {
		g.what = what
		g.params = extended && g.chance(30)
		text := f()
		return []string{"BEGIN", text, "ROLLBACK"}
	}
	n := g.IntN(100)
	if g.opaque != nil || g.reading && n >= 69 && n < 92 {
		n = g.IntN(58)
	}
	switch {
	case n < 52:
		return reading("select", func() string { return g.query(nil, nil) })
	case n < 58:
		return reading("set operation", func() string { return g.setOperation() })
	case n < 63:
		return reading("probe", g.probe)
	case n < 69:
		g.calm = false
		return reading("error", func() string { return g.query(nil, nil) })
	case n < 75:
		return writing("insert", g.insert)
	case n < 81:
		return writing("update", g.update)
	case n < 86:
		return writing("delete", g.delete)
	case n < 88:
		return writing("writing CTE", g.writingCTE)
	case n < 92:
		g.what = "transaction"
		return g.transaction()
	case n < 94:
		g.what = "copies"
		return g.copies()
	case n < 96:
		g.what = "temporary"
		return g.temporary()
	case n < 99:
		g.what = "utility"
		return g.utility()
	}
	return reading("hidden", g.hiddenColumn)
}

// literal writes a value of a kind.
func (g *generator) literal(k kind) string {
	v, typ := "", ""
	switch k {
	case kInt:
		v, typ = fmt.Sprint(g.IntN(60)), "int"
	case kNum:
		v, typ = fmt.Sprintf("%d.%02d", g.IntN(500), g.IntN(100)), "numeric"
	case kText:
		v, typ = one(g, "Ada Adams", "gold", "standard", "a", "%o%", "***", "paid", "open", "card", "lamp 3", "red", "late", "x@y"), "text"
		if g.chance(6) {
			g.probing = true
			v = g.known[g.IntN(len(g.known))].text
		}
	case kBool:
		return one(g, "true", "false", "NULL::bool")
	case kDate:
		v, typ = fmt.Sprintf("2024-%02d-%02d", 1+g.IntN(12), 1+g.IntN(28)), "date"
	case kTime:
		v, typ = fmt.Sprintf("2024-%02d-%02d 12:00:00+00", 1+g.IntN(12), 1+g.IntN(28)), "timestamptz"
	case kJSON:
		v, typ = one(g, `{"floor": 3}`, `[1, 2]`, `"a"`, `{"mail": "x"}`), "jsonb"
	case kTexts:
		v, typ = one(g, "{go,c}", "{}", "{a,b,c}"), "text[]"
	case kGrade:
		return "'" + one(g, "low", "middle", "high", "top") + "'::grade"
	case kRange:
		v, typ = one(g, "[1,9)", "empty", "[20,)"), "int4range"
	case kToken:
		return g.pseudonym()
	default:
		return one(g, "'10.0.0.1'::inet", `'\x00ff'::bytea`, "'00000000-0000-0000-0000-00000000000a'::uuid")
	}
	if g.params && !strings.Contains(v, "$") {
		g.values = append(g.values, v)
		return fmt.Sprintf("$%d::%s", len(g.values), typ)
	}
	if k == kInt || k == kNum {
		return v
	}
	return "'" + v + "'::" + typ
}

// column is a reference of the kind; false where nothing in scope has it.
func (g *generator) column(k kind, s scope) (string, bool) {
	var found []string
	for _, src := range s {
		for _, r := range src.refs {
			if r.kind == k {
				found = append(found, r.sql)
			}
		}
	}
	if len(found) == 0 {
		return "", false
	}
	return one(g, found...), true
}

func (g *generator) anyColumn(s scope) (ref, bool) {
	var found []ref
	for _, src := range s {
		for _, r := range src.refs {
			if r.kind != kToken && (r.kind != kOther || g.opaque == nil) {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		return ref{}, false
	}
	return one(g, found...), true
}

// outKind is a kind of an output column: a pseudonym too, which is not spelled there.
func (g *generator) outKind() kind {
	if g.opaque != nil && g.chance(30) {
		return kToken
	}
	return g.anyKind()
}

func (g *generator) anyKind() kind {
	return one(g, kText, kText, kText, kText, kInt, kInt, kNum, kBool, kDate, kTime, kJSON, kTexts, kGrade, kRange)
}

// expr is an expression of a kind.
func (g *generator) expr(k kind, s scope) string {
	g.depth++
	defer func() { g.depth-- }()
	if c, ok := g.column(k, s); ok && (g.depth > 4 || g.chance(45)) {
		return c
	}
	if g.depth > 4 || g.chance(12) {
		return g.literal(k)
	}
	if g.chance(8) {
		return g.either(
			func() string {
				return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", g.expr(kBool, s), g.expr(k, s), g.expr(k, s))
			},
			func() string { return fmt.Sprintf("coalesce(%s, %s)", g.expr(k, s), g.expr(k, s)) },
			func() string { return fmt.Sprintf("nullif(%s, %s)", g.expr(k, s), g.expr(k, s)) },
			func() string { return fmt.Sprintf("(SELECT %s %s LIMIT 1)", g.expr(k, nil), "") },
			func() string { return g.scalar(k, s) },
		)
	}
	e := func(k kind) string { return g.expr(k, s) }
	switch k {
	case kToken:
		return g.ofTokens(s)
	case kInt:
		return g.either(
			func() string { return "length(" + e(kText) + ")" },
			func() string { return "strpos(" + e(kText) + ", " + e(kText) + ")" },
			func() string { return "(" + e(kInt) + " " + one(g, "+", "-") + " " + fmt.Sprint(g.IntN(9)) + ")" },
			func() string { return "(" + e(kInt) + " % " + fmt.Sprint(2+g.IntN(9)) + ")" },
			func() string { return "cardinality(" + e(kTexts) + ")" },
			func() string { return "extract(" + one(g, "year", "month", "dow") + " FROM " + e(kDate) + ")::int" },
			func() string { return "ascii(" + e(kText) + ")" },
			func() string { return "abs(" + e(kInt) + ")" },
			func() string { return one(g, "greatest", "least") + "(" + e(kInt) + ", " + e(kInt) + ")" },
			func() string { return "lower(" + e(kRange) + ")" },
			func() string { return "octet_length(" + e(kText) + ")" },
			func() string { return "(" + e(kBool) + ")::int" },
			func() string { return "num_nulls(" + e(kText) + ", " + e(kInt) + ")" },
		)
	case kNum:
		return g.either(
			func() string { return e(kInt) + "::numeric" },
			func() string { return "round(" + e(kNum) + ", 1)" },
			func() string { return "(" + e(kNum) + " " + one(g, "+", "-", "*") + " 2.5)" },
			func() string { return "extract(epoch FROM " + e(kTime) + ")" },
			func() string { return "(" + e(kNum) + " / nullif(" + e(kInt) + ", 0))" },
			func() string { return "floor(" + e(kNum) + ")" },
		)
	case kText:
		return g.text(s)
	case kBool:
		return g.condition(s)
	case kDate:
		return g.either(
			func() string { return "(" + e(kDate) + " + " + fmt.Sprint(g.IntN(40)) + ")" },
			func() string {
				return "date_trunc('" + one(g, "month", "year", "week") + "', " + e(kTime) + ")::date"
			},
			func() string { return e(kTime) + "::date" },
		)
	case kTime:
		return g.either(
			func() string { return "(" + e(kTime) + " + interval '" + fmt.Sprint(g.IntN(9)) + " days')" },
			func() string { return e(kDate) + "::timestamptz" },
			func() string { return "date_trunc('day', " + e(kTime) + ")" },
			func() string { return "(" + e(kTime) + " AT TIME ZONE 'UTC')::timestamptz" },
		)
	case kJSON:
		return g.either(
			func() string { return "to_jsonb(" + e(g.anyKind()) + ")" },
			func() string {
				return "jsonb_build_object('k', " + e(g.anyKind()) + ", 'v', " + e(g.anyKind()) + ")"
			},
			func() string { return "jsonb_build_array(" + e(kText) + ", " + e(kInt) + ")" },
			func() string {
				if r := g.row(s); r != "" {
					return "to_jsonb(" + r + ")"
				}
				return "to_jsonb(" + e(kText) + ")"
			},
			func() string { return "(" + e(kJSON) + " -> '" + one(g, "mail", "floor", "k") + "')" },
			func() string { return "jsonb_strip_nulls(" + e(kJSON) + ")" },
		)
	case kTexts:
		return g.either(
			func() string { return "ARRAY[" + e(kText) + ", " + e(kText) + "]" },
			func() string { return "string_to_array(" + e(kText) + ", '@')" },
			func() string { return "array_append(" + e(kTexts) + ", " + e(kText) + ")" },
			func() string { return "array_remove(" + e(kTexts) + ", " + e(kText) + ")" },
			func() string { return "(" + e(kTexts) + " || " + e(kTexts) + ")" },
			func() string { return "regexp_split_to_array(" + e(kText) + ", 'z')" },
		)
	case kGrade:
		return g.either(
			func() string { return one(g, "greatest", "least") + "(" + e(kGrade) + ", " + e(kGrade) + ")" },
			func() string { return g.literal(kGrade) },
		)
	case kRange:
		return g.either(
			func() string { return "int4range(1, 1 + abs(" + e(kInt) + "))" },
			func() string { return "(" + e(kRange) + " * " + e(kRange) + ")" },
			func() string { return "range_merge(" + e(kRange) + ", " + e(kRange) + ")" },
		)
	}
	if c, ok := g.column(kOther, s); ok {
		return c
	}
	return g.literal(kOther)
}

// scalar is a sub-select that gives one value.
func (g *generator) scalar(k kind, outer scope) string {
	t := g.table()
	src := g.named(t)
	in := append(scope{src}, outer...)
	value := ""
	switch k {
	case kInt:
		value = one(g, "count(*)", "count(DISTINCT "+g.expr(kText, in)+")", "sum("+g.expr(kInt, scope{src})+")") + "::int"
	case kNum:
		value = one(g, "sum", "avg", "max") + "(" + g.expr(kNum, scope{src}) + ")"
	case kBool:
		value = one(g, "bool_or", "bool_and") + "(" + g.expr(kBool, scope{src}) + ")"
	case kJSON:
		value = "jsonb_agg(" + g.distinct() + g.expr(kText, scope{src}) + ")"
	case kTexts:
		value = "array_agg(" + g.distinct() + g.expr(kText, scope{src}) + " ORDER BY 1)"
		if g.opaque != nil {
			value = "array_agg(DISTINCT " + g.expr(kText, scope{src}) + ")"
		}
	case kText:
		value = one(g, "min", "max") + "(" + g.expr(kText, scope{src}) + ")"
		if g.chance(40) {
			value = "string_agg(" + g.expr(kText, scope{src}) + ", ',' ORDER BY " + g.expr(kText, scope{src}) + ")"
		}
	case kDate, kTime, kGrade:
		value = one(g, "min", "max") + "(" + g.expr(k, scope{src}) + ")"
	default:
		return g.literal(k)
	}
	where := ""
	if g.chance(60) {
		where = " WHERE " + g.condition(in)
	}
	return "(SELECT " + value + " FROM " + src.from(t) + where + ")"
}

func (g *generator) table() *table {
	for {
		if t := &tables[g.IntN(len(tables))]; !g.seldom[t.name] || g.chance(15) {
			return t
		}
	}
}

// row is the whole row of something in FROM; "" where there is none.
func (g *generator) row(s scope) string {
	var found []string
	for _, src := range s {
		found = append(found, src.alias)
	}
	if len(found) == 0 || g.opaque != nil {
		return ""
	}
	return one(g, found...)
}

// text is a text expression.
func (g *generator) text(s scope) string {
	e := func(k kind) string { return g.expr(k, s) }
	f := func(format string, kinds ...kind) func() string {
		return func() string {
			args := make([]any, len(kinds))
			for i, k := range kinds {
				args[i] = e(k)
			}
			return fmt.Sprintf(format, args...)
		}
	}
	return g.either(
		f("upper(%s)", kText), f("lower(%s)", kText), f("reverse(%s)", kText), f("md5(%s)", kText), f("initcap(%s)", kText),
		f("left(%s, 6)", kText), f("right(%s, 5)", kText), f("substr(%s, 2, 7)", kText), f("substring(%s FROM 3)", kText),
		f("replace(%s, 'z', 'Q')", kText), f("(%s || %s)", kText, kText), f("(%s || %s)", kText, kInt), f("lpad(%s, 12, '*')", kText), f("repeat(%s, 2)", kText),
		f("split_part(%s, '@', 1)", kText), f("translate(%s, 'ghjk', 'kjhg')", kText), f("concat(%s, %s, %s)", kText, kInt, kDate),
		f("concat_ws('-', %s, %s)", kText, kText), f("format('%%s:%%L', %s, %s)", kText, kText), f("encode(convert_to(%s, 'UTF8'), 'hex')", kText),
		f("encode(convert_to(%s, 'UTF8'), 'base64')", kText), f("quote_literal(%s)", kText), f("regexp_replace(%s, '[a-m]', '', 'g')", kText),
		f("overlay(%s placing 'Q' from 2)", kText), f("%s::text", kInt), f("%s::text", kNum), f("%s::text", kJSON), f("%s::text", kTexts), f("%s::text", kGrade),
		f("%s::text", kRange), f("%s::text", kTime), f("%s::varchar(9)", kText), f("to_char(%s, 'YYYY-MM')", kDate), f("to_char(%s, 'FM999990.0')", kNum),
		f("array_to_string(%s, '+')", kTexts), f("(%s ->> 'mail')", kJSON), f("(%s)[1]", kTexts), f("btrim(%s, 'g')", kText),
		f("trim(both 'x' from %s)", kText), f("%s COLLATE \"C\"", kText), f("chr(64 + abs(%s) %% 26)", kInt),
		f("pg_typeof(%s)::text", kText), f("jsonb_pretty(%s)", kJSON), f("host('10.0.0.7'::inet) || %s", kText), f("to_hex(%s)", kInt),
		f("to_tsvector('simple', %s)::text", kText), f("(xmlelement(name x, %s))::text", kText), f("sha256(convert_to(%s, 'UTF8'))::text", kText),
		func() string {
			if r := g.row(s); r != "" {
				return one(g, r+"::text", "row_to_json("+r+")::text", "to_jsonb("+r+")::text", "concat("+r+")", "("+r+" IS NOT NULL)::text")
			}
			return e(kText)
		},
		func() string {
			for _, src := range s { // what says where a row is, and which table it is of
				if src.table != nil && src.table.system && src.alias != "1" {
					return one(g, src.alias+".ctid::text", "("+src.alias+".tableoid = 0::oid)::text")
				}
			}
			return e(kText)
		},
		func() string {
			if r, ok := g.anyColumn(s); ok {
				return "to_json(" + r.sql + ")::text"
			}
			return e(kText)
		},
		func() string {
			if r, ok := g.column(kOther, s); ok && g.opaque == nil {
				return r + "::text"
			}
			return e(kText)
		},
		func() string {
			if r, ok := g.anyColumn(s); ok {
				return "concat('<', " + r.sql + ", '>')"
			}
			return e(kText)
		},
	)
}

// condition is a predicate.
func (g *generator) condition(s scope) string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 5 {
		return one(g, "true", "false")
	}
	e := func(k kind) string { return g.expr(k, s) }
	f := func(format string, kinds ...kind) func() string {
		return func() string {
			args := make([]any, len(kinds))
			for i, k := range kinds {
				args[i] = e(k)
			}
			return fmt.Sprintf(format, args...)
		}
	}
	if g.opaque != nil && g.chance(40) {
		return g.tokenCondition(s)
	}
	if !g.calm && g.chance(60) {
		return g.either(
			f("1 / (length(%s) - 3) > 0", kText), f("(%s)::int > 3", kText), f("(%s)::date > '2024-01-01'", kText), f("(%s)::jsonb IS NOT NULL", kText),
			f("(%s)::uuid IS NOT NULL", kText), f("(%s)::numeric > 1", kText), f("1 / (%s - 7) > 0", kInt), f("(%s)::grade > 'low'", kText), f("chr(%s - 9) = 'a'", kInt),
			f("to_date(%s, 'YYYY') > '2000-01-01'", kText), f("%s ~ %s", kText, kText), f("10 ^ (length(%s) * 200) > 0", kText), f("(%s)::inet IS NULL", kText),
			f("int4range(%s, %s) IS NULL", kInt, kInt), f("repeat(%s, 1000000000) = ''", kText), f("decode(%s, 'hex') IS NULL", kText), f("set_byte('\\x00', %s, 1) IS NULL", kInt),
			func() string { return "(SELECT id FROM customers WHERE " + e(kBool) + ") = 3" },
		)
	}
	return g.either(
		f("%s = %s", kText, kText), f("%s <> %s", kText, kText), f("%s < %s", kText, kText), f("%s LIKE %s", kText, kText), f("%s LIKE 'a%%'", kText),
		f("%s ILIKE '%%z%%'", kText), f("%s ~ '^[g-n]'", kText), f("%s IS NULL", kText), f("%s IS NOT NULL", kDate), f("%s IS DISTINCT FROM %s", kText, kText),
		f("%s = %s", kInt, kInt), f("%s < %s", kInt, kInt), f("%s BETWEEN %s AND %s", kInt, kInt, kInt), f("%s IN (%s, %s, 3)", kInt, kInt, kInt),
		f("%s >= %s", kNum, kNum), f("%s > %s", kDate, kDate), f("%s <= %s", kTime, kTime), f("%s = %s", kGrade, kGrade), f("%s > %s", kGrade, kGrade),
		f("%s @> %s", kJSON, kJSON), f("%s ? 'mail'", kJSON), f("%s && %s", kTexts, kTexts), f("%s = ANY (%s)", kText, kTexts), f("%s @> %s", kRange, kInt),
		f("%s && %s", kRange, kRange), f("starts_with(%s, %s)", kText, kText), f("NOT (%s)", kBool), f("(%s) IS TRUE", kBool),
		f("%s SIMILAR TO '%%(a|b)%%'", kText), f("%s IS NULL", kJSON), f("(%s, %s) = (%s, %s)", kText, kInt, kText, kInt), f("(%s, %s) > (%s, 2)", kInt, kInt, kInt),
		func() string { return "(" + g.condition(s) + " AND " + g.condition(s) + ")" },
		func() string { return "(" + g.condition(s) + " OR " + g.condition(s) + ")" },
		func() string {
			if c, ok := g.column(kBool, s); ok {
				return c
			}
			return "true"
		},
		func() string {
			t := g.table()
			src := g.named(t)
			return one(g, "", "NOT ") + "EXISTS (SELECT 1 FROM " + src.from(t) + " WHERE " + g.condition(append(scope{src}, s...)) + ")"
		},
		func() string {
			t := g.table()
			src := g.named(t)
			k := one(g, kInt, kText)
			c, ok := g.column(k, scope{src})
			if !ok {
				return "true"
			}
			return g.expr(k, s) + one(g, " IN", " NOT IN", " = ANY", " <> ALL") + " (SELECT " + c + " FROM " + src.from(t) + ")"
		},
		func() string {
			if r := g.row(s); r != "" {
				return r + one(g, " IS NOT NULL", " IS NULL", "::text LIKE '%z%'")
			}
			return "true"
		},
	)
}

// named gives a table an alias of its own.
func (g *generator) named(t *table) source {
	src := source{alias: g.alias(), table: t}
	for _, c := range t.columns {
		k := c.kind
		if g.opaque[t.name+"."+c.name] {
			k = kToken
		}
		src.refs = append(src.refs, ref{src.alias + "." + c.name, k})
	}
	return src
}

func (s source) from(t *table) string { return t.name + " " + s.alias }
