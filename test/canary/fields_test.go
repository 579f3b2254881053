package canary

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/cluster"
	"gatehouse/internal/demo/shop"
)

//go:embed testdata/tables.sql
var moreTables string

// labels are the data classes of the columns, as the gateway's configuration writes them.
const labels = `{
  public.customers: {email: pii.email, national_id: pii.national_id, phone: pii.phone, birth_date: pii.birth_date, profile: pii.profile},
  public.staff: {mail: pii.email, salary: pii.salary, judged: hr.grade, address: pii.address, phones: pii.phone, shifts: hr.shift,
    badge: hr.badge, photo: pii.photo, home_ip: pii.ip, born: pii.birth_date, initials: pii.name, nick: pii.name, key: secret,
    passed: hr.passed, mobile: pii.phone},
  public.events: {who: pii.name, detail: pii.detail, amount: hr.amount},
  public.vehicles: {owner: pii.name, plate: pii.national_id},
  hr.reviews: {body: hr.review, score: hr.score}}`

// hidden are the columns that no policy lets the agent read.
var hidden = []string{"public.staff.note", "public.staff.pin", "public.events.remark", "hr.reviews.reviewer"}

// How many rows the tables have.
const (
	nProducts, nCustomers, nOrders, nPayments = 20, 50, 90, 60
	nStaff, nEvents, nVehicles, nTickets      = 30, 60, 20, 30
)

// letters make canaries: no vowels, no hexadecimal digits, so that five in a row are nobody else's.
const letters = "ghjklmnpqrstvwxz"

// trait is what makes the twins of a test special.
type trait int

const (
	ordinary  trait = iota
	outsiders       // with rows that the filters of policies leave out
	alike           // the same values are NULL, and the same are equal: a pseudonym shows that
)

// twin is one of two databases that differ in labelled and hidden values, and filtered rows, alone.
type twin struct {
	name string
	salt uint64
	// planted are the canaries: what the value is of, and the value as text.
	planted []planted
	rows    map[string][][]string // by table: SQL literals
	filled  trait
	columns map[string]string
	order   []string
}

type planted struct{ column, text string }

// plant makes every row of a twin. What is labelled or hidden comes from the twin's own random source, with
// the same lengths in both; what a mask shows of it, and everything else, is the same.
func plant(name string, salt uint64, filled trait) *twin {
	t := &twin{name: name, salt: salt, rows: map[string][][]string{}, columns: map[string]string{}, filled: filled}
	b := salt == 2 && filled != alike
	own := rand.New(rand.NewPCG(salt, 77))
	same := rand.New(rand.NewPCG(5, 77))
	word := func(n int) string {
		w := make([]byte, n)
		for i := range w {
			w[i] = letters[own.IntN(len(letters))]
		}
		return string(w)
	}
	text := func(column, v string) string {
		t.planted = append(t.planted, planted{column, v})
		return "'" + v + "'"
	}
	// A mask that shows nothing does not show NULL either.
	gone := func(i int, v string) string {
		if k := i % 5; !b && k == 0 || b && k == 4 {
			return "NULL"
		}
		return v
	}
	mail := func(column string, i int) string {
		return text(column, letters[i%16:i%16+1]+word(11)+"@"+word(8))
	}
	add := func(table string, row ...string) {
		t.rows[table] = append(t.rows[table], row)
		if filled == outsiders && len(t.rows[table])%3 == 0 {
			if row := t.outsider(table, own, word, text); row != nil {
				t.rows[table] = append(t.rows[table], row)
			}
		}
	}
	table := func(name, columns string) { t.columns[name] = columns; t.order = append(t.order, name) }
	of := func(list ...string) string { return list[same.IntN(len(list))] }
	nouns := []string{"lamp", "chair", "table", "bowl", "shelf", "clock"}
	n := func(i int) string { return fmt.Sprint(i) }

	table("products", "id, name, price")
	for i := 1; i <= nProducts; i++ {
		add("products", n(i), "'"+of(nouns...)+" "+n(i)+"'", fmt.Sprintf("%d.%02d", 5+same.IntN(200), same.IntN(100)))
	}
	var emails []string
	table("customers", "id, name, email, national_id, phone, birth_date, tier, profile, created_at")
	for i := 1; i <= nCustomers; i++ {
		phone := "NULL"
		if i%7 != 0 {
			phone = text("customers.phone", word(10)+fmt.Sprintf("%04d", i))
		}
		emails = append(emails, mail("customers.email", i))
		add("customers", n(i), "'"+of("Ada", "Ben", "Cora", "Dan", "Eve")+" "+of("Adams", "Brook", "Cole")+"'", emails[i-1],
			text("customers.national_id", word(12)+fmt.Sprintf("%04d", i)), phone,
			gone(i, text("customers.birth_date", fmt.Sprintf("%d-%02d-%02d", 3000+own.IntN(2800), 1+own.IntN(12), 1+own.IntN(28)))),
			"'"+of("standard", "standard", "silver", "gold")+"'",
			gone(i, "'{\"mail\": "+strings.ReplaceAll(text("customers.profile", word(14)), "'", `"`)+"}'"),
			fmt.Sprintf("'2023-%02d-%02d 08:00+00'", 1+same.IntN(12), 1+same.IntN(28)))
	}
	table("orders", "id, customer_id, product_id, quantity, total, status, created_at")
	for i := 1; i <= nOrders; i++ {
		add("orders", n(i), n(1+same.IntN(nCustomers)), n(1+same.IntN(nProducts)), n(1+same.IntN(5)), n(10+same.IntN(900)),
			"'"+of("paid", "shipped", "open", "cancelled")+"'", fmt.Sprintf("'2024-%02d-%02d 09:00+00'", 1+same.IntN(12), 1+same.IntN(28)))
	}
	table("payments", "id, order_id, method, amount, paid_at")
	for i := 1; i <= nPayments; i++ {
		add("payments", n(i), n(1+same.IntN(nOrders)), "'"+of("card", "transfer")+"'", n(10+same.IntN(900)), "'2024-05-05 10:00+00'")
	}
	table("staff", "id, login, rank, level, skills, window_, boss, extra, mail, salary, judged, address, phones, shifts, badge, photo, home_ip, born, initials, nick, key, passed, mobile, note, pin")
	nick := ""
	for i := 1; i <= nStaff; i++ {
		boss := "NULL"
		if i > 3 {
			boss = n(1 + i/4)
		}
		if !b || i%2 == 1 { // in one of them some are equal
			nick = word(12)
		}
		hex := fmt.Sprintf("%016x%016x", own.Uint64(), own.Uint64())
		low := own.IntN(900000)
		add("staff", n(i), "'user"+n(i)+"'", n(same.IntN(1000)), "'"+of("low", "middle", "high", "top")+"'",
			"'{"+of("go", "sql", "ops")+","+of("c", "java")+"}'", fmt.Sprintf("'[%d,%d)'", i, i+1+same.IntN(20)), boss,
			fmt.Sprintf(`'{"floor": %d, "tags": ["%s"]}'`, same.IntN(9), of("a", "b")),
			mail("staff.mail", i),
			gone(i, text("staff.salary", fmt.Sprintf("%d", 100000000000+own.Int64N(800000000000)))),
			gone(i, "'"+[]string{"low", "middle", "high", "top"}[own.IntN(4)]+"'"),
			gone(i, "ROW("+text("staff.address", word(12))+","+text("staff.address", word(10))+")"),
			gone(i, "ARRAY["+text("staff.phones", word(11))+","+text("staff.phones", word(11))+"]"),
			gone(i, fmt.Sprintf("'[%d,%d)'", 1000000+low, 1000001+low+own.IntN(9))),
			gone(i, text("staff.badge", hex[:8]+"-"+hex[8:12]+"-"+hex[12:16]+"-"+hex[16:20]+"-"+hex[20:])),
			gone(i, "decode("+text("staff.photo", word(16))+",'escape')"),
			gone(i, text("staff.home_ip", fmt.Sprintf("%d.%d.%d.%d", 100+own.IntN(100), 100+own.IntN(100), 100+own.IntN(100), 100+own.IntN(100)))),
			gone(i, fmt.Sprintf("'%d-%02d-%02d %02d:%02d:%02d+00'", 3000+own.IntN(2800), 1+own.IntN(12), 1+own.IntN(28), own.IntN(24), own.IntN(60), own.IntN(60))),
			gone(i, text("staff.initials", word(8))),
			gone(i, text("staff.nick", nick)),
			gone(i, text("staff.key", word(20))),
			gone(i, fmt.Sprint(own.IntN(2) == 0)),
			text("staff.mobile", word(10)+fmt.Sprintf("%04d", i)),
			gone(i, text("staff.note", word(18))),
			gone(i, text("staff.pin", n(100000000+own.IntN(900000000)))))
	}
	table("events", "day, id, kind, hits, who, detail, amount, remark")
	for i := 1; i <= nEvents; i++ {
		add("events", fmt.Sprintf("'2024-%02d-%02d'", 1+same.IntN(12), 1+same.IntN(28)), n(i), "'"+of("low", "middle", "high")+"'", n(same.IntN(50)),
			gone(i, text("events.who", word(12))), gone(i, "'["+strings.ReplaceAll(text("events.detail", word(12)), "'", `"`)+"]'"),
			gone(i, text("events.amount", n(1000000000000+int(own.Int64N(8000000000000))))), gone(i, text("events.remark", word(12))))
	}
	for _, name := range []string{"vehicles", "lorries"} {
		table(name, map[string]string{"vehicles": "id, wheels, colour, owner, plate", "lorries": "id, wheels, colour, owner, plate, load_kg"}[name])
		for i := 1; i <= nVehicles/2; i++ {
			id := i
			if name == "lorries" {
				id += 100
			}
			row := []string{n(id), n(2 + same.IntN(4)), "'" + of("red", "blue", "green") + "'", gone(i, text(name+".owner", word(12))), text(name+".plate", word(9)+fmt.Sprintf("%04d", id))}
			if name == "lorries" {
				row = append(row, n(same.IntN(40)*100))
			}
			add(name, row...)
		}
	}
	table("tickets", "id, customer, order_id, subject")
	for i := 1; i <= nTickets; i++ {
		customer := "NULL"
		if i%6 != 0 {
			customer = emails[(i*7)%nCustomers]
		}
		add("tickets", n(i), customer, n(1+same.IntN(nOrders)), "'"+of("late", "broken", "wrong colour")+"'")
	}
	table("hr.reviews", "id, staff_id, year, body, score, reviewer")
	for i := 1; i <= nStaff; i++ {
		add("hr.reviews", n(i), n(i), n(2020+same.IntN(4)), gone(i, text("hr.reviews.body", word(16))), gone(i, n(own.IntN(10))), text("hr.reviews.reviewer", word(12)))
	}
	return t
}

// load makes two empty databases, the second a copy of the first with the same object identities, and fills
// them in the same order. Statistics stay as they are made: what the planner thinks of a table's values must
// not decide the order of rows.
func load(ctx context.Context, c *cluster.Cluster, password string, twins ...*twin) error {
	admin, err := pgx.Connect(ctx, c.AdminURL("postgres"))
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	for _, text := range []string{"CREATE DATABASE seedbed", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", shop.Role, password)} {
		if _, err := admin.Exec(ctx, text); err != nil {
			return err
		}
	}
	if err := execAll(ctx, c, "seedbed", shop.Tables(), moreTables,
		"GRANT USAGE ON SCHEMA hr TO "+shop.Role,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, hr TO "+shop.Role); err != nil {
		return err
	}
	for _, t := range twins {
		if _, err := admin.Exec(ctx, "CREATE DATABASE "+t.name+" TEMPLATE seedbed STRATEGY file_copy"); err != nil {
			return err
		}
		var texts []string
		for _, table := range t.order {
			var rows []string
			for _, r := range t.rows[table] {
				rows = append(rows, "("+strings.Join(r, ", ")+")")
			}
			texts = append(texts, fmt.Sprintf("INSERT INTO %s (%s) VALUES %s", table, t.columns[table], strings.Join(rows, ", ")))
		}
		if err := execAll(ctx, c, t.name, append(texts, "REFRESH MATERIALIZED VIEW regulars")...); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// tidy removes what rolled back writes left in the tables. A NULL is shorter than a value, so that tables which differ
// in labelled values grow to different sizes, and with them the planner's choices: rows then come in another order
// where none is asked for. That limit is known (docs/security.md), and not what is looked for here.
func tidy(databases ...string) error {
	for _, name := range databases {
		if err := execAll(context.Background(), server, name, "VACUUM "+strings.Join(vacuumed, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// vacuumed are the tables that statements write.
var vacuumed = []string{"products", "customers", "orders", "payments", "staff", "events", "vehicles", "lorries", "tickets", "scratch", "hr.reviews"}

func execAll(ctx context.Context, c *cluster.Cluster, database string, texts ...string) error {
	conn, err := pgx.Connect(ctx, c.AdminURL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, text := range texts {
		if _, err := conn.Exec(ctx, text); err != nil {
			return fmt.Errorf("%.80s…: %w", text, err)
		}
	}
	return nil
}
