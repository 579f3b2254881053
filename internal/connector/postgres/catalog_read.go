package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	guard "gatehouse/internal/sqlguard/postgres"
)

// reader builds a catalog from the system catalogs (PostgreSQL documentation, chapter 53), in one snapshot.
type reader struct {
	ctx     context.Context
	tx      pgx.Tx
	catalog *guard.Catalog

	functions map[uint32]guard.Function
	types     map[uint32]*guard.Type
	edges     map[columnKey][]columnKey // labels flow along them
	reads     map[uint32][]uint32       // relation → what its view rules read
	cascades  map[uint32][]guard.Cascade
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
	for _, step := range []func() error{
		r.readRelations, r.readColumns, r.readKeys, r.readFunctions, r.readTypes,
		r.readForeignKeys, r.readInheritance, r.readGenerated, r.readRules, r.readTriggers, r.readCalls,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	r.spreadReach()
	r.spreadCascades()
	if err := r.applyLabels(labels); err != nil {
		return err
	}
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
	return r.rows(`SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relnatts, c.relrowsecurity
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND `+userSchema, func(scan func(...any) error) error {
		var kind string
		rel := &guard.Relation{}
		if err := scan(&rel.OID, &rel.Name.Schema, &rel.Name.Name, &kind, &rel.Natts, &rel.RowSecurity); err != nil {
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
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog'`, func(scan func(...any) error) error {
		var f guard.Function
		if err := scan(&f.OID, &f.Name.Schema, &f.Name.Name, &f.Arguments); err != nil {
			return err
		}
		r.functions[f.OID] = f
		return nil
	})
}

// readTypes reads enums and domains, and base types so that they can be named in an error.
func (r *reader) readTypes() error {
	return r.rows(`SELECT t.oid, n.nspname, t.typname, t.typtype::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE t.typtype IN ('e', 'd', 'b', 'r', 'm') AND t.typcategory <> 'A' AND `+userSchema, func(scan func(...any) error) error {
		t := &guard.Type{}
		var kind string
		if err := scan(&t.OID, &t.Name.Schema, &t.Name.Name, &kind); err != nil {
			return err
		}
		t.Kind = kind[0]
		r.types[t.OID], r.catalog.Types[t.Name] = t, t
		return nil
	})
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
	return r.rows(`SELECT d.refobjid, d.refobjsubid::int2, ad.adnum FROM pg_attrdef ad
		JOIN pg_attribute a ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum AND a.attgenerated <> ''
		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = ad.adrelid AND d.refobjsubid > 0 AND d.refobjsubid <> ad.adnum
			AND (d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid OR d.classid = 'pg_class'::regclass AND d.objid = ad.adrelid AND d.objsubid = ad.adnum)`, func(scan func(...any) error) error {
		var oid uint32
		var base, generated int16
		if err := scan(&oid, &base, &generated); err != nil {
			return err
		}
		r.edge(columnKey{oid, base}, columnKey{oid, generated})
		return nil
	})
}

// readRules reads what the rules of views read; every column of a view carries the labels of all that.
func (r *reader) readRules() error {
	err := r.rows(`SELECT DISTINCT w.ev_class, d.refobjid, d.refobjsubid::int2 FROM pg_rewrite w
		JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
		WHERE w.rulename = '_RETURN' AND d.refobjid <> w.ev_class`, func(scan func(...any) error) error {
		var view, below uint32
		var number int16
		if err := scan(&view, &below, &number); err != nil {
			return err
		}
		v := r.catalog.ByOID[view]
		if v == nil {
			return nil
		}
		if !slices.Contains(r.reads[view], below) {
			r.reads[view] = append(r.reads[view], below)
		}
		source := r.catalog.ByOID[below]
		for _, c := range v.Columns {
			if number > 0 {
				r.edge(columnKey{below, number}, columnKey{view, c.Number})
			} else if source != nil {
				// The relation as a whole: a row of it may be what is shown.
				for _, s := range source.Columns {
					r.edge(columnKey{below, s.Number}, columnKey{view, c.Number})
				}
			}
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
	if rel == nil || !own || slices.Contains(rel.Calls, f) {
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
		SELECT k.contypid, c.function FROM called c JOIN pg_constraint k ON c.classid = 'pg_constraint'::regclass AND c.objid = k.oid WHERE k.contypid <> 0`, func(scan func(...any) error) error {
		var t, f uint32
		if err := scan(&t, &f); err != nil {
			return err
		}
		if typ, fn := r.types[t], r.functions[f]; typ != nil && fn.OID != 0 {
			typ.Calls = append(typ.Calls, fn)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, rel := range r.catalog.ByOID {
		for _, c := range rel.Columns {
			if t := r.types[c.TypeOID]; t != nil {
				for _, f := range t.Calls {
					r.call(rel.OID, f.OID)
				}
			}
		}
	}
	return nil
}

// spreadReach follows views over views. A view that reads a relation outside the catalog is unknown.
func (r *reader) spreadReach() {
	for oid, rel := range r.catalog.ByOID {
		if r.reads[oid] == nil {
			continue
		}
		seen := map[uint32]bool{}
		var visit func(uint32)
		visit = func(o uint32) {
			for _, below := range r.reads[o] {
				if seen[below] {
					continue
				}
				seen[below] = true
				b := r.catalog.ByOID[below]
				if b == nil {
					rel.Unknown = true
					continue
				}
				if b.Kind != guard.Sequence {
					rel.Reaches = append(rel.Reaches, below)
				}
				for _, f := range b.Calls {
					if b.Kind == guard.View {
						r.call(oid, f.OID)
					}
				}
				visit(below)
			}
		}
		visit(oid)
	}
}

// spreadCascades follows foreign keys' actions transitively.
func (r *reader) spreadCascades() {
	for oid, rel := range r.catalog.ByOID {
		found := map[uint32]*guard.Cascade{}
		var visit func(at uint32, deleted, updated bool)
		visit = func(at uint32, deleted, updated bool) {
			for _, c := range r.cascades[at] {
				does := guard.Cascade{OID: c.OID}
				if deleted {
					does.OnDelete = c.OnDelete
				}
				if updated {
					does.OnUpdate = c.OnUpdate
				}
				have := found[c.OID]
				if have == nil {
					have = &guard.Cascade{OID: c.OID}
					found[c.OID] = have
				}
				before := *have
				if does.OnDelete == "delete" || have.OnDelete == "" {
					have.OnDelete = cmp.Or(does.OnDelete, have.OnDelete)
				}
				have.OnUpdate = cmp.Or(have.OnUpdate, does.OnUpdate)
				if *have != before {
					visit(c.OID, have.OnDelete == "delete", have.OnUpdate != "" || have.OnDelete == "update")
				}
			}
		}
		visit(oid, true, true)
		for _, c := range found {
			if c.OID != oid && (c.OnDelete != "" || c.OnUpdate != "") {
				rel.Cascades = append(rel.Cascades, *c)
			}
		}
	}
}

// applyLabels puts the configured labels on their columns and lets them flow to every column that can carry
// the same values: over foreign keys, inheritance, generated columns and views.
func (r *reader) applyLabels(labels map[guard.Name]map[string][]string) error {
	has := map[columnKey][]string{}
	var work []columnKey
	for name, columns := range labels {
		rel := r.catalog.Relations[name]
		if rel == nil {
			return fmt.Errorf("labels: there is no table %s: correct it in the configuration", name)
		}
		for c, list := range columns {
			col := rel.Column(c)
			if col == nil {
				return fmt.Errorf("labels: table %s has no column %q: correct it in the configuration", name, c)
			}
			k := columnKey{rel.OID, col.Number}
			has[k] = append(has[k], list...)
			work = append(work, k)
		}
	}
	for len(work) > 0 {
		k := work[len(work)-1]
		work = work[:len(work)-1]
		for _, to := range r.edges[k] {
			grew := false
			for _, l := range has[k] {
				if !slices.Contains(has[to], l) {
					has[to] = append(has[to], l)
					grew = true
				}
			}
			if grew {
				work = append(work, to)
			}
		}
	}
	for k, list := range has {
		rel := r.catalog.ByOID[k.oid]
		if rel == nil {
			continue
		}
		for i := range rel.Columns {
			if rel.Columns[i].Number == k.number {
				slices.Sort(list)
				rel.Columns[i].Labels = slices.Compact(list)
			}
		}
	}
	return nil
}

// sort gives every list an order, so that equal catalogs are equal.
func (r *reader) sort() {
	byOID := func(a, b guard.Function) int { return cmp.Compare(a.OID, b.OID) }
	for _, rel := range r.catalog.ByOID {
		slices.Sort(rel.Reaches)
		slices.SortFunc(rel.Calls, byOID)
		slices.SortFunc(rel.Cascades, func(a, b guard.Cascade) int { return cmp.Compare(a.OID, b.OID) })
	}
	for _, t := range r.catalog.Types {
		slices.SortFunc(t.Calls, byOID)
	}
}

func sortedRelations(c *guard.Catalog) []*guard.Relation {
	list := make([]*guard.Relation, 0, len(c.ByOID))
	for _, r := range c.ByOID {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *guard.Relation) int { return cmp.Compare(a.OID, b.OID) })
	return list
}

func sortedTypes(c *guard.Catalog) []*guard.Type {
	list := make([]*guard.Type, 0, len(c.Types))
	for _, t := range c.Types {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *guard.Type) int { return cmp.Compare(a.OID, b.OID) })
	return list
}
