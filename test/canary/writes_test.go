package canary

import (
	"fmt"
	"strings"
)

// own are the columns of a written table that a statement may read.
func own(t *table) scope {
	labelled := map[string]string{
		"customers": "email national_id phone birth_date profile", "staff": "mail salary judged address phones shifts badge photo home_ip born initials nick key passed mobile",
		"events": "who detail amount", "events_late": "who detail amount", "vehicles": "owner plate", "lorries": "owner plate", "tickets": "customer shouted", "hr.reviews": "body score",
	}
	src := source{alias: t.name, table: t}
	for _, c := range t.columns {
		if !strings.Contains(" "+labelled[t.name]+" ", " "+c.name+" ") {
			src.refs = append(src.refs, ref{"w." + c.name, c.kind})
		}
	}
	src.alias = "w"
	return scope{src}
}

// returning is what a write gives back.
func (g *generator) returning(t *table, in scope) string {
	if g.chance(25) {
		return ""
	}
	var list []string
	for range 1 + g.IntN(3) {
		list = append(list, g.either(
			func() string { return "w." + one(g, t.columns...).name },
			func() string { return "w." + one(g, t.columns...).name },
			func() string { return g.expr(g.anyKind(), in) },
			func() string { return g.scalar(kText, nil) },
		))
	}
	return " RETURNING " + one(g, "*", "w.*", strings.Join(list, ", "), strings.Join(list, ", "))
}

// tame leaves whole rows of a written table out: they are read as they are.
func tame(s scope) scope {
	out := append(scope{}, s...)
	for i := range out {
		out[i].alias = "1"
	}
	return out
}

func (g *generator) target() *table {
	for {
		if t := one(g, written...); t.insert != "" {
			return &t
		}
	}
}

func (g *generator) insert() string {
	t := g.target()
	columns, values, _ := strings.Cut(t.insert, "|")
	var source string
	id := 2000 + g.IntN(1000)
	switch {
	case g.chance(50):
		source = "VALUES (" + fmt.Sprintf(values, id, g.literal(kText)) + ")"
		if g.chance(40) {
			source += ", (" + fmt.Sprintf(values, one(g, id+1, 1+g.IntN(20)), "'b'") + ")"
		}
	default:
		from := "SELECT " + one(g, "c.email", "upper(c.phone)", "c::text", "c.name") + " AS o0 FROM customers c ORDER BY id"
		if g.chance(60) {
			from = g.query(nil, []kind{kText})
		}
		source = "SELECT " + fmt.Sprintf(values, id, "coalesce(q.o0, '-')") + " FROM (" + from + ") q LIMIT 1"
	}
	text := "INSERT INTO " + t.name + " AS w (" + columns + ") " + source
	if g.chance(30) && t.name != "events" && t.name != "lorries" {
		text += " ON CONFLICT (id) DO " + one(g, "NOTHING", "UPDATE SET "+t.set[0].name+" = "+g.assigned(t.set[0], own(t)), "UPDATE SET "+t.set[0].name+" = excluded."+t.set[0].name)
	}
	return text + g.returning(t, tame(own(t)))
}

func (g *generator) assigned(c col, in scope) string {
	if g.chance(15) {
		return g.scalar(c.kind, nil)
	}
	return g.expr(c.kind, tame(in))
}

func (g *generator) update() string {
	t := one(g, written...)
	in := own(&t)
	var sets []string
	c := one(g, t.set...)
	from := ""
	wide := in
	if g.chance(35) {
		other := g.named(find(one(g, "products", "customers", "contacts", "staff", "orders")))
		from = " FROM " + other.from(other.table)
		wide = append(wide, other)
	}
	sets = append(sets, c.name+" = "+g.assigned(c, wide))
	if g.chance(25) {
		if d := one(g, t.set...); d.name != c.name {
			sets = append(sets, d.name+" = "+g.assigned(d, in))
		}
	}
	where := fmt.Sprintf(" WHERE w.%s < %d", t.key, 3+g.IntN(8))
	if g.chance(60) {
		where += " AND " + g.condition(tame(wide))
	}
	if from != "" {
		where += " AND " + wide[1].alias + ".id = w.id"
	}
	return "UPDATE " + one(g, "", "", "", "ONLY ") + t.name + " AS w SET " + strings.Join(sets, ", ") + from + where + g.returning(&t, tame(wide))
}

func (g *generator) delete() string {
	t := one(g, written...)
	in := own(&t)
	using := ""
	if g.chance(35) {
		other := g.named(find(one(g, "products", "customers", "contacts", "staff")))
		using = " USING " + other.from(other.table)
		in = append(in, other)
	}
	where := fmt.Sprintf(" WHERE w.%s < %d", t.key, 2+g.IntN(8))
	if using != "" {
		where += " AND " + in[1].alias + ".id = w.id"
	}
	if g.chance(60) {
		where += " AND " + g.condition(tame(in))
	}
	return "DELETE FROM " + t.name + " AS w" + using + where + g.returning(&t, tame(in))
}

func (g *generator) writingCTE() string {
	w := one(g, g.insert, g.update, g.delete)()
	if before, _, ok := strings.Cut(w, " RETURNING "); ok {
		w = before
	}
	return "WITH d AS (" + w + " RETURNING w.id AS k) SELECT d.k, c.email, " + g.expr(kText, scope{{alias: "c", refs: []ref{{"c.email", kText}, {"c.name", kText}, {"c.phone", kText}}}}) +
		" FROM d LEFT JOIN customers c ON c.id = d.k"
}

// transaction is several statements, some of which fail.
func (g *generator) transaction() []string {
	out := []string{one(g, "BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION", "BEGIN READ ONLY")}
	for range 2 + g.IntN(3) {
		switch g.IntN(6) {
		case 0:
			out = append(out, "SAVEPOINT s", g.update(), "ROLLBACK TO s", g.query(nil, nil))
		case 1:
			g.calm = false
			out = append(out, "SAVEPOINT s", g.query(nil, nil), "ROLLBACK TO SAVEPOINT s", "RELEASE s")
			g.calm = true
		case 2:
			out = append(out, one(g, g.insert, g.update, g.delete)())
		default:
			out = append(out, g.query(nil, nil))
		}
		g.with = nil
	}
	return append(out, one(g, "ROLLBACK", "ROLLBACK", "ABORT"))
}

// copies puts what can be read where nothing is labelled, and reads it there.
func (g *generator) copies() []string {
	out := []string{"BEGIN"}
	switch g.IntN(4) {
	case 0:
		out = append(out, "INSERT INTO scratch (a, n) "+g.query(nil, []kind{kText, kInt}))
	case 1:
		out = append(out, "INSERT INTO scratch (n, b, j) "+g.query(nil, []kind{kInt, kText, kJSON}))
	case 2:
		out = append(out, "INSERT INTO scratch (n, a) VALUES (1, 'x'), (2, 'y'), (3, 'z')",
			"UPDATE scratch SET a = c."+one(g, "email", "phone", "name")+", b = upper(c.national_id), d = c.birth_date FROM customers c WHERE c.id = scratch.n")
	default:
		out = append(out, "INSERT INTO scratch (d, l, a) "+g.query(nil, []kind{kDate, kTexts, kText}))
	}
	g.with = nil
	return append(out, "SELECT * FROM scratch", "SELECT a || b, upper(a), j::text FROM scratch ORDER BY 1", "ROLLBACK")
}

// temporary puts what can be read into a temporary table, does something to that, and reads it.
func (g *generator) temporary() []string {
	q := func() string { defer func() { g.with = nil }(); return g.query(nil, []kind{kText, kInt}) }
	out := []string{one(g, "BEGIN", "BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ")}
	name := one(g, "made", "made", "pg_temp.made", "products")
	switch g.IntN(5) {
	case 0:
		out = append(out, "CREATE TEMP TABLE "+name+" (a, n) AS "+q())
	case 1:
		out = append(out, "SELECT * INTO TEMP "+name+" FROM ("+q()+") AS x (a, n)")
	case 2:
		out = append(out, "CREATE TEMP TABLE "+name+" (a text UNIQUE, n int CHECK (n > -5)) ON COMMIT DROP", "INSERT INTO "+name+" "+q()+" ON CONFLICT DO NOTHING")
	case 3:
		out = append(out, "CREATE TEMP TABLE "+name+" (a text, n int)", "INSERT INTO "+name+" VALUES ('x', 1), ('y', 2)",
			"UPDATE "+name+" AS w SET a = upper(c."+one(g, "phone", "email", "national_id", "profile::text")+") FROM customers c WHERE c.id = w.n")
	default:
		out = append(out, "CREATE TEMP TABLE "+name+" (a, n) AS SELECT "+one(g, "email", "c::text", "national_id", "left(phone, 6)")+", id FROM customers c WHERE "+one(g, "true", "email > 'm'", "phone LIKE '%1%'"))
	}
	switch g.IntN(6) {
	case 0:
		out = append(out, "SAVEPOINT s", "DROP TABLE "+name, "ROLLBACK TO s")
	case 1:
		out = append(out, "CREATE "+one(g, "", "UNIQUE ")+"INDEX ON "+name+" (a)")
	case 2:
		out = append(out, "ANALYZE "+name)
	case 3:
		out = append(out, "CREATE TEMP TABLE again AS TABLE "+name, "SELECT * FROM again")
	}
	out = append(out, "SELECT * FROM "+name, one(g, "SELECT a || 'x', upper(a) FROM "+name+" ORDER BY 1", "COPY "+name+" TO STDOUT", "SELECT count(*), min(a), max(a) FROM "+name,
		"SELECT c.id, m.n FROM customers c JOIN "+name+" m ON m.a = c.email ORDER BY 1, 2", "UPDATE "+name+" SET a = a || a RETURNING *", "DELETE FROM "+name+" RETURNING a"))
	if g.chance(30) {
		out = append(out, "INSERT INTO scratch (a, n) SELECT a, n FROM "+name, "SELECT a, n FROM scratch ORDER BY a, n")
	}
	return append(out, one(g, "ROLLBACK", "ROLLBACK", "ABORT"))
}

// utility is what is no query: some of it is not built yet in a gateway, and refused.
func (g *generator) utility() []string {
	q := func() string { defer func() { g.with = nil }(); return g.query(nil, nil) }
	switch g.IntN(9) {
	case 0:
		return []string{"COPY (" + q() + ") TO STDOUT" + one(g, "", " WITH (FORMAT csv, HEADER)", " WITH (FORMAT binary)")}
	case 1:
		return []string{"COPY " + one(g, "customers", "staff", "products", "orders (id, status)", "customers (id, email)") + " TO STDOUT"}
	case 2:
		return []string{"BEGIN", "DECLARE cur " + one(g, "", "SCROLL ", "INSENSITIVE ") + "CURSOR FOR " + q(), "FETCH 3 FROM cur", "FETCH ALL FROM cur", "CLOSE cur", "ROLLBACK"}
	case 3:
		return []string{"PREPARE ps AS " + q(), "EXECUTE ps", "DEALLOCATE ps"}
	case 4:
		return []string{"SET TIME ZONE '" + one(g, "UTC", "Europe/Paris") + "'", q(), "RESET timezone"}
	case 5:
		return []string{"SHOW " + one(g, "server_version", "timezone", "search_path", "is_superuser"), "SELECT 1"}
	case 6:
		return []string{"EXPLAIN " + one(g, "", "(ANALYZE, TIMING OFF, SUMMARY OFF) ", "VERBOSE ") + q()}
	case 7:
		return []string{"BEGIN", "MERGE INTO products w USING customers c ON w.id = c.id WHEN MATCHED AND c.email > 'm' THEN UPDATE SET name = c.email WHEN NOT MATCHED THEN DO NOTHING", "SELECT id, name FROM products ORDER BY id", "ROLLBACK"}
	}
	return []string{"BEGIN", "SET LOCAL statement_timeout = 3000", q(), q(), "COMMIT"}
}
