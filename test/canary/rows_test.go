package canary

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// filters are the rows of tables that the narrow agent may touch, over columns of several types: of some the
// comparison is leakproof, of others it is not.
var filters = []struct{ table, rows, actions string }{
	{"public.products", "price >= 0", `Action::"read", Action::"insert", Action::"update", Action::"delete"`},
	{"public.customers", "tier <> 'void'", `Action::"read", Action::"insert", Action::"update", Action::"delete"`},
	{"public.contacts", "tier <> 'void'", `Action::"read"`},
	{"public.orders", "status <> 'void' AND quantity >= 0", `Action::"read", Action::"update", Action::"delete"`},
	{"public.staff", "rank < 1000", `Action::"read", Action::"update", Action::"delete"`},
	{"public.events", "hits >= 0", `Action::"read"`},
	{"public.vehicles", "wheels < 100", `Action::"read", Action::"insert", Action::"update", Action::"delete"`},
	{"public.tickets", "subject IN ('late', 'broken', 'wrong colour')", `Action::"read"`},
	{"hr.reviews", "year < 3000 OR year IS NULL", `Action::"read", Action::"update", Action::"delete"`},
}

// outsider is a row that a filter leaves out. Everything in it is the twin's own: its key, what has no label, and that
// it makes expressions fail which do not fail for others. Its lengths are the same in both. Keys that it refers to are
// the same too: the error of a foreign key tells that there is a row, which is a known limit (docs/security.md).
func (t *twin) outsider(table string, own *rand.Rand, word func(int) string, text func(column, v string) string) []string {
	i := len(t.rows[table])
	id := fmt.Sprint(5000 + 1000*t.salt + uint64(i))
	name := func(c string) string { return table + " (left out)." + c }
	canary := func(c string, n int) string { return text(name(c), word(n)) }
	n := func(least, below int) string { return fmt.Sprint(least + own.IntN(below-least)) }
	digits := func(c string) string { return text(name(c), fmt.Sprint(1000000000+own.Int64N(8000000000))) }
	json := func(c string) string { return strings.ReplaceAll(canary(c, 12), "'", `"`) }
	switch table {
	case "products":
		return []string{id, canary("name", 10), "-" + n(10, 99)}
	case "customers":
		return []string{id, canary("name", 10), text(name("email"), word(11)+"@"+word(8)), canary("national_id", 16), canary("phone", 14),
			fmt.Sprintf("'%d-03-%02d'", 3000+own.IntN(2800), 1+own.IntN(28)), "'void'", "'[" + json("profile") + "]'", "'2023-05-" + n(10, 28) + " 08:00+00'"}
	case "orders":
		return []string{id, fmt.Sprint(41 + i%10), fmt.Sprint(1 + i%10), n(-99, -10), digits("total"), "'void'", "'2024-05-" + n(10, 28) + " 09:00+00'"}
	case "staff":
		row := []string{id, canary("login", 9), "1000", "'" + [...]string{"low", "top", "mid"}[own.IntN(2)] + "'", "ARRAY[" + canary("skills", 8) + "]", "'[" + n(100, 400) + "," + n(500, 900) + ")'", "NULL", "'[" + json("extra") + "]'",
			text(name("mail"), word(9)+"@"+word(9)), digits("salary")}
		for len(row) < 25 {
			row = append(row, "NULL")
		}
		row[19] = canary("nick", 12)
		return row
	case "events":
		return []string{fmt.Sprintf("'2024-%02d-%s'", 1+i%12, n(10, 28)), id, "'low'", n(-90, -10), canary("who", 12), "'[" + json("detail") + "]'", digits("amount"), "NULL"}
	case "vehicles", "lorries":
		row := []string{id, n(100, 900), canary("colour", 8), canary("owner", 12), canary("plate", 12)}
		if table == "lorries" {
			row = append(row, n(1000, 9000))
		}
		return row
	case "tickets":
		return []string{id, "NULL", "NULL", canary("subject", 12)}
	case "hr.reviews":
		return []string{id, fmt.Sprint(1 + i%20), n(3000, 9000), canary("body", 16), n(10, 90), canary("reviewer", 12)}
	}
	return nil
}

// TestFilteredRows: what a filter leaves out makes no difference. The databases differ in those rows besides, in every
// column; statements that fail for them, and that find them, are among those that are generated.
func TestFilteredRows(t *testing.T) {
	t.Parallel()
	compare(t, narrow, sixth, seventh, map[string]bool{"spending": true, "regulars": true}, 60)
}
