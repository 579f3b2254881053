package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// risk is one thing that the upstream role may do beyond reading and writing rows: what a mistake in the
// gateway would cost.
type risk struct {
	level  gate.Level
	is     string // what the role is, or may do: "a superuser"
	remedy string // SQL, or a sentence
}

// powerful are the predefined roles (PostgreSQL documentation, 21.5) whose members could get around the
// gateway's rules by themselves, or do harm that no rule of it is about. false: a warning only.
var powerful = map[string]bool{
	"pg_read_server_files": true, "pg_write_server_files": true, "pg_execute_server_program": true,
	"pg_monitor": true, "pg_read_all_settings": true, "pg_read_all_stats": true, "pg_stat_scan_tables": true,
	"pg_create_subscription": true, "pg_signal_backend": false, "pg_signal_autovacuum_worker": false,
	"pg_read_all_data": false, "pg_write_all_data": false, "pg_maintain": false, "pg_checkpoint": false,
	"pg_use_reserved_connections": false, "pg_database_owner": false,
}

// fileFunctions reach the server's files by themselves where EXECUTE on them was granted.
var fileFunctions = []string{"pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file", "lo_import", "lo_export"}

// role is the role that the gateway signed in as.
type role struct {
	ctx   context.Context
	tx    pgx.Tx
	name  string
	oid   uint32
	super bool
	risks []risk
}

func (r *role) add(level gate.Level, is, remedy string) {
	r.risks = append(r.risks, risk{level, is, remedy})
}

// sql is an identifier as SQL writes it.
func sql(name string) string { return pgx.Identifier{name}.Sanitize() }

// inspectRole finds out what the role of a transaction may do.
func inspectRole(ctx context.Context, tx pgx.Tx, c *guard.Catalog) (*role, error) {
	r := &role{ctx: ctx, tx: tx}
	for _, step := range []func() error{
		r.attributes, r.memberships, func() error { return r.ownership(c) }, r.functions, r.creation,
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("inspect the role: %w", err)
		}
	}
	slices.SortStableFunc(r.risks, func(a, b risk) int { return strings.Compare(string(a.level), string(b.level)) })
	return r, nil
}

func (r *role) attributes() error {
	var bypass, replication, createRole, createDB bool
	err := r.tx.QueryRow(r.ctx, `SELECT oid, rolname, rolsuper, rolbypassrls, rolreplication, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user`).
		Scan(&r.oid, &r.name, &r.super, &bypass, &replication, &createRole, &createDB)
	if err != nil {
		return err
	}
	for _, one := range []struct {
		has      bool
		level    gate.Level
		is, word string
	}{
		{r.super, gate.Wrong, "a superuser", "NOSUPERUSER"}, {bypass, gate.Wrong, "BYPASSRLS", "NOBYPASSRLS"},
		{replication, gate.Wrong, "REPLICATION", "NOREPLICATION"}, {createRole, gate.Wrong, "CREATEROLE", "NOCREATEROLE"},
		{createDB, gate.Warning, "CREATEDB", "NOCREATEDB"},
	} {
		if one.has {
			r.add(one.level, one.is, "ALTER ROLE "+sql(r.name)+" "+one.word+";")
		}
	}
	return nil
}

// memberships looks at every role that this one can use or become, directly or not. (A superuser is a member
// of all.)
func (r *role) memberships() error {
	rows, err := r.tx.Query(r.ctx, `SELECT g.rolname, g.rolsuper, g.rolbypassrls, g.rolreplication, g.rolcreaterole, pg_has_role($1::oid, g.oid, 'USAGE'),
			EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = g.oid AND m.member = $1::oid)
		FROM pg_roles g WHERE g.oid <> $1::oid AND NOT $2 AND pg_has_role($1::oid, g.oid, 'MEMBER') ORDER BY g.rolname`, r.oid, r.super)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var has [4]bool
		var uses, direct bool
		if err := rows.Scan(&name, &has[0], &has[1], &has[2], &has[3], &uses, &direct); err != nil {
			return err
		}
		refused, known := powerful[name]
		level, is := gate.Warning, "a member of "+name
		var attributes []string
		for i, word := range []string{"superuser", "BYPASSRLS", "REPLICATION", "CREATEROLE"} {
			if has[i] {
				attributes = append(attributes, word)
			}
		}
		if refused || len(attributes) > 0 {
			level = gate.Wrong
		}
		if len(attributes) > 0 {
			is += ", which is " + strings.Join(attributes, " and ")
		}
		if !uses {
			is += " (by SET ROLE)"
		}
		remedy := "REVOKE " + sql(name) + " FROM " + sql(r.name) + ";"
		switch {
		case name == "pg_database_owner":
			is, remedy = "the owner of the database", "Give the database another owner: ALTER DATABASE … OWNER TO …;"
		case !known && len(attributes) == 0:
			is += ", whose rights are its own too"
		case !direct:
			remedy = "Revoke from " + sql(r.name) + " the role through which it is a member of " + sql(name) + "."
		}
		r.add(level, is, remedy)
	}
	return rows.Err()
}

// ownership: an owner may do anything to a table, row security and grants notwithstanding.
func (r *role) ownership(c *guard.Catalog) error {
	rows, err := r.tx.Query(r.ctx, `SELECT c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT $2 AND pg_has_role($1::oid, c.relowner, 'MEMBER')`, r.oid, r.super)
	if err != nil {
		return err
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return err
	}
	owns := map[bool][]string{}
	for _, oid := range oids {
		if rel := c.ByOID[oid]; rel != nil {
			labelled := slices.ContainsFunc(rel.Columns, func(c guard.Column) bool { return len(c.Labels) > 0 })
			owns[labelled] = append(owns[labelled], rel.Name.String())
		}
	}
	for labelled, names := range owns {
		slices.Sort(names)
		level, which := gate.Warning, "tables"
		if labelled {
			level, which = gate.Wrong, "labelled tables"
		}
		r.add(level, "owner of "+which+" ("+some(names)+")", "Give them another owner, and this role the grants that it needs: ALTER TABLE "+names[0]+" OWNER TO …;")
	}
	return nil
}

// some are the first of many names.
func some(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (r *role) functions() error {
	rows, err := r.tx.Query(r.ctx, `SELECT DISTINCT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY($1) AND NOT $2
		AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1`, fileFunctions, r.super)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if len(names) > 0 {
		r.add(gate.Wrong, "allowed to reach the server's files with "+strings.Join(names, ", "), "REVOKE EXECUTE ON those functions FROM "+sql(r.name)+", and from PUBLIC.")
	}
	return err
}

// creation: who may create objects can put one where another is expected.
func (r *role) creation() error {
	var database string
	var create bool
	if err := r.tx.QueryRow(r.ctx, `SELECT current_database(), has_database_privilege(current_database(), 'CREATE') AND NOT $1`, r.super).Scan(&database, &create); err != nil {
		return err
	}
	if create {
		r.add(gate.Warning, "allowed to create schemas in the database", "REVOKE CREATE ON DATABASE "+sql(database)+" FROM "+sql(r.name)+";")
	}
	rows, err := r.tx.Query(r.ctx, `SELECT n.nspname::text, has_schema_privilege('public', n.oid, 'CREATE'), EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid)
		FROM pg_namespace n WHERE `+userSchema+` AND NOT $1 AND has_schema_privilege(n.oid, 'CREATE') ORDER BY 1`, r.super)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var everyone, extension bool
		if err := rows.Scan(&name, &everyone, &extension); err != nil {
			return err
		}
		is, from := "allowed to create objects in the schema "+name, sql(r.name)
		if extension {
			is += ", where an extension's objects are (its operators are refused until that is revoked)"
		}
		if everyone {
			from = "PUBLIC"
		}
		r.add(gate.Warning, is, "REVOKE CREATE ON SCHEMA "+sql(name)+" FROM "+from+"; (where policies permit CREATE TABLE, it is needed)")
	}
	return rows.Err()
}

// checkRole refuses an upstream role that could get around the gateway's rules by itself.
func checkRole(ctx context.Context, tx pgx.Tx, connection string, c *guard.Catalog, allowed bool) error {
	if allowed {
		return nil
	}
	r, err := inspectRole(ctx, tx, c)
	if err != nil {
		return err
	}
	var why []string
	for _, one := range r.risks {
		if one.level != gate.Warning {
			why = append(why, one.is)
		}
	}
	if len(why) == 0 {
		return nil
	}
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "58000",
		Reason:   fmt.Sprintf("The role that connection %s signs in with (%s) is too powerful: it is %s.", connection, r.name, strings.Join(why, ", ")),
		Remedy:   "The operator gives the connection a role of its own with no more than the rights that it needs (`gatehouse connections check " + connection + "` names each), or accepts the risk with `allow_privileged_role: true`.",
	}
}
