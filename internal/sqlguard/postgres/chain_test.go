package postgres

import (
	"errors"
	"strings"
	"testing"
)

// TestChains: chains that would overflow the parser's stack are refused before it sees them, however their
// parts are written; long lists are not.
func TestChains(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	const many = 60000
	for name, text := range map[string]string{
		"plus":           "SELECT " + strings.Repeat("1+", many) + "1",
		"union":          "SELECT 1" + strings.Repeat(" UNION SELECT 1", many),
		"union of lists": "SELECT 1,1" + strings.Repeat(" UNION SELECT 1,1", many),
		"cast":           "SELECT 1" + strings.Repeat("::int", many),
		"join":           "SELECT 1 FROM customers" + strings.Repeat(" CROSS JOIN customers", many),
		"join on":        "SELECT 1 FROM customers" + strings.Repeat(" JOIN customers ON true AND true", many),
		"case":           "SELECT 1" + strings.Repeat("+CASE WHEN true AND true THEN 1 END", many),
		"string":         "SELECT ''" + strings.Repeat("||','", many),
		"escape":         `SELECT ''` + strings.Repeat(`||E'\',\''`, many),
		"dollar":         "SELECT ''" + strings.Repeat("||$a$,$a$", many),
		"name":           `SELECT 1` + strings.Repeat(`+","`, many),
		"comment":        "SELECT 1" + strings.Repeat("/*,/*,*/,*/+1--,\n", many),
		"brackets":       "SELECT " + strings.Repeat("(", 1000) + "1" + strings.Repeat(strings.Repeat("+1", 100)+")", 1000),
		"function":       "SELECT 1" + strings.Repeat("+abs(1)", many),
		"array":          "SELECT ARRAY[1,2]" + strings.Repeat("||ARRAY[1,2]", many),
		"parameter":      "SELECT 1" + strings.Repeat("+$1", many),
		"between":        "SELECT id" + strings.Repeat(" BETWEEN 1 AND 2 IS NULL", many),
		"label end":      "SELECT 1" + strings.Repeat("+CASE WHEN a.end AND b THEN 1 END", many),
		"continued":      "SELECT E'a'\n'\\'' || 1" + strings.Repeat("+1", many),
		"continued 2":    "SELECT E'a' -- x\n  '\\'' || 1" + strings.Repeat("+1", many),
		"labels":         "SELECT 1 as case" + strings.Repeat(" UNION SELECT 1 as end, 1 as case", many),
		"collate":        "SELECT ''" + strings.Repeat(` COLLATE "C"`, many),
	} {
		_, err := g.Analyze(shop(), text)
		var e *Error
		if !errors.As(err, &e) || e.SQLState != "54001" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"in":      "SELECT name FROM customers WHERE id IN (1" + strings.Repeat(", 1", 50000) + ")",
		"values":  "SELECT column1 FROM (VALUES (1, 'a')" + strings.Repeat(", (1, 'a')", 20000) + ") v",
		"or":      "SELECT name FROM customers WHERE id = 1" + strings.Repeat(" OR id = 1", 1500),
		"literal": "SELECT '" + strings.Repeat("a+", 50000) + "'",
		"targets": "SELECT 1" + strings.Repeat(", 1 + 1", 1500),
	} {
		if _, err := g.Analyze(shop(), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
