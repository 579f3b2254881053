package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// inspector looks at the database of one connection for its operator.
type inspector struct {
	connection gate.Connection
	options    *Options
}

func newInspector(c gate.Connection) (*inspector, error) {
	o, ok := c.Options.(*Options)
	if !ok || o.config == nil {
		return nil, errors.New("the connection's options were not decoded by this connector")
	}
	return &inspector{c, o}, nil
}

// inspectTime bounds an inspection.
const inspectTime = 30 * time.Second

// Describe says what the configuration says.
func (i *inspector) Describe() gate.Description {
	u, err := url.Parse(i.options.URL)
	if err != nil {
		u = &url.URL{}
	}
	encryption := u.Query().Get("sslmode")
	switch {
	case encryption == "" && i.options.config.TLSConfig == nil:
		encryption = "disable (loopback)"
	case encryption == "":
		encryption = "verify-full"
	}
	password := "none"
	switch p := i.options.Password; {
	case p.Env != "":
		password = "from the environment variable " + p.Env
	case p.File != "":
		password = "from the file " + p.File
	}
	d := gate.Description{
		Target: "postgres://" + net.JoinHostPort(i.options.config.Host, fmt.Sprint(i.options.config.Port)) + "/" + i.options.config.Database,
		Role:   i.options.config.User,
		Details: []gate.Detail{
			{Name: "sslmode", Value: encryption}, {Name: "password", Value: password},
			{Name: "search_path", Value: strings.Join(i.options.SearchPath, ", ")},
		},
	}
	if i.options.AllowPrivilegedRole {
		d.Details = append(d.Details, gate.Detail{Name: "allow_privileged_role", Value: "true"})
	}
	if i.options.Strict {
		d.Details = append(d.Details, gate.Detail{Name: "strict", Value: "true"})
	}
	for _, table := range slices.SortedFunc(maps.Keys(i.options.labels), byName) {
		for _, column := range slices.Sorted(maps.Keys(i.options.labels[table])) {
			d.Labels = append(d.Labels, gate.Labelled{Field: table.String() + "." + guard.Quote(column), Labels: i.options.labels[table][column]})
		}
	}
	return d
}

func byName(a, b guard.Name) int { return strings.Compare(a.String(), b.String()) }

// Secrets says whether the password is there.
func (i *inspector) Secrets() error {
	if i.options.Password.IsZero() {
		return nil
	}
	_, err := i.options.Password.Resolve()
	return err
}

// survey is one reading of a database: with a role of any power, and with those labels that are on something.
type survey struct {
	conn     *pgx.Conn
	tx       pgx.Tx
	reader   *reader
	server   string
	mistaken []gate.Finding // labels on nothing
}

// open reads the catalog; close must be called.
func (i *inspector) open(ctx context.Context) (*survey, error) {
	own := *i.options
	own.labels, own.reviewed, own.AllowPrivilegedRole = nil, nil, true
	c, err := newCatalogs(&own, i.connection, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := c.dial(ctx); err != nil {
		return nil, err
	}
	l := &survey{conn: c.conn}
	c.watch = func(r *reader) { l.reader = r }
	if err := l.read(ctx, i, c); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// read reads as the gateway does: once to see which labels are on something, then with those.
func (l *survey) read(ctx context.Context, i *inspector, c *catalogs) error {
	catalog, facts, err := c.load(ctx)
	if err != nil {
		return err
	}
	l.server = "PostgreSQL " + facts.ServerVersion
	c.options.labels, l.mistaken = i.placed(catalog, i.options.labels, "labels")
	if i.options.Strict {
		var mistaken []gate.Finding
		c.options.reviewed, mistaken = i.placedReviewed(catalog)
		l.mistaken = append(l.mistaken, mistaken...)
	}
	if _, _, err := c.load(ctx); err != nil {
		return err
	}
	if l.tx, err = l.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	return nil
}

func (l *survey) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.conn.Close(ctx)
}

// Check connects, and looks at the role, the labels, and what has none.
func (i *inspector) Check(ctx context.Context) gate.Inspection {
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	out := gate.Inspection{Findings: []gate.Finding{}, Labels: []gate.Labelled{}, Suggestions: []gate.Labelled{}}
	wrong := func(problem, remedy string) gate.Inspection {
		out.Findings = append(out.Findings, gate.Finding{Level: gate.Wrong, Problem: problem, Remedy: remedy})
		return out
	}
	if err := i.Secrets(); err != nil {
		problem, remedy := sentences(err)
		return wrong(problem, remedy)
	}
	l, err := i.open(ctx)
	if err != nil {
		return wrong(unreachableBecause(err))
	}
	defer l.close()
	out.Server = l.server
	role, err := inspectRole(ctx, l.tx, l.reader.catalog)
	if err != nil {
		return wrong(err.Error(), "See the database's own log.")
	}
	out.Findings = append(out.Findings, l.mistaken...)
	for _, one := range role.risks {
		f := gate.Finding{Level: one.level, Problem: fmt.Sprintf("The role %s is %s.", role.name, one.is), Remedy: one.remedy}
		if one.level != gate.Warning && i.options.AllowPrivilegedRole {
			f.Level, f.Problem = gate.Warning, f.Problem+" It is accepted by allow_privileged_role."
		}
		out.Findings = append(out.Findings, f)
	}
	out.Findings = append(out.Findings, unreviewedColumns(l.reader.catalog)...)
	slices.SortStableFunc(out.Findings, func(a, b gate.Finding) int { return strings.Compare(string(a.Level), string(b.Level)) })
	out.Labels = append(out.Labels, i.inForce(l.reader)...)
	out.Suggestions = append(out.Suggestions, lookAlikes(l.reader.catalog)...)
	return out
}

// sentences takes an error of ours apart: why, and what to do.
func sentences(err error) (problem, remedy string) {
	problem, remedy, found := strings.Cut(err.Error(), ": ")
	if !found {
		remedy = "Correct the configuration."
	}
	return strings.ToUpper(problem[:1]) + problem[1:] + ".", strings.ToUpper(remedy[:1]) + remedy[1:]
}

// unreachableBecause says why the database could not be looked at, and what to do. Errors of the driver hold
// the address and the role, never the password.
func unreachableBecause(err error) (problem, remedy string) {
	remedy = "Correct url, or start the database; the gateway itself serves, and tries again at each sign-in."
	var pg *pgconn.PgError
	var dns *net.DNSError
	switch {
	case errors.As(err, &pg) && (pg.Code == "28P01" || pg.Code == "28000"):
		remedy = "Correct the role in url, its password, or the server's pg_hba.conf."
	case errors.As(err, &pg) && pg.Code == "3D000":
		remedy = "Correct the database's name in url."
	case errors.As(err, &pg):
		remedy = "See the database's own log."
	case errors.As(err, &dns):
		remedy = "Correct the host in url."
	case strings.Contains(err.Error(), "certificate"), strings.Contains(err.Error(), "tls"):
		remedy = "Give the server's authority with sslrootcert=FILE in url, or correct the server's certificate."
	}
	return "The database cannot be reached: " + strings.TrimSpace(strings.ReplaceAll(err.Error(), "\n", " ")) + ".", remedy
}

// placed are the configured labels that are on a column, and a finding for each that is not.
func (i *inspector) placed(c *guard.Catalog, labels map[guard.Name]map[string][]string, key string) (map[guard.Name]map[string][]string, []gate.Finding) {
	good := map[guard.Name]map[string][]string{}
	var mistaken []gate.Finding
	for _, table := range slices.SortedFunc(maps.Keys(labels), byName) {
		columns := labels[table]
		rel := c.Relations[table]
		if rel == nil {
			mistaken = append(mistaken, gate.Finding{Level: gate.Wrong, Problem: noTable(c, table), Remedy: "Correct " + key + " in the configuration: sessions are refused until then."})
			continue
		}
		good[table] = map[string][]string{}
		for _, column := range slices.Sorted(maps.Keys(columns)) {
			if rel.Column(column) == nil {
				mistaken = append(mistaken, gate.Finding{Level: gate.Wrong, Problem: noColumn(rel, column), Remedy: "Correct " + key + " in the configuration: sessions are refused until then."})
				continue
			}
			good[table][column] = columns[column]
		}
	}
	return good, mistaken
}

// placedReviewed are the reviewed columns that are there, and a finding for each that is not.
func (i *inspector) placedReviewed(c *guard.Catalog) (map[guard.Name][]string, []gate.Finding) {
	as := map[guard.Name]map[string][]string{}
	for table, columns := range i.options.reviewed {
		as[table] = map[string][]string{}
		for _, column := range columns {
			as[table][column] = nil
		}
	}
	good, mistaken := i.placed(c, as, "reviewed")
	out := map[guard.Name][]string{}
	for table, columns := range good {
		out[table] = slices.Sorted(maps.Keys(columns))
	}
	return out, mistaken
}

// noTable says that labels are on a table that is not there, with the one that may be meant.
func noTable(c *guard.Catalog, name guard.Name) string {
	var known []string
	for n := range c.Relations {
		known = append(known, n.String())
	}
	slices.Sort(known)
	return "There is no table " + name.String() + ", which the configuration names" + meant(name.String(), known)
}

func noColumn(r *guard.Relation, column string) string {
	var known []string
	for _, c := range r.Columns {
		known = append(known, c.Name)
	}
	return "The table " + r.Name.String() + " has no column " + guard.Quote(column) + ", which the configuration names" + meant(column, known)
}

func meant(word string, known []string) string {
	if near := strict.Nearest(word, known); near != "" {
		return ": is " + near + " meant?"
	}
	return "."
}

// inForce are all labels of the catalog, with the way that each came that was not configured.
func (i *inspector) inForce(r *reader) []gate.Labelled {
	from := map[columnKey]columnKey{}
	var work []columnKey
	for name, columns := range i.options.labels {
		for c := range columns {
			if rel := r.catalog.Relations[name]; rel != nil && rel.Column(c) != nil {
				k := columnKey{rel.OID, rel.Column(c).Number}
				from[k] = k
				work = append(work, k)
			}
		}
	}
	slices.SortFunc(work, compareKeys)
	for len(work) > 0 { // nearest first
		k := work[0]
		work = work[1:]
		for _, to := range r.edges[k] {
			if _, seen := from[to]; !seen {
				from[to] = k
				work = append(work, to)
			}
		}
	}
	var out []gate.Labelled
	for _, rel := range sortedRelations(r.catalog) {
		for _, c := range rel.Columns {
			if len(c.Labels) == 0 {
				continue
			}
			one := gate.Labelled{Field: rel.Name.String() + "." + guard.Quote(c.Name), Labels: c.Labels}
			k := columnKey{rel.OID, c.Number}
			if source, ok := from[k]; ok && source != k {
				one.Because = r.because(rel, source)
			}
			out = append(out, one)
		}
	}
	slices.SortStableFunc(out, func(a, b gate.Labelled) int { return strings.Compare(a.Field, b.Field) })
	return out
}

func compareKeys(a, b columnKey) int {
	if a.oid != b.oid {
		return int(int64(a.oid) - int64(b.oid))
	}
	return int(a.number) - int(b.number)
}

// because says how a label flows from a column to a relation.
func (r *reader) because(to *guard.Relation, source columnKey) string {
	below := r.catalog.ByOID[source.oid]
	if below == nil {
		return ""
	}
	column := below.Name.String()
	for _, c := range below.Columns {
		if c.Number == source.number {
			column += "." + guard.Quote(c.Name)
		}
	}
	switch {
	case to.OID == source.oid:
		return "generated from " + column
	case to.Kind == guard.View, to.Kind == guard.MaterializedView:
		return "view over " + column
	case slices.Contains(below.Children, to.OID) && below.Kind == guard.PartitionedTable:
		return "partition of " + column
	case slices.Contains(below.Children, to.OID):
		return "inherits from " + column
	case slices.Contains(to.Children, source.oid):
		return "parent of " + column
	}
	return "foreign key or row type with " + column
}

func sortedByName(c *guard.Catalog) []*guard.Relation {
	list := sortedRelations(c)
	slices.SortStableFunc(list, func(a, b *guard.Relation) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	return list
}
