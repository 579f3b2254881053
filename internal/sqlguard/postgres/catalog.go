// Package postgres understands PostgreSQL statements: text and catalog in, plan out.
//
// It is pure: no network, no files, no clock. It never sends anything. A statement, node, function, type
// or name that is not on its lists is an error, and the text of a plan is printed from the tree that was
// walked, never copied from the client.
package postgres

import (
	"strings"

	"gatehouse/internal/policy"
)

// Name is the schema-qualified name of an object, as the server's catalog spells it (no quotes).
type Name struct{ Schema, Name string }

// String is the name as SQL writes it, quoted only where it must be: `public.customers`.
func (n Name) String() string { return Quote(n.Schema) + "." + Quote(n.Name) }

// Quote writes an identifier as SQL would: plain lower-case ones as they are, others in double quotes.
// Unlike the server's quote_ident it does not quote keywords; it is for names of resources and messages,
// not for SQL text.
func Quote(s string) string {
	plain := s != ""
	for i, r := range s {
		if r == '_' || r >= 'a' && r <= 'z' || i > 0 && (r >= '0' && r <= '9' || r == '$') {
			continue
		}
		plain = false
		break
	}
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// Catalog is one consistent reading of a database's catalog. It is immutable once built.
type Catalog struct {
	// Connection is the resource of the connection; its parents are its tags.
	Connection policy.Resource
	// Server is the major version of the server, 15 and later; 0 where it is not known: then nothing is understood that
	// only newer servers know.
	Server int
	// Epoch grows with every reading that differs from the one before it.
	Epoch uint64
	// SearchPath are the schemas in which unqualified names are looked up, in order, without pg_catalog.
	SearchPath []string
	// TempAt is the place in SearchPath before which temporary relations are looked for; TempFirst is set where
	// new tables are temporary, since the path names their schema first.
	TempAt    int
	TempFirst bool
	// Temporary are those of the session; nil: it has none.
	Temporary *Temporary
	Relations map[Name]*Relation
	ByOID     map[uint32]*Relation
	// Types are the types outside pg_catalog that may be named, by name.
	Types map[Name]*Type
	// TypesByOID are the same by OID.
	TypesByOID map[uint32]*Type
	// Functions are those outside pg_catalog, by name.
	Functions map[Name]*Overloads
	// OperatorPath are the schemas behind pg_catalog that the upstream session must find operators and shared
	// function names in, in order: schemas of the search path with trusted extensions, in which every operator
	// is theirs, and in which the upstream role cannot create.
	OperatorPath []string
	// RefusedOperators are names that an operator of those schemas has which may not be used.
	RefusedOperators map[string]bool
	// Schemas are the schemas that users made, with their OIDs.
	Schemas map[string]uint32
	// Harmless are those that run without a permit of their own where a default or a check calls them, by OID.
	Harmless map[uint32]bool
	// Routines are the functions that users made, in the order of their OIDs.
	Routines []Function
	// System are the relations of pg_catalog and information_schema, as far as the server has them.
	System map[Name]*Relation
	// Leakproof is what may be evaluated before a row filter.
	Leakproof Leakproof
}

// RelationKind is pg_class.relkind.
type RelationKind byte

// The kinds of relations that a statement may name.
const (
	Table            RelationKind = 'r'
	PartitionedTable RelationKind = 'p'
	View             RelationKind = 'v'
	MaterializedView RelationKind = 'm'
	ForeignTable     RelationKind = 'f'
	Sequence         RelationKind = 'S'
)

// Relation is a table, view or the like.
type Relation struct {
	OID  uint32       `json:"oid"`
	Name Name         `json:"name"`
	Kind RelationKind `json:"kind"`
	// Columns are in the order of attnum, dropped ones left out.
	Columns []Column `json:"columns"`
	// RowTypes are the types of the relation's rows and of arrays of them.
	RowTypes []uint32 `json:"row_types,omitempty"`
	// Natts is pg_class.relnatts: how many attribute numbers were ever given, dropped ones included.
	Natts int16 `json:"natts,omitempty"`
	// PrimaryKey holds the attribute numbers of the primary key's columns; nil where there is none.
	PrimaryKey []int16 `json:"primary_key,omitempty"`
	// Reaches are the relations that a view, materialized view or rule reads, transitively; each is
	// listed once. Unknown is set where that could not be found out.
	Reaches []uint32 `json:"reaches,omitempty"`
	Unknown bool     `json:"unknown,omitempty"`
	// Uses are the columns that the definition of a view mentions, of what it reads itself.
	Uses []Use `json:"uses,omitempty"`
	// Asks are conditions that decide which rows a view has by columns with a label and something else.
	Asks []Ask `json:"asks,omitempty"`
	// Calls are the functions outside pg_catalog that a write to this relation, or a read of this view,
	// can run: triggers, defaults, checks, generated columns, domain checks, index expressions, rules.
	Calls []Function `json:"calls,omitempty"`
	// Definition is the version of a view's own rule: the transaction that wrote it.
	Definition string `json:"definition,omitempty"`
	// Rules is set where a rewrite rule other than a view's own SELECT rule exists.
	Rules bool `json:"rules,omitempty"`
	// RowSecurity is set where row security policies apply to the upstream role.
	RowSecurity bool `json:"row_security,omitempty"`
	// Version names everything above and below that a plan can stand on: another definition has another
	// version. It is set by whoever reads the catalog.
	Version string `json:"-"`
	// Children are the relations that inherit from this one, partitions among them, transitively.
	Children []uint32 `json:"children,omitempty"`
	// Parents are the relations that this one inherits from or is a partition of, transitively.
	Parents []uint32 `json:"parents,omitempty"`
	// Cascades are the relations that a DELETE or an UPDATE of a key reaches through foreign keys
	// (CASCADE, SET NULL, SET DEFAULT), transitively, itself excluded.
	Cascades []Cascade `json:"cascades,omitempty"`
	// Holding is set for a temporary relation of the session.
	Holding *Holding `json:"-"`
}

// Use is a column that a view mentions, or all of a relation.
type Use struct {
	OID    uint32 `json:"oid"`
	Column int16  `json:"column,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// Ask is a condition in a view's definition over columns with a label, columns beside them without one, and a setting of
// the session: who may write those, or set that, asks for values by it.
type Ask struct {
	Labelled []Use `json:"labelled"`
	Beside   []Use `json:"beside,omitempty"`
	Settings bool  `json:"settings,omitempty"`
}

// Cascade is one relation that a foreign key's action reaches.
type Cascade struct {
	OID      uint32 `json:"oid"`
	OnDelete string `json:"on_delete,omitempty"` // "delete" or "update": what a DELETE of the referenced row does to it; "" nothing
	OnUpdate string `json:"on_update,omitempty"` // "update": what an UPDATE of the referenced key does to it; "" nothing
}

// Column is one column of a relation.
type Column struct {
	Name string `json:"name"`
	// Number is pg_attribute.attnum.
	Number int16 `json:"number"`
	// Type names the column's type; TypeMod is pg_attribute.atttypmod (-1: none).
	Type    Name   `json:"type"`
	TypeOID uint32 `json:"type_oid"`
	TypeMod int32  `json:"type_mod"`
	// Spelled is format_type(atttypid, atttypmod) with the type schema-qualified where it is not in
	// pg_catalog: what a cast to exactly this type is written with.
	Spelled string `json:"spelled"`
	// Extension is set for a base type that an extension or a user created (citext, hstore): its
	// operators are not those of pg_catalog.
	Extension bool `json:"extension,omitempty"`
	// Citext is set where the type is citext of the extension of that name, with its operators within reach: text
	// but for how it compares.
	Citext bool `json:"citext,omitempty"`
	// Domain is set where the type is a domain.
	Domain bool `json:"domain,omitempty"`
	// Generated is set for columns GENERATED ALWAYS AS (…) STORED.
	Generated bool `json:"generated,omitempty"`
	// Made are the numbers of the columns that a generated one is made of.
	Made []int16 `json:"made,omitempty"`
	// Labels are the configured and the propagated labels, sorted.
	Labels []string `json:"labels,omitempty"`
}

// TypeKind is pg_type.typtype.
type TypeKind byte

// Type is a type outside pg_catalog.
type Type struct {
	OID  uint32 `json:"oid"`
	Name Name   `json:"name"`
	// Kind is pg_type.typtype: 'e' enum, 'd' domain, 'c' composite, 'b' base, 'r' range, 'm' multirange.
	Kind TypeKind `json:"kind"`
	// Calls are the functions outside pg_catalog that a cast to it can run (domain checks, input functions).
	Calls []Function `json:"calls,omitempty"`
	// Usable is set for a base type of a trusted extension whose operators the pinned path finds.
	Usable bool `json:"usable,omitempty"`
	// Array is the type of its arrays; 0 where there is none.
	Array uint32 `json:"array,omitempty"`
	// Fields are those of a composite type, in order.
	Fields []Field `json:"fields,omitempty"`
}

// Function is a function outside pg_catalog, with its argument types as pg_get_function_identity_arguments
// writes them.
type Function struct {
	OID       uint32 `json:"oid"`
	Name      Name   `json:"name"`
	Arguments string `json:"arguments,omitempty"`
}

// Column finds a column by name; nil where there is none.
func (r *Relation) Column(name string) *Column {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return &r.Columns[i]
		}
	}
	return nil
}

// SchemaResource is the resource of a schema.
func (c *Catalog) SchemaResource(schema string) policy.Resource {
	return policy.Resource{
		Entity:  policy.Entity{Type: "Schema", ID: c.Connection.ID + "/" + Quote(schema)},
		Parents: append([]policy.Entity{c.Connection.Entity}, c.Connection.Parents...),
	}
}

// TableResource is the resource of a relation of any kind.
func (c *Catalog) TableResource(n Name) policy.Resource {
	s := c.SchemaResource(n.Schema)
	return policy.Resource{
		Entity:  policy.Entity{Type: "Table", ID: c.Connection.ID + "/" + n.String()},
		Parents: append([]policy.Entity{s.Entity}, s.Parents...),
	}
}

// ColumnResource is the resource of a relation's column, with its labels.
func (c *Catalog) ColumnResource(r *Relation, col *Column) policy.Resource {
	t := c.TableResource(r.Name)
	return policy.Resource{
		Entity:  policy.Entity{Type: "Column", ID: t.ID + "." + Quote(col.Name)},
		Parents: append([]policy.Entity{t.Entity}, t.Parents...),
		Labels:  col.Labels,
	}
}

// FunctionResource is the resource of a function outside pg_catalog.
func (c *Catalog) FunctionResource(f Function) policy.Resource {
	s := c.SchemaResource(f.Name.Schema)
	return policy.Resource{
		Entity:  policy.Entity{Type: "Function", ID: c.Connection.ID + "/" + f.Name.String() + "(" + f.Arguments + ")"},
		Parents: append([]policy.Entity{s.Entity}, s.Parents...),
	}
}
