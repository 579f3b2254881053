package postgres

import (
	"slices"

	guard "gatehouse/internal/sqlguard/postgres"
)

// outside is a function outside pg_catalog as the catalog has it.
type outside struct {
	oid       uint32
	name      guard.Name
	extension string
	pure      bool // it may be called without a permit
	called    bool // it may be called with one, as far as its kind goes
	volatile  bool
	result    uint32
	fields    []guard.Field
}

// readExtensions reads the functions and operators outside pg_catalog, and decides which of them keep their
// meaning: those of trusted extensions, and the constructors of ranges.
func (r *reader) readExtensions() error {
	functions, err := r.readOutside()
	if err != nil {
		return err
	}
	if err := r.readOperators(r.catalog.SearchPath, functions); err != nil {
		return err
	}
	if err := r.readUsable(); err != nil {
		return err
	}
	r.catalog.Functions = map[guard.Name]*guard.Overloads{}
	for _, f := range functions {
		usable := f.pure && (!r.typed[f.extension] || slices.Contains(r.catalog.OperatorPath, f.name.Schema))
		called := f.called && r.relied(f.result) && !slices.ContainsFunc(f.fields, func(c guard.Field) bool { return !r.relied(c.TypeOID) })
		o := r.catalog.Functions[f.name]
		if o == nil {
			r.catalog.Functions[f.name] = &guard.Overloads{Allowed: usable, Apart: f.pure, Called: called, Volatile: f.volatile, Result: f.result, Fields: f.fields}
			continue
		}
		o.Allowed, o.Apart = o.Allowed && usable, o.Apart && f.pure
		o.Called, o.Volatile = o.Called && called, o.Volatile || f.volatile
		o.Differ = o.Differ || !slices.Equal(o.Fields, f.fields)
		if o.Result != f.result {
			o.Result = 0
		}
	}
	for _, rel := range r.catalog.ByOID {
		for i := range rel.Columns {
			if c := &rel.Columns[i]; c.Extension {
				base := r.types[r.bases[columnKey{rel.OID, c.Number}]]
				c.Extension = base == nil || !base.Usable
				c.Citext = !c.Extension && base.OID == c.TypeOID && r.citext[base.OID]
			}
		}
	}
	return nil
}

// relied says whether the gateway can rely on the operators over a type: it is the server's own, or one that may be named.
func (r *reader) relied(oid uint32) bool {
	if oid < 16384 { // FirstNormalObjectId: what users make begins there
		return true
	}
	for _, t := range r.types {
		if t.OID == oid || t.Array == oid {
			return t.Kind != 'b' || t.Usable
		}
	}
	return false
}

// readOutside reads the functions. One that takes the name of an object as a value, that runs with its owner's
// rights, or that is no plain function, aggregate or window function, is never pure.
func (r *reader) readOutside() (map[uint32]*outside, error) {
	out := map[uint32]*outside{}
	r.harmless = map[uint32]bool{}
	r.catalog.Harmless = r.harmless
	err := r.rows(`SELECT p.oid, n.nspname, p.proname, coalesce(e.extname, ''), p.provolatile::text, p.prorettype,
			p.prokind IN ('f', 'a', 'w') AND NOT p.prosecdef AND p.prorettype <> 'trigger'::regtype AND p.prorettype <> 'event_trigger'::regtype
				AND NOT p.proargtypes::oid[] && ARRAY['regclass','regproc','regprocedure','regoper','regoperator','regtype','regrole','regnamespace','refcursor','internal']::regtype[]::oid[],
			p.prokind IN ('f', 'a', 'w') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype), p.provolatile = 'v',
			p.prosecdef, l.lanname = 'internal' AND p.prosrc ~ '^(multi)?range_constructor[0-9]$' AND p.prorettype >= 16384
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
		LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
		LEFT JOIN pg_extension e ON e.oid = d.refobjid
		WHERE `+userSchema, func(scan func(...any) error) error {
		f := &outside{}
		var volatility string
		var plain, definer, constructor bool
		if err := scan(&f.oid, &f.name.Schema, &f.name.Name, &f.extension, &volatility, &f.result, &plain, &f.called, &f.volatile, &definer, &constructor); err != nil {
			return err
		}
		trusted := !definer && guard.ExtensionFunction(f.extension, f.name.Name, volatility)
		f.pure = constructor || plain && trusted
		r.harmless[f.oid] = f.pure || trusted
		out[f.oid] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = r.rows(`SELECT p.oid, a.name, a.type FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
			LATERAL (SELECT p.proargnames[i] AS name, p.proallargtypes[i] AS type, i AS at FROM generate_subscripts(p.proallargtypes, 1) i WHERE p.proargmodes[i] IN ('o', 'b', 't')
				UNION ALL SELECT t.attname, t.atttypid, t.attnum FROM pg_type y JOIN pg_attribute t ON t.attrelid = y.typrelid
					WHERE y.oid = p.prorettype AND y.typtype = 'c' AND t.attnum > 0 AND NOT t.attisdropped) a
		WHERE `+userSchema+` AND coalesce(a.name, '') <> '' ORDER BY p.oid, a.at`, func(scan func(...any) error) error {
		var oid uint32
		var f guard.Field
		if err := scan(&oid, &f.Name, &f.TypeOID); err != nil {
			return err
		}
		if o := out[oid]; o != nil {
			o.fields = append(o.fields, f)
		}
		return nil
	})
	for _, f := range out {
		if len(f.fields) == 1 && r.types[f.result] == nil {
			f.fields = nil // one OUT parameter is a value, not a row
		}
	}
	return out, err
}

// readOperators finds the schemas that the pinned path may have besides pg_catalog.
func (r *reader) readOperators(searchPath []string, functions map[uint32]*outside) error {
	type schema struct{ trusted, foreign bool }
	schemas := map[string]*schema{}
	refused := map[string][]string{}
	err := r.rows(`SELECT n.nspname, o.oprname, o.oprcode::oid, coalesce(e.extname, ''), has_schema_privilege(n.oid, 'CREATE')
		FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
		LEFT JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
		LEFT JOIN pg_extension e ON e.oid = d.refobjid
		WHERE `+userSchema, func(scan func(...any) error) error {
		var name, operator, extension string
		var code uint32
		var creates bool
		if err := scan(&name, &operator, &code, &extension, &creates); err != nil {
			return err
		}
		if schemas[name] == nil {
			schemas[name] = &schema{}
		}
		trusted := guard.Extensions[extension]
		schemas[name].trusted = schemas[name].trusted || trusted
		schemas[name].foreign = schemas[name].foreign || creates || !trusted
		// The operators of pg_catalog's own functions (intarray has some) are as good as those.
		if f := functions[code]; trusted && f != nil && !f.pure {
			refused[name] = append(refused[name], operator)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.catalog.RefusedOperators = map[string]bool{}
	for _, name := range searchPath {
		if s := schemas[name]; s != nil && s.trusted && !s.foreign {
			r.catalog.OperatorPath = append(r.catalog.OperatorPath, name)
			for _, operator := range refused[name] {
				r.catalog.RefusedOperators[operator] = true
			}
		}
	}
	return nil
}

// readUsable finds the base types of trusted extensions whose operators the pinned path finds, and which
// extensions have types.
func (r *reader) readUsable() error {
	r.typed = map[string]bool{}
	r.bases = map[columnKey]uint32{}
	r.citext = map[uint32]bool{}
	err := r.rows(`SELECT t.oid, e.extname, n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
		JOIN pg_extension e ON e.oid = d.refobjid WHERE t.typtype = 'b'`, func(scan func(...any) error) error {
		var oid uint32
		var extension, schema string
		if err := scan(&oid, &extension, &schema); err != nil {
			return err
		}
		r.typed[extension] = true
		if extension == "citext" {
			r.citext[oid] = true
		}
		if t := r.types[oid]; t != nil {
			t.Usable = guard.Extensions[extension] && slices.Contains(r.catalog.OperatorPath, schema)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.rows(`SELECT a.attrelid, a.attnum, coalesce(b.oid, e.oid, t.oid) FROM pg_attribute a
		JOIN pg_type t ON t.oid = a.atttypid
		LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' AND t.typelem <> 0
		LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
		WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384 -- FirstNormalObjectId`, func(scan func(...any) error) error {
		var key columnKey
		var base uint32
		if err := scan(&key.oid, &key.number, &base); err != nil {
			return err
		}
		r.bases[key] = base
		return nil
	})
}
