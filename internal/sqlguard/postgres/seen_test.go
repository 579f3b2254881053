package postgres

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/policy"
)

// TestSeen: what a principal sees of a catalog, by what may be read of it.
func TestSeen(t *testing.T) {
	env := shop()
	sight := env.Sight.(eyes)
	sight["orders/public.orders"] = policy.Exposure{Visible: true, Mask: policy.MaskNone, Rows: policy.Rows{{}}}
	s := NewSeen(env.Catalog, sight)
	for name, c := range map[string]struct {
		list oids
		oid  uint32
		has  bool
	}{
		"a table in full": {s.full, 102, true}, "a table with a hidden column": {s.full, 100, false}, "a part": {s.partial, 100, true},
		"a hidden table": {s.relations, 105, false}, "a masked view": {s.plain, 103, false}, "a masked view in full": {s.full, 103, true},
		"some rows": {s.filtered, 101, true}, "some rows, plainly": {s.plain, 101, false}, "all rows": {s.filtered, 102, false},
		"a schema": {s.schemas, 2200, true},
	} {
		if c.list.has(c.oid) != c.has {
			t.Errorf("%s: %v", name, c.list)
		}
	}
	if !slices.Contains(s.attributes, keyOf(100, 2)) || slices.Contains(s.attributes, keyOf(100, 7)) || !slices.Contains(s.covered, keyOf(101, 1)) {
		t.Errorf("columns %v, covered %v", s.attributes, s.covered)
	}
	// How many rows there are shows in none of what belongs to the table.
	for _, kind := range []string{"pg_index", "reltoastrelid", "pg_depend"} {
		if c := s.guardCondition("size", "x"); !strings.Contains(c, kind) || !strings.Contains(c, "NOT (x = ANY ('{101}'") {
			t.Errorf("the size of what is kept in %s: %s", kind, c)
		}
	}
	if c := NewSeen(env.Catalog, shop().Sight).guardCondition("size", "x"); strings.Contains(c, "101}'") {
		t.Errorf("a size without a row filter: %s", c)
	}
	for _, condition := range []string{(&Seen{}).catalog("pg_class"), (&Seen{}).catalog("pg_stats"), (&Seen{}).catalog("nothing")} {
		if condition != "false" {
			t.Errorf("the zero value shows %s", condition)
		}
	}
}
