package postgres

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/policy"
)

// Seen is what a principal sees of a catalog: the objects that the system catalogs show it. The zero value
// is a database without objects of its users.
//
// A relation is seen that may be read or written in any way, a column that may be read or written, a function
// that may be called, a schema that may be read as a whole or holds something that is seen. A type is seen where
// a column that is seen has it, or where its schema may be read as a whole and no hidden column has it.
type Seen struct {
	relations oids // every relation that is seen
	full      oids // those of them without a hidden column
	partial   oids // the others
	plain     oids // those without a hidden or masked column
	filtered  oids // those of which not every row is seen: how many there are is not shown
	functions oids
	types     oids
	unnamed   oids // types that hidden columns have, and no other
	schemas   oids
	whole     oids // schemas that may be read as a whole

	attributes keys // the columns of partly seen relations that are seen
	covered    keys // the columns that are hidden or masked
	hidden     map[uint32][]int16

	rules  map[Name]func(*Seen) string
	values map[string]func(*Seen, *analysis) string

	// all is set where the connection may be read as a whole: then what belongs to no schema is seen too.
	all bool
}

// oids are object identifiers, in order.
type oids []uint32

// literal is an array of them, as SQL.
func (o oids) literal() string {
	var b strings.Builder
	b.WriteString("'{")
	for i, v := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(v), 10))
	}
	b.WriteString("}'::pg_catalog.oid[]")
	return b.String()
}

// keys name columns: OID of the relation × 65536 + attribute number, which is above 0.
type keys []int64

func keyOf(oid uint32, number int16) int64 { return int64(oid)<<16 + int64(number) }

// keyText is the key of a column as SQL.
func keyText(relation, number string) string {
	return "(" + relation + "::pg_catalog.int8 * 65536 + " + number + ")"
}

func (k keys) literal() string {
	var b strings.Builder
	b.WriteString("'{")
	for i, v := range k {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(v, 10))
	}
	b.WriteString("}'::pg_catalog.int8[]")
	return b.String()
}

// NewSeen finds out what a principal sees of a catalog.
func NewSeen(c *Catalog, sight Sight) *Seen {
	sight = c.own(sight)
	s := &Seen{hidden: map[uint32][]int16{}, all: sight.Read(c.Connection).Visible}
	s.rules = map[Name]func(*Seen) string{}
	for name, rule := range catalogRules() {
		s.rules[Name{"pg_catalog", name}] = rule
	}
	for name, rule := range informationRules() {
		s.rules[Name{"information_schema", name}] = rule
	}
	s.values = catalogValues()
	maps.Copy(s.values, informationValues())
	usable, unusable := map[uint32]bool{}, map[uint32]bool{} // types of seen and of hidden columns
	schemas := map[string]bool{}
	for name, oid := range c.Schemas {
		if sight.Read(c.SchemaResource(name)).Visible {
			s.whole = append(s.whole, oid)
			schemas[name] = true
		}
	}
	for _, r := range c.ByOID {
		s.relation(c, sight, r, usable, unusable)
		if s.relations.last() == r.OID {
			schemas[r.Name.Schema] = true
		}
	}
	s.temporary(c, usable)
	for _, f := range c.Routines {
		if sight.Permits(policy.Touch{Action: "call", Resource: c.FunctionResource(f)}) {
			s.functions = append(s.functions, f.OID)
			schemas[f.Name.Schema] = true
		}
	}
	for _, t := range c.Types {
		if c.Relations[t.Name] != nil { // the rows of a relation
			continue
		}
		used := usable[t.OID] || usable[t.Array]
		hidden := unusable[t.OID] || unusable[t.Array]
		if hidden && !used {
			s.unnamed = append(s.unnamed, t.OID)
		}
		if used || !hidden && slices.Contains(s.whole, c.Schemas[t.Name.Schema]) {
			s.types = append(s.types, t.OID)
			schemas[t.Name.Schema] = true
		}
	}
	for name := range schemas {
		if oid := c.Schemas[name]; oid != 0 {
			s.schemas = append(s.schemas, oid)
		}
	}
	for _, list := range []oids{s.relations, s.full, s.partial, s.plain, s.filtered, s.functions, s.types, s.unnamed, s.schemas, s.whole} {
		slices.Sort(list)
	}
	slices.Sort(s.attributes)
	slices.Sort(s.covered)
	return s
}

func (o oids) last() uint32 {
	if len(o) == 0 {
		return 0
	}
	return o[len(o)-1]
}

func (s *Seen) relation(c *Catalog, sight Sight, r *Relation, usable, unusable map[uint32]bool) {
	table := c.TableResource(r.Name)
	may, filtered := true, false
	for _, oid := range append([]uint32{r.OID}, r.Parents...) {
		e := policy.Exposure{}
		if over := c.ByOID[oid]; over != nil {
			e = sight.Read(c.TableResource(over.Name))
		}
		may, filtered = may && e.Visible, filtered || len(e.Rows) > 0
	}
	for _, action := range []string{"insert", "update", "delete", "truncate", "ddl", "drop"} {
		may = may || sight.Permits(policy.Touch{Action: action, Resource: table})
	}
	if !may {
		for i := range r.Columns {
			unusable[r.Columns[i].TypeOID] = true
		}
		return
	}
	s.relations = append(s.relations, r.OID)
	full, plain := true, true
	for i := range r.Columns {
		col := &r.Columns[i]
		resource := c.ColumnResource(r, col)
		e := c.Exposure(sight, r, col)
		if !e.Visible || e.Mask != policy.MaskNone || filtered {
			plain = false
			s.covered = append(s.covered, keyOf(r.OID, col.Number))
		}
		if !e.Visible && !sight.Permits(policy.Touch{Action: "insert", Resource: resource}) && !sight.Permits(policy.Touch{Action: "update", Resource: resource}) {
			full = false
			s.hidden[r.OID] = append(s.hidden[r.OID], col.Number)
			unusable[col.TypeOID] = true
		} else {
			usable[col.TypeOID] = true
		}
	}
	if filtered {
		s.filtered = append(s.filtered, r.OID)
	}
	if plain && !filtered {
		s.plain = append(s.plain, r.OID)
	}
	if full {
		s.full = append(s.full, r.OID)
		return
	}
	s.partial = append(s.partial, r.OID)
	for i := range r.Columns {
		if n := r.Columns[i].Number; !slices.Contains(s.hidden[r.OID], n) {
			s.attributes = append(s.attributes, keyOf(r.OID, n))
		}
	}
}

func (o oids) has(oid uint32) bool {
	_, ok := slices.BinarySearch(o, oid)
	return ok
}
