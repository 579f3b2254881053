package postgres

import (
	"testing"

	"gatehouse/internal/policy"
)

// TestKin: the database is asked for children of a table where one that is seen in part could become one, by the types of
// its columns; of a view's tables too; not of what is only defined or maintained.
func TestKin(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	env := shop()
	c := env.Catalog
	table := func(oid uint32, name string, types ...uint32) *Relation {
		r := &Relation{OID: oid, Name: Name{"public", name}, Kind: Table}
		for i, typ := range types {
			r.Columns = append(r.Columns, Column{Name: string(rune('a' + i)), Number: int16(i + 1), Type: Name{"pg_catalog", "text"}, TypeOID: typ, TypeMod: -1, Spelled: "text"})
		}
		c.Relations[r.Name], c.ByOID[oid] = r, r
		return r
	}
	for name := range c.Relations {
		delete(c.Relations, name)
	}
	clear(c.ByOID)
	table(1, "masked", 23, 25, 25)
	table(2, "same", 25, 23)
	table(3, "other", 25, 1700)
	table(4, "wider", 23, 25, 25, 25)
	parent := table(5, "parent", 23)
	parent.Children = []uint32{1}
	c.ByOID[1].Parents = []uint32{5}
	view := table(6, "seen", 25)
	view.Kind, view.Reaches = View, []uint32{2}
	env.Sight = eyes{"orders/public.masked.b": policy.Exposure{Visible: true, Mask: policy.MaskRedact}}
	for text, want := range map[string]bool{
		"SELECT a FROM same": true, "DELETE FROM same RETURNING a": true, "SELECT a FROM seen": true, "SELECT 1 FROM other, same": true,
		"SELECT a FROM other": false, "SELECT a FROM wider": false, "SELECT a FROM parent": false, "SELECT 1": false,
		"VACUUM same": false, "ALTER TABLE same ADD COLUMN z int": false, "COPY same FROM STDIN": false, "COPY same TO STDOUT": true,
	} {
		plan, err := g.Analyze(env, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := len(plan.Statements[0].Kin) > 0; got != want {
			t.Errorf("%s: asked %v, want %v: %q", text, got, want, plan.Statements[0].Kin)
		}
	}
	env.Sight = eyes{}
	if plan, err := g.Analyze(env, "SELECT a FROM same"); err != nil || len(plan.Statements[0].Kin) > 0 {
		t.Errorf("where everything is seen: %v", err)
	}
}
