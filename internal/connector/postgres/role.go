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

// checkRole refuses an upstream role that could get around the gateway's rules by itself: what it may do
// beyond reading and writing rows is what a mistake in the gateway would cost.
func checkRole(ctx context.Context, tx pgx.Tx, connection string, c *guard.Catalog, allowed bool) error {
	var labelled []uint32
	for oid, r := range c.ByOID {
		if slices.ContainsFunc(r.Columns, func(c guard.Column) bool { return len(c.Labels) > 0 }) {
			labelled = append(labelled, oid)
		}
	}
	slices.Sort(labelled)
	var role string
	var super, bypass, replication bool
	var member, owns []string
	err := tx.QueryRow(ctx, `SELECT rolname, rolsuper, rolbypassrls, rolreplication,
			ARRAY(SELECT g.rolname::text FROM pg_roles g WHERE g.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_monitor')
				AND NOT r.rolsuper AND pg_has_role(r.oid, g.oid, 'MEMBER') ORDER BY 1),
			ARRAY(SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid = ANY($1::oid[]) AND NOT r.rolsuper AND pg_has_role(r.oid, c.relowner, 'MEMBER') ORDER BY 1)
		FROM pg_roles r WHERE r.rolname = current_user`, labelled).Scan(&role, &super, &bypass, &replication, &member, &owns)
	if err != nil {
		return fmt.Errorf("inspect the role: %w", err)
	}
	var why []string
	for _, one := range []struct {
		is   bool
		what string
	}{{super, "a superuser"}, {bypass, "BYPASSRLS"}, {replication, "REPLICATION"}} {
		if one.is {
			why = append(why, one.what)
		}
	}
	for _, m := range member {
		why = append(why, "a member of "+m)
	}
	if len(owns) > 0 {
		why = append(why, "owner of labelled tables ("+strings.Join(owns, ", ")+")")
	}
	if len(why) == 0 || allowed {
		return nil
	}
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "58000",
		Reason:   fmt.Sprintf("The role that connection %s signs in with (%s) is too powerful: it is %s.", connection, role, strings.Join(why, ", ")),
		Remedy:   "The operator gives the connection a role of its own with no more than the rights that it needs, or accepts the risk with `allow_privileged_role: true`.",
	}
}
