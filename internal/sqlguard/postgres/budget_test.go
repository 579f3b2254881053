package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestBudget: a text whose names stand for more and more is refused before it takes the memory or the time of
// the process; what servers take is not.
func TestBudget(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	list := func(n int, format string) string {
		var b []string
		for i := range n {
			b = append(b, strings.ReplaceAll(format, "%", fmt.Sprint(i)))
		}
		return strings.Join(b, ",")
	}
	doubled := func(body string) string {
		text := "WITH a0 AS (SELECT 1 AS x, 2 AS y)"
		for i := 1; i < 60; i++ {
			text += fmt.Sprintf(", a%d AS (%s)", i, strings.NewReplacer("%", fmt.Sprintf("a%d", i-1)).Replace(body))
		}
		return text + " SELECT 1"
	}
	for name, one := range map[string][2]string{
		"doubled stars":     {doubled("SELECT * FROM % AS x, % AS y"), "54011"},
		"doubled joins":     {doubled("SELECT j.* FROM (% AS x CROSS JOIN % AS y) AS j"), "54011"},
		"doubled returning": {"UPDATE orders SET status = 'x' FROM (SELECT " + list(1000, "1 AS c%") + ") s RETURNING s.*, s.*", "54011"},
		"wide":              {"SELECT " + list(1665, "1"), "54011"},
		"stars":             {"SELECT " + list(1000, "*") + " FROM orders", "54011"},
		"returned stars":    {"DELETE FROM orders RETURNING " + list(1000, "*"), "54011"},
		"tables":            {"SELECT 1 FROM " + list(10001, "orders o%"), "54000"},
		"queries":           {"WITH w AS (SELECT " + list(1664, "1 AS c%") + ") SELECT 1 FROM " + list(1000, "w w%"), "54000"},
		"names":             {"WITH w AS (SELECT " + list(1664, "1 AS c%") + ") SELECT 1 FROM w, w v WHERE w.c1 IN (" + list(150000, "w.c1") + ")", "54000"},
		"sorted":            {"SELECT " + list(1664, "1 AS c%") + " ORDER BY " + list(150000, "c1663"), "54000"},
		"tokens":            {"SELECT 1 WHERE 1 IN (1" + strings.Repeat(",1", 500_000) + ")", "54000"},
		"natural":           {"WITH w AS (SELECT " + list(1600, "1 AS c%") + ") SELECT 1 FROM w a" + strings.ReplaceAll(list(90, " NATURAL JOIN w w%"), ",", ""), "54000"},
	} {
		_, err := g.Analyze(shop(), one[0])
		var e *Error
		if !errors.As(err, &e) || e.SQLState != one[1] {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"wide":   "SELECT " + list(1664, "1"),
		"tables": "SELECT 1 FROM " + list(1000, "orders o%"),
		"unions": "SELECT id FROM orders" + strings.Repeat(" UNION ALL SELECT id FROM orders", 100),
		"values": "INSERT INTO orders VALUES " + list(50000, "(%, 1, 2, 'x')"),
	} {
		if _, err := g.Analyze(shop(), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
