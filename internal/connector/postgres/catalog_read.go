package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	guard "gatehouse/internal/sqlguard/postgres"
)

// reader builds a catalog from the system catalogs (PostgreSQL documentation, chapter 53), in one snapshot.
type reader struct {
	ctx     context.Context
	tx      pgx.Tx
	catalog *guard.Catalog
	kept    *keptLabels
	// reviewed are the columns of a strict connection with nothing to mask; nil: it is not strict.
	reviewed map[guard.Name][]string

	functions map[uint32]guard.Function
	types     map[uint32]*guard.Type
	edges     map[columnKey][]columnKey // labels flow along them
	traces    map[uint32]*traced        // view → what its definition says, where it can be traced
	reads     map[uint32][]uint32       // relation → what its view rules read
	cascades  map[uint32][]guard.Cascade
	children  map[uint32][]uint32  // relation → what inherits from it directly
	parts     map[uint32][]uint32  // type → the types that its values hold, itself included
	harmless  map[uint32]bool      // functions of trusted extensions, whatever runs them
	typed     map[string]bool      // extensions that have base types
	citext    map[uint32]bool      // the type of that extension
	bases     map[columnKey]uint32 // column → the base type of its values or elements
}

type columnKey struct {
	oid    uint32
	number int16
}

const userSchema = `n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`

func (r *reader) read(labels map[guard.Name]map[string][]string) error {
	r.functions = map[uint32]guard.Function{}
	r.types = map[uint32]*guard.Type{}
	r.edges = map[columnKey][]columnKey{}
	r.reads = map[uint32][]uint32{}
	r.cascades = map[uint32][]guard.Cascade{}
	r.children = map[uint32][]uint32{}
	r.parts = map[uint32][]uint32{}
	for _, step := range []func() error{
		r.readSchemas, r.readRelations, r.readColumns, r.readKeys, r.readFunctions, r.readTypes, r.readExtensions, r.readParts,
		r.readForeignKeys, r.readInheritance, r.readGenerated, r.readRules, r.readTriggers, r.readCalls,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	r.spreadChildren()
	r.spreadReach()
	r.spreadCascades()
	if err := r.applyLabels(labels); err != nil {
		return err
	}
	r.decide()
	r.sort()
	return nil
}

// rows runs a query and calls each for every row with a function that scans it.
func (r *reader) rows(query string, each func(scan func(...any) error) error) error {
	rows, err := r.tx.Query(r.ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *reader) readRelations() error {
	return r.rows(`SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relnatts, c.relrowsecurity,
			ARRAY(SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.oid = c.reltype)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND `+userSchema, func(scan func(...any) error) error {
		var kind string
		rel := &guard.Relation{}
		if err := scan(&rel.OID, &rel.Name.Schema, &rel.Name.Name, &kind, &rel.Natts, &rel.RowSecurity, &rel.RowTypes); err != nil {
			return err
		}
		rel.Kind = guard.RelationKind(kind[0])
		r.catalog.Relations[rel.Name], r.catalog.ByOID[rel.OID] = rel, rel
		return nil
	})
}

func (r *reader) readColumns() error {
	return r.rows(`SELECT a.attrelid, a.attnum, a.attname, tn.nspname, t.typname, a.atttypid, a.atttypmod,
			format_type(a.atttypid, a.atttypmod), a.attgenerated <> '', t.typtype = 'd',
			coalesce(bn.nspname, en.nspname, tn.nspname) <> 'pg_catalog' AND coalesce(b.typtype, e.typtype, t.typtype) = 'b'
		FROM pg_attribute a
		JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_type t ON t.oid = a.atttypid
		JOIN pg_namespace tn ON tn.oid = t.typnamespace
		LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' AND t.typelem <> 0
		LEFT JOIN pg_namespace en ON en.oid = e.typnamespace
		LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
		LEFT JOIN pg_namespace bn ON bn.oid = b.typnamespace
		WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND `+userSchema+`
		ORDER BY a.attrelid, a.attnum`, func(scan func(...any) error) error {
		var oid uint32
		var c guard.Column
		if err := scan(&oid, &c.Number, &c.Name, &c.Type.Schema, &c.Type.Name, &c.TypeOID, &c.TypeMod, &c.Spelled, &c.Generated, &c.Domain, &c.Extension); err != nil {
			return err
		}
		if rel := r.catalog.ByOID[oid]; rel != nil {
			rel.Columns = append(rel.Columns, c)
		}
		return nil
	})
}

func (r *reader) readKeys() error {
	return r.rows(`SELECT i.indrelid, i.indkey::int2[] FROM pg_index i WHERE i.indisprimary`, func(scan func(...any) error) error {
		var oid uint32
		var key []int16
		if err := scan(&oid, &key); err != nil {
			return err
		}
		if rel := r.catalog.ByOID[oid]; rel != nil {
			rel.PrimaryKey = key
		}
		return nil
	})
}

func (r *reader) readFunctions() error {
	return r.rows(`SELECT p.oid, n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog' ORDER BY p.oid`, func(scan func(...any) error) error {
		var f guard.Function
		if err := scan(&f.OID, &f.Name.Schema, &f.Name.Name, &f.Arguments); err != nil {
			return err
		}
		r.functions[f.OID] = f
		if f.Name.Schema != "information_schema" {
			r.catalog.Routines = append(r.catalog.Routines, f)
		}
		return nil
	})
}

// readTypes reads the types that users made; base types so that they can be named in an error. Ranges over an
// operator class of a user's own, which decides how values compare, are left out.
func (r *reader) readTypes() error {
	r.catalog.TypesByOID = r.types
	err := r.rows(`SELECT t.oid, n.nspname, t.typname, t.typtype::text, t.typarray FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE t.typtype IN ('e', 'd', 'b', 'c', 'r', 'm') AND t.typcategory <> 'A'
			AND NOT EXISTS (SELECT FROM pg_range g WHERE t.oid IN (g.rngtypid, g.rngmultitypid) AND g.rngsubopc >= 16384)
			AND `+userSchema, func(scan func(...any) error) error {
		t := &guard.Type{}
		var kind string
		if err := scan(&t.OID, &t.Name.Schema, &t.Name.Name, &kind, &t.Array); err != nil {
			return err
		}
		t.Kind = guard.TypeKind(kind[0])
		r.types[t.OID], r.catalog.Types[t.Name] = t, t
		return nil
	})
	if err != nil {
		return err
	}
	return r.rows(`SELECT t.oid, a.attname, a.atttypid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		JOIN pg_attribute a ON a.attrelid = t.typrelid
		WHERE t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped AND `+userSchema+` ORDER BY t.oid, a.attnum`, func(scan func(...any) error) error {
		var oid uint32
		var f guard.Field
		if err := scan(&oid, &f.Name, &f.TypeOID); err != nil {
			return err
		}
		if t := r.types[oid]; t != nil {
			t.Fields = append(t.Fields, f)
		}
		return nil
	})
}

// readParts reads what the types that users made are made of: base types of domains, elements of arrays,
// fields of rows, bounds of ranges. A column that holds rows of a relation carries the labels of its columns.
func (r *reader) readParts() error {
	rows := map[uint32][]uint32{} // type → the relations whose rows its values hold
	err := r.rows(`WITH RECURSIVE holds(whole, part) AS (
			SELECT oid, typelem FROM pg_type WHERE typelem <> 0 AND typcategory = 'A'
			UNION ALL SELECT oid, typbasetype FROM pg_type WHERE typbasetype <> 0
			UNION ALL SELECT rngtypid, rngsubtype FROM pg_range
			UNION ALL SELECT rngmultitypid, rngsubtype FROM pg_range
			UNION ALL SELECT t.oid, a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid WHERE a.attnum > 0 AND NOT a.attisdropped
		), parts(top, part) AS (
			SELECT DISTINCT atttypid, atttypid FROM pg_attribute WHERE attnum > 0 AND atttypid >= 16384 -- FirstNormalObjectId
			UNION SELECT oid, oid FROM pg_type WHERE typtype IN ('d', 'c', 'r', 'm') AND oid >= 16384
			UNION SELECT p.top, h.part FROM parts p JOIN holds h ON h.whole = p.part
		)
		SELECT p.top, p.part, t.typrelid FROM parts p JOIN pg_type t ON t.oid = p.part`, func(scan func(...any) error) error {
		var top, part, relation uint32
		if err := scan(&top, &part, &relation); err != nil {
			return err
		}
		r.parts[top] = append(r.parts[top], part)
		if relation != 0 {
			rows[top] = append(rows[top], relation)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for oid, rel := range r.catalog.ByOID {
		for _, c := range rel.Columns {
			for _, below := range rows[c.TypeOID] {
				if source := r.catalog.ByOID[below]; source != nil {
					for _, s := range source.Columns {
						r.edge(columnKey{below, s.Number}, columnKey{oid, c.Number})
					}
				}
			}
		}
	}
	return nil
}

func (r *reader) readForeignKeys() error {
	return r.rows(`SELECT conrelid, confrelid, conkey, confkey, confdeltype::text, confupdtype::text FROM pg_constraint WHERE contype = 'f'`, func(scan func(...any) error) error {
		var child, parent uint32
		var from, to []int16
		var onDelete, onUpdate string
		if err := scan(&child, &parent, &from, &to, &onDelete, &onUpdate); err != nil {
			return err
		}
		for i := range from {
			if i < len(to) {
				r.edge(columnKey{child, from[i]}, columnKey{parent, to[i]})
				r.edge(columnKey{parent, to[i]}, columnKey{child, from[i]})
			}
		}
		c := guard.Cascade{OID: child}
		switch onDelete {
		case "c":
			c.OnDelete = "delete"
		case "n", "d":
			c.OnDelete = "update"
		}
		if onUpdate == "c" || onUpdate == "n" || onUpdate == "d" {
			c.OnUpdate = "update"
		}
		if c.OnDelete != "" || c.OnUpdate != "" {
			r.cascades[parent] = append(r.cascades[parent], c)
		}
		return nil
	})
}

func (r *reader) edge(from, to columnKey) { r.edges[from] = append(r.edges[from], to) }

// flow is an edge from a column, or from every column of a relation where its number is 0.
func (r *reader) flow(from, to columnKey) {
	if from.number != 0 {
		r.edge(from, to)
		return
	}
	if source := r.catalog.ByOID[from.oid]; source != nil {
		for _, c := range source.Columns {
			r.edge(columnKey{from.oid, c.Number}, to)
		}
	}
}

// readInheritance ties the columns of parents and children (partitions among them) by name.
func (r *reader) readInheritance() error {
	return r.rows(`SELECT inhrelid, inhparent FROM pg_inherits`, func(scan func(...any) error) error {
		var child, parent uint32
		if err := scan(&child, &parent); err != nil {
			return err
		}
		c, p := r.catalog.ByOID[child], r.catalog.ByOID[parent]
		if c == nil || p == nil {
			return nil // indexes are inherited too
		}
		r.children[parent] = append(r.children[parent], child)
		for i := range p.Columns {
			if col := c.Column(p.Columns[i].Name); col != nil {
				r.edge(columnKey{parent, p.Columns[i].Number}, columnKey{child, col.Number})
				r.edge(columnKey{child, col.Number}, columnKey{parent, p.Columns[i].Number})
			}
		}
		return nil
	})
}

// readGenerated ties generated columns to what they are computed from.
func (r *reader) readGenerated() error {
	return r.rows(`SELECT DISTINCT d.refobjid, d.refobjsubid::int2, ad.adnum FROM pg_attrdef ad
		JOIN pg_attribute a ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum AND a.attgenerated <> ''
		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = ad.adrelid AND d.refobjsubid > 0 AND d.refobjsubid <> ad.adnum
			AND (d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid OR d.classid = 'pg_class'::regclass AND d.objid = ad.adrelid AND d.objsubid = ad.adnum)
		ORDER BY 1, 2, 3`, func(scan func(...any) error) error {
		var oid uint32
		var base, generated int16
		if err := scan(&oid, &base, &generated); err != nil {
			return err
		}
		r.edge(columnKey{oid, base}, columnKey{oid, generated})
		if rel := r.catalog.ByOID[oid]; rel != nil {
			for i := range rel.Columns {
				if c := &rel.Columns[i]; c.Number == generated {
					c.Made = append(c.Made, base)
				}
			}
		}
		return nil
	})
}

// readRules reads what the rules of views read. Each column of a view carries the labels of what it is made of, and of
// the conditions that more than the rows of tables has a part in; every column those of all that the view reads, where
// its definition cannot be traced.
func (r *reader) readRules() error {
	if err := r.readTraces(); err != nil {
		return err
	}
	// Where a rule shows whole rows, the server keeps no dependency on their columns (find_expr_references_walker
	// in PostgreSQL's dependency.c): such a view may show every column of all that it reads.
	err := r.rows(`SELECT DISTINCT w.ev_class, d.refobjid, d.refobjsubid::int2, w.ev_action::text LIKE '%:varattno 0 %' FROM pg_rewrite w
		JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
		JOIN pg_class c ON c.oid = d.refobjid AND c.relkind <> 'c' -- a composite type has no rows
		WHERE w.rulename = '_RETURN' AND d.refobjid <> w.ev_class`, func(scan func(...any) error) error {
		var view, below uint32
		var number int16
		var rows bool
		if err := scan(&view, &below, &number, &rows); err != nil {
			return err
		}
		v := r.catalog.ByOID[view]
		if v == nil {
			return nil
		}
		if !slices.Contains(r.reads[view], below) {
			r.reads[view] = append(r.reads[view], below)
		}
		traced := r.traces[view] != nil
		switch {
		case rows, number == 0 && !traced:
			v.Uses = append(v.Uses, guard.Use{OID: below, All: true})
		default: // number 0: none of its columns
			v.Uses = append(v.Uses, guard.Use{OID: below, Column: number})
		}
		if traced {
			return nil
		}
		if rows {
			number = 0
		}
		for _, c := range v.Columns {
			r.flow(columnKey{below, number}, columnKey{view, c.Number})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for view, t := range r.traces {
		for _, c := range r.catalog.ByOID[view].Columns {
			for from := range t.columns[c.Number] {
				r.flow(from, columnKey{view, c.Number})
			}
			for _, k := range t.conditions {
				for from := range k.columns {
					if k.session {
						r.flow(from, columnKey{view, c.Number})
					}
				}
			}
		}
	}
	err = r.rows(`SELECT ev_class, xmin::text FROM pg_rewrite WHERE rulename = '_RETURN'`, func(scan func(...any) error) error {
		var oid uint32
		var version string
		if err := scan(&oid, &version); err != nil {
			return err
		}
		if rel := r.catalog.ByOID[oid]; rel != nil {
			rel.Definition = version
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.rows(`SELECT ev_class FROM pg_rewrite WHERE rulename <> '_RETURN'`, func(scan func(...any) error) error {
		var oid uint32
		if err := scan(&oid); err != nil {
			return err
		}
		if rel := r.catalog.ByOID[oid]; rel != nil {
			rel.Rules = true
		}
		return nil
	})
}

func (r *reader) readTriggers() error {
	return r.rows(`SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal`, func(scan func(...any) error) error {
		var oid, f uint32
		if err := scan(&oid, &f); err != nil {
			return err
		}
		r.call(oid, f)
		return nil
	})
}

// call notes that a write to a relation, or a read of a view, can run a function.
func (r *reader) call(relation, function uint32) {
	rel := r.catalog.ByOID[relation]
	f, own := r.functions[function]
	if rel == nil || !own || r.harmless[function] || slices.Contains(rel.Calls, f) {
		return
	}
	rel.Calls = append(rel.Calls, f)
}

// readCalls reads the functions outside pg_catalog in defaults, checks, index expressions, view rules and
// domain checks, by themselves or under an operator. (Dependencies on functions of pg_catalog are not kept
// by the server.)
func (r *reader) readCalls() error {
	const functions = `
		called AS (
			SELECT d.classid, d.objid, d.refobjid AS function FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass
			UNION
			SELECT d.classid, d.objid, o.oprcode FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid WHERE d.refclassid = 'pg_operator'::regclass
		)`
	err := r.rows(`WITH `+functions+`
		SELECT ad.adrelid, c.function FROM called c JOIN pg_attrdef ad ON c.classid = 'pg_attrdef'::regclass AND c.objid = ad.oid
		UNION SELECT k.conrelid, c.function FROM called c JOIN pg_constraint k ON c.classid = 'pg_constraint'::regclass AND c.objid = k.oid WHERE k.conrelid <> 0
		UNION SELECT i.indrelid, c.function FROM called c JOIN pg_index i ON c.classid = 'pg_class'::regclass AND c.objid = i.indexrelid
		UNION SELECT w.ev_class, c.function FROM called c JOIN pg_rewrite w ON c.classid = 'pg_rewrite'::regclass AND c.objid = w.oid`, func(scan func(...any) error) error {
		var oid, f uint32
		if err := scan(&oid, &f); err != nil {
			return err
		}
		r.call(oid, f)
		return nil
	})
	if err != nil {
		return err
	}
	err = r.rows(`WITH `+functions+`
		SELECT k.contypid, c.function FROM called c JOIN pg_constraint k ON c.classid = 'pg_constraint'::regclass AND c.objid = k.oid WHERE k.contypid <> 0
		UNION SELECT t.oid, c.function FROM called c JOIN pg_type t ON c.classid = 'pg_type'::regclass AND c.objid = t.oid WHERE t.typtype IN ('d', 'r')`, func(scan func(...any) error) error {
		var t, f uint32
		if err := scan(&t, &f); err != nil {
			return err
		}
		if typ, fn := r.types[t], r.functions[f]; typ != nil && fn.OID != 0 && !r.harmless[f] {
			typ.Calls = append(typ.Calls, fn)
		}
		return nil
	})
	if err != nil {
		return err
	}
	own := map[uint32][]guard.Function{} // by type: what its own checks and default call
	for oid, t := range r.types {
		own[oid] = t.Calls
	}
	for oid, t := range r.types {
		t.Calls = nil
		for _, part := range append([]uint32{oid}, r.parts[oid]...) {
			for _, f := range own[part] {
				if !slices.Contains(t.Calls, f) {
					t.Calls = append(t.Calls, f)
				}
			}
		}
	}
	for _, rel := range r.catalog.ByOID {
		for _, c := range rel.Columns {
			for _, part := range r.parts[c.TypeOID] {
				for _, f := range own[part] {
					r.call(rel.OID, f.OID)
				}
			}
		}
	}
	return nil
}
