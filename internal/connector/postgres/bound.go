package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Bound is what an approval of the request is bound to: the intent, with the versions that the database says the
// objects have now, and with the settings and the search path. A text that sets what its own literals mean is refused.
func (r *request) Bound(ctx context.Context) (gate.Intent, error) {
	i := r.Intent()
	if r.plan == nil || r.prepare {
		return i, nil
	}
	if restyles(r.plan) {
		return i, restyledRefusal("text", "Send the SET by itself, then the statement in the next text.")
	}
	settings := r.meaning()
	settings["search_path"] = r.searchPath()
	i.Settings = settings
	objects, err := r.session.target.catalogs.objects(ctx, r.plan)
	if err != nil {
		return i, r.session.target.unreachable(err)
	}
	i.Objects = objects
	return i, nil
}

// searchPath is the session's, as it was spelled.
func (r *request) searchPath() string {
	if p := r.state.Path(); p != nil {
		return p.Spelled
	}
	return strings.Join(r.session.target.options.SearchPath, ", ")
}

// objectVersions asks for the versions of relations ($1) and functions ($2): the transactions that wrote them, their
// columns, defaults, triggers, constraints, rules and row security policies (PostgreSQL documentation, 5.5: xmin).
const objectVersions = `SELECT 'r', c.oid, md5(concat_ws('/', c.xmin,
		(SELECT string_agg(concat(attnum, ':', xmin), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
		(SELECT string_agg(concat(oid, ':', xmin), ',' ORDER BY oid) FROM pg_attrdef WHERE adrelid = c.oid),
		(SELECT string_agg(concat(oid, ':', xmin), ',' ORDER BY oid) FROM pg_trigger WHERE tgrelid = c.oid),
		(SELECT string_agg(concat(oid, ':', xmin), ',' ORDER BY oid) FROM pg_constraint WHERE conrelid = c.oid),
		(SELECT string_agg(concat(oid, ':', xmin), ',' ORDER BY oid) FROM pg_rewrite WHERE ev_class = c.oid),
		(SELECT string_agg(concat(oid, ':', xmin), ',' ORDER BY oid) FROM pg_policy WHERE polrelid = c.oid)))
	FROM pg_class c WHERE c.oid = ANY($1)
	UNION ALL SELECT 'f', p.oid, p.xmin::text FROM pg_proc p WHERE p.oid = ANY($2)`

// objects are the relations and functions that a plan reaches, with the versions that they have now. What is not there
// any more has no version.
func (c *catalogs) objects(ctx context.Context, plan *guard.Plan) ([]gate.Object, error) {
	catalog, _, err := c.Current(ctx)
	if err != nil {
		return nil, err
	}
	relations, functions := catalog.Reached(plan)
	if len(relations)+len(functions) == 0 {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), catalogTime)
	defer cancel()
	if err := c.connected(reading); err != nil {
		return nil, err
	}
	versions := map[string]string{}
	rows, err := c.conn.Query(reading, objectVersions, slices.Sorted(maps.Keys(relations)), slices.Sorted(maps.Keys(functions)))
	if err != nil {
		return nil, fmt.Errorf("read the versions of objects: %w", err)
	}
	var kind, version string
	var oid uint32
	_, err = pgx.ForEachRow(rows, []any{&kind, &oid, &version}, func() error {
		versions[kind+strconv.FormatUint(uint64(oid), 10)] = version
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the versions of objects: %w", err)
	}
	var out []gate.Object
	add := func(kind, word string, things map[uint32]string) {
		for oid, name := range things {
			id := strconv.FormatUint(uint64(oid), 10)
			out = append(out, gate.Object{Kind: word, Name: name, ID: id, Version: versions[kind+id]})
		}
	}
	add("r", "relation", relations)
	add("f", "function", functions)
	slices.SortFunc(out, func(a, b gate.Object) int {
		return strings.Compare(a.Kind+" "+a.Name+" "+a.ID, b.Kind+" "+b.Name+" "+b.ID)
	})
	if slices.ContainsFunc(out, func(o gate.Object) bool { return o.Version == "" }) {
		return nil, errors.New("an object that the statement names is not there any more")
	}
	return out, nil
}
