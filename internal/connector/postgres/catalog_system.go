package postgres

import (
	guard "gatehouse/internal/sqlguard/postgres"
)

// readSystem reads what the server's own catalogs look like.
func (r *reader) readSystem() error {
	system := map[guard.Name]*guard.Relation{}
	err := r.rows(`SELECT n.nspname, c.oid, c.relname, c.relkind::text, a.attnum, a.attname, tn.nspname, t.typname, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
		WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v') AND c.oid < 16384 AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY c.oid, a.attnum`, func(scan func(...any) error) error {
		var n guard.Name
		var oid uint32
		var kind string
		var c guard.Column
		if err := scan(&n.Schema, &oid, &n.Name, &kind, &c.Number, &c.Name, &c.Type.Schema, &c.Type.Name, &c.TypeOID, &c.TypeMod, &c.Spelled); err != nil {
			return err
		}
		rel := system[n]
		if rel == nil {
			rel = &guard.Relation{OID: oid, Name: n, Kind: guard.RelationKind(kind[0])}
			system[n] = rel
		}
		rel.Columns = append(rel.Columns, c)
		return nil
	})
	r.catalog.System = system
	return err
}

// readSchemas reads the schemas that users made.
func (r *reader) readSchemas() error {
	return r.rows(`SELECT n.oid, n.nspname FROM pg_namespace n WHERE `+userSchema, func(scan func(...any) error) error {
		var oid uint32
		var name string
		if err := scan(&oid, &name); err != nil {
			return err
		}
		r.catalog.Schemas[name] = oid
		return nil
	})
}
