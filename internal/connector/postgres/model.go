package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Snapshot writes down the catalog with the labels in force.
func (i *inspector) Snapshot(ctx context.Context, system bool) ([]byte, error) {
	if err := i.Secrets(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	l, err := i.open(ctx)
	if err != nil {
		problem, remedy := unreachableBecause(err)
		return nil, errors.New(problem + " " + remedy)
	}
	defer l.close()
	if len(l.mistaken) > 0 {
		return nil, errors.New(l.mistaken[0].Problem + " " + l.mistaken[0].Remedy)
	}
	return l.reader.catalog.Snapshot(l.server, system)
}

// Model reads a snapshot.
func (connector) Model(text []byte) (gate.Model, error) {
	c, err := guard.ReadSnapshot(text)
	if err != nil {
		return nil, err
	}
	g, err := guard.New()
	if err != nil {
		return nil, err
	}
	return newModel(c, g), nil
}

// model is a connection as a catalog shows it.
type model struct {
	catalog *guard.Catalog
	guard   *guard.Guard
	tables  map[string]*guard.Relation // by the id of their resource
	columns map[string]placedColumn
}

type placedColumn struct {
	relation *guard.Relation
	column   *guard.Column
}

func newModel(c *guard.Catalog, g *guard.Guard) *model {
	m := &model{catalog: c, guard: g, tables: map[string]*guard.Relation{}, columns: map[string]placedColumn{}}
	for _, r := range c.ByOID {
		m.tables[c.TableResource(r.Name).ID] = r
		for i := range r.Columns {
			m.columns[c.ColumnResource(r, &r.Columns[i]).ID] = placedColumn{r, &r.Columns[i]}
		}
	}
	return m
}

func (m *model) Connection() policy.Resource { return m.catalog.Connection }

// environment is that of a session's first statement, at a server that can make pseudonyms.
func (m *model) environment(sight guard.Sight) guard.Environment {
	return guard.Environment{Catalog: m.catalog, Sight: sight, Tokens: true}
}

// Understand makes the plan of a text. What a refused text would do is found out as if everything were permitted.
func (m *model) Understand(slice *policy.Slice, text string) gate.Understood {
	plan, err := m.guard.Analyze(m.environment(slice), text)
	var out gate.Understood
	if err != nil {
		var ge *guard.Error
		if !errors.As(err, &ge) {
			out.Refusal = &gate.Refusal{Code: gate.Unavailable, Reason: err.Error()}
			return out
		}
		out.Refusal = refusalOfGuard(ge)
		if plan, err = m.guard.Analyze(m.environment(guard.Everything{}), text); err != nil {
			return out
		}
	} else {
		out.Text = plan.Text
	}
	out.Touches = plan.Touches
	out.Shown, out.Rows = map[string]string{}, map[string]policy.Rows{}
	for _, t := range plan.Touches {
		switch {
		case t.Action == "read" && t.Resource.Type == "Column":
			if shown := m.Shown(slice, t.Resource); shown != "" {
				out.Shown[t.Resource.ID] = shown
			}
		case t.Resource.Type == "Table":
			if e := slice.May(t.Action, t.Resource); e.Visible && len(e.Rows) > 0 {
				out.Rows[t.Resource.ID] = out.Rows[t.Resource.ID].And(e.Rows)
			}
		}
	}
	return out
}

// Shown is the mask of a column; empty where it may not be read, or is not there.
func (m *model) Shown(slice *policy.Slice, column policy.Resource) string {
	at, ok := m.columns[column.ID]
	if !ok {
		return ""
	}
	e, mask := m.environment(slice).Shown(at.relation, at.column)
	switch {
	case !e.Visible:
		return ""
	case mask == policy.MaskBucket:
		return "bucket:" + strconv.FormatInt(e.Width, 10)
	}
	return mask.String()
}

// Actions are those of the connector's schema.
func (m *model) Actions(typ string) []string {
	return map[string][]string{
		"Connection": {"connect", "set"},
		"Table":      {"read", "insert", "update", "delete", "truncate", "ddl", "drop"},
		"Column":     {"read", "reveal", "insert", "update"},
		"Function":   {"call"},
	}[typ]
}

// Things are the tables with their columns, and the functions.
func (m *model) Things() []policy.Resource {
	var out []policy.Resource
	for _, n := range slices.SortedFunc(maps.Keys(m.catalog.Relations), byName) {
		r := m.catalog.Relations[n]
		out = append(out, m.catalog.TableResource(n))
		for i := range r.Columns {
			out = append(out, m.catalog.ColumnResource(r, &r.Columns[i]))
		}
	}
	for _, f := range m.catalog.Routines {
		out = append(out, m.catalog.FunctionResource(f))
	}
	return out
}

// Find finds a thing by a name as clients write it, or by its id.
func (m *model) Find(typ, name string) (policy.Resource, error) {
	connection := m.catalog.Connection
	if typ == "Connection" {
		if name != "" && name != connection.ID {
			return policy.Resource{}, fmt.Errorf("%q is not the connection %s", name, connection.ID)
		}
		return connection, nil
	}
	within := strings.TrimPrefix(name, connection.ID+"/")
	if typ == "Channel" { // it exists by being named
		return m.catalog.ChannelResource(within), nil
	}
	var known []string
	for _, r := range m.candidates(typ) {
		id := strings.TrimPrefix(r.ID, connection.ID+"/")
		if id == within {
			return r, nil
		}
		known = append(known, id)
	}
	for _, schema := range m.catalog.SearchPath {
		for _, r := range m.candidates(typ) {
			if strings.TrimPrefix(r.ID, connection.ID+"/") == guard.Quote(schema)+"."+within {
				return r, nil
			}
		}
	}
	near := strict.Nearest(within, known)
	if near == "" {
		near = strict.Nearest("public."+within, known)
	}
	if near != "" {
		near = ": is " + near + " meant?"
	}
	return policy.Resource{}, fmt.Errorf("connection %s has no %s %s%s", connection.ID, strings.ToLower(typ), within, near)
}

// candidates are the things of a type.
func (m *model) candidates(typ string) []policy.Resource {
	if typ == "Schema" {
		var out []policy.Resource
		for _, s := range slices.Sorted(maps.Keys(m.catalog.Schemas)) {
			out = append(out, m.catalog.SchemaResource(s))
		}
		return out
	}
	return slices.DeleteFunc(m.Things(), func(r policy.Resource) bool { return r.Type != typ })
}
