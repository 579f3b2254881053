package canary

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/demo/shop"
)

// TestFinder: without a gateway the finder sees every form of a value, and the databases can be told apart. What
// TestCanaries does not see behind a gateway then means something.
func TestFinder(t *testing.T) {
	t.Parallel()
	if setUp != nil {
		t.Fatal(setUp)
	}
	a := dial(t, server.URL(shop.Role, password, "first"))
	b := dial(t, server.URL(shop.Role, password, "second"))
	seen := newFinder(first.planted)
	for _, text := range []string{
		"SELECT email FROM customers WHERE id = 3", "SELECT upper(email) FROM customers WHERE id = 3", "SELECT reverse(email) FROM customers WHERE id = 3",
		"SELECT encode(email::bytea, 'hex') FROM customers WHERE id = 3", "SELECT encode(('a' || email)::bytea, 'base64') FROM customers WHERE id = 3",
		"SELECT encode(('ab' || email)::bytea, 'base64') FROM customers WHERE id = 3", "SELECT substr(national_id, 4, 5) FROM customers WHERE id = 3",
		"SELECT profile FROM customers WHERE id = 3", "SELECT birth_date FROM customers WHERE id = 3", "SELECT salary FROM staff WHERE id = 3",
		"SELECT address FROM staff WHERE id = 3", "SELECT phones[2] FROM staff WHERE id = 3", "SELECT badge FROM staff WHERE id = 3", "SELECT photo FROM staff WHERE id = 3",
		"SELECT home_ip FROM staff WHERE id = 3", "SELECT initials, nick, key FROM staff WHERE id = 3", "SELECT note FROM staff WHERE id = 3", "SELECT pin FROM staff WHERE id = 3",
		"SELECT amount FROM events WHERE id = 3", "SELECT who FROM events_early WHERE who IS NOT NULL LIMIT 1", "SELECT plate FROM vehicles WHERE id = 103", "SELECT shouted FROM tickets WHERE id = 3",
		"SELECT body FROM hr.reviews WHERE id = 3", "SELECT reach FROM contacts WHERE id = 3", "SELECT card FROM spending WHERE id = 3", "SELECT email::int FROM customers WHERE id = 3",
	} {
		x, err := a.run(simple, step{text: text})
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.run(simple, step{text: text})
		if err != nil {
			t.Fatal(err)
		}
		if column, _ := seen.find(x.bytes()); column == "" {
			t.Errorf("%s: nothing was found in %q", text, x.bytes())
		}
		if column, _ := seen.find(y.bytes()); column != "" {
			t.Errorf("%s: a value of the first database was found in the second: %q", text, y.bytes())
		}
		if difference([]answer{x}, []answer{y}) == "" {
			t.Errorf("%s: no difference was seen", text)
		}
	}
	// Rows that a filter leaves out show by their values, and by what fails because of them.
	a, b = dial(t, server.URL(shop.Role, password, "sixth")), dial(t, server.URL(shop.Role, password, "seventh"))
	seen = newFinder(sixth.planted)
	for _, text := range []string{
		"SELECT name FROM products", "SELECT name FROM customers WHERE tier = 'void'", "SELECT total FROM orders WHERE status = 'void'", "SELECT login FROM staff WHERE rank = 1000",
		"SELECT who FROM events WHERE hits < 0", "SELECT colour FROM vehicles WHERE wheels >= 100", "SELECT subject FROM tickets", "SELECT body FROM hr.reviews", "SELECT name FROM contacts",
		"SELECT subject::int FROM tickets WHERE subject NOT IN ('late', 'broken', 'wrong colour')",
	} {
		x, _ := a.run(simple, step{text: text})
		y, _ := b.run(simple, step{text: text})
		if column, _ := seen.find(x.bytes()); column == "" {
			t.Errorf("%s: nothing was found in %q", text, x.bytes())
		}
		if difference([]answer{x}, []answer{y}) == "" {
			t.Errorf("%s: no difference was seen", text)
		}
	}
	// What must be equal in both, so that a difference means a leak.
	for _, text := range []string{
		"SELECT ctid, id, name, tier, right(phone, 4), right(national_id, 4), left(email, 1), strpos(email, '@') FROM customers",
		"SELECT ctid, id, login, rank, level, skills, window_, boss, extra FROM staff", "SELECT ctid, tableoid, day, id, kind, hits FROM events", "SELECT ctid, tableoid, id, wheels, colour FROM vehicles",
		"SELECT ctid, id, order_id, subject, customer IS NULL FROM tickets", "SELECT ctid, id, staff_id, year FROM hr.reviews", "SELECT ctid, * FROM orders", "SELECT ctid, * FROM products",
		"SELECT oid, relname, relpages FROM pg_class WHERE relnamespace = 'public'::regnamespace",
	} {
		a, b := dial(t, server.URL(shop.Role, password, "first")), dial(t, server.URL(shop.Role, password, "second"))
		x, _ := a.run(simple, step{text: text})
		y, _ := b.run(simple, step{text: text})
		if d := difference([]answer{x}, []answer{y}); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}

// TestDifferential: for one who may see everything, the gateway's print of a statement does what the statement
// does: the same rows, of the same types, and the same errors.
//
// The database's own answers come from a copy of the database, to which the same was done before.
func TestDifferential(t *testing.T) {
	t.Parallel()
	g := start(t, "fifth")
	through, direct := session{dial(t, g.url(trusted)), g}, dial(t, server.URL(shop.Role, password, "third")+"&search_path=public")
	y := newTally()
	each(t, manner{known: first.planted}, []string{"fifth", "third"}, func(s script) error {
		x, err := through.run(s)
		if err != nil {
			return err
		}
		if timedOut(x) {
			y.late++
			return nil
		}
		z, err := direct.script(s.form, s.steps[:permitted(x)])
		if err != nil {
			return err
		}
		if *only >= 0 {
			t.Logf("%s\n%s", s, show(x))
		}
		if timedOut(x) || timedOut(z) {
			y.late++
			return nil
		}
		y.note(s, x)
		if strings.HasPrefix(s.steps[0].text, "EXPLAIN VERBOSE") { // the names in it are those of what was sent
			return nil
		}
		if d := departure(x, z); d != "" {
			return fmt.Errorf("the gateway's answer is another than the database's: %s", d)
		}
		return nil
	})
	y.report(t, 60)
}

// permitted is how many steps came before the first that was refused.
func permitted(answers []answer) int {
	for i, a := range answers {
		if m, failed := a.failed(); failed && strings.HasPrefix(m.fields()['D'], "code: ") {
			return i
		}
	}
	return len(answers)
}

// departure says where what came through the gateway is another answer than the database's own. Up to the
// first refusal they must be the same, but for where a column comes from, an error's place in the text (it is
// another text) and the names that an error spells.
func departure(x, z []answer) string {
	for i := range z {
		a, b := plainly(x[i]), plainly(z[i])
		for k := 0; k < len(a) || k < len(b); k++ {
			switch {
			case k >= len(a) || k >= len(b):
				return fmt.Sprintf("step %d has %d messages and %d", i, len(a), len(b))
			case a[k] != b[k]:
				return fmt.Sprintf("step %d, message %d:\n  %.600q\n  %.600q", i, k, a[k], b[k])
			}
		}
	}
	return ""
}

// plainly are an answer's messages as far as they must agree.
func plainly(a answer) []string {
	var out []string
	for _, m := range a.messages {
		switch m.typ {
		case 'E':
			f := m.fields()
			out = append(out, "E "+f['S']+" "+f['C'])
		case 'N': // the gateway drops notices
		case 'C': // a SHOW of a setting that the gateway keeps is answered by a SELECT, and says so
			out = append(out, "C"+strings.Replace(string(m.body), "SHOW", "SELECT 1", 1))
		case 'T':
			rest := m.body[2:]
			text := "T"
			for len(rest) > 0 {
				name, after, _ := bytes.Cut(rest, []byte{0})
				text += fmt.Sprintf(" %s:%x", name, after[6:18]) // type, size, modifier, format
				rest = after[18:]
			}
			out = append(out, text)
		default:
			out = append(out, string(m.typ)+string(m.body))
		}
	}
	return out
}
