package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Bounds of a preview.
const (
	previewTime       = 10 * time.Second
	previewStatement  = "2s" // for each question
	previewStatements = 10
	previewRows       = 5
	previewCell       = 200 // bytes
)

var _ gate.Previewer = (*server)(nil)

// Preview asks the planner what it expects, counts the rows that an UPDATE or DELETE meets now, and shows some of them
// as the policies show them to who. The questions are asked in read-only transactions of the gateway's role. Nothing is
// asked where a function outside of pg_catalog would run, or one that the policies were asked about: planning can execute it.
func (s *server) Preview(ctx context.Context, who identity.Identity, client string, h gate.Hold) (gate.Effect, error) {
	t := s.targets[h.Connection]
	if t == nil {
		return gate.Effect{}, fmt.Errorf("postgres: a preview of the unknown connection %q", h.Connection)
	}
	select {
	case t.previews <- struct{}{}:
		defer func() { <-t.previews }()
	default:
		return gate.Effect{}, &gate.Refusal{
			Code:   gate.LimitExceeded,
			Reason: fmt.Sprintf("%d previews on this connection are being made already.", cap(t.previews)),
			Remedy: "Ask again in some seconds.",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, previewTime)
	defer cancel()
	p := &preview{server: s, target: t, who: who, client: client, hold: h}
	defer p.close()
	return p.look(ctx)
}

// preview is one that is being made.
type preview struct {
	server *server
	target *target
	who    identity.Identity
	client string
	hold   gate.Hold
	conn   *pgconn.PgConn // as the gateway's role; nil: not yet
	looked int
}

func (p *preview) close() {
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p.conn.Close(ctx)
	}
}

func (p *preview) look(ctx context.Context) (gate.Effect, error) {
	e := gate.Effect{Statements: []gate.StatementEffect{}}
	for i := range p.hold.Intents {
		in := &p.hold.Intents[i]
		if in.Prepare {
			continue
		}
		texts, err := guard.StatementsOf(in.Text)
		if err != nil {
			return e, fmt.Errorf("split what was held: %w", err)
		}
		for _, text := range texts {
			one := gate.StatementEffect{Text: text}
			if p.looked++; p.looked > previewStatements {
				one.Notes = append(one.Notes, fmt.Sprintf("Only the first %d statements are looked at.", previewStatements))
				return gate.Effect{Statements: append(e.Statements, one)}, nil
			}
			if p.looked > 1 {
				one.Notes = append(one.Notes, "It is looked at as if the statements before it had changed nothing.")
			}
			if in.Position != "" && in.Position != "idle" {
				one.Notes = append(one.Notes, "It stands in a transaction whose changes nobody else sees yet: what is counted is what was committed.")
			}
			if err := p.statement(ctx, in, &one); err != nil {
				return e, err
			}
			e.Statements = append(e.Statements, one)
		}
	}
	return e, nil
}

// statement looks at one statement; what cannot be seen is a note.
func (p *preview) statement(ctx context.Context, in *gate.Intent, one *gate.StatementEffect) error {
	note := func(format string, args ...any) { one.Notes = append(one.Notes, fmt.Sprintf(format, args...)) }
	if len(in.Means) > 0 {
		note("What a prepared statement or a cursor does is not looked at.")
		return nil
	}
	runs, err := p.runs(ctx, in)
	switch {
	case err != nil:
		note("It cannot be looked at: %s", p.why(err))
		return nil
	case runs:
		note("It calls a function of the database's own, which a look could run: nothing is looked at.")
		return nil
	}
	switch one.Planned, err = p.planned(ctx, in, one.Text); {
	case errors.Is(err, errNotPlanned):
		note("The planner knows nothing of such a statement.")
		return nil
	case err != nil:
		note("The planner was asked in vain: %s", p.why(err))
		return nil
	}
	m, err := guard.MatchingOf(one.Text, previewRows)
	if err != nil {
		return nil // nothing that an UPDATE or DELETE would meet
	}
	rows, err := p.ask(ctx, in, m.Count, m.Uses)
	if err != nil {
		note("The rows that match cannot be counted: %s", p.why(err))
		return nil
	}
	if len(rows) != 1 {
		return errors.New("count rows: no row came back")
	}
	n, err := strconv.ParseInt(string(rows[0][0]), 10, 64)
	if err != nil {
		return fmt.Errorf("count rows: %w", err)
	}
	if one.Rows = &n; n == 0 {
		return nil
	}
	keys, err := p.ask(ctx, in, m.Keys, m.Uses)
	if err != nil {
		note("Rows cannot be shown: %s", p.why(err))
		return nil
	}
	if len(keys) == 0 { // they went meanwhile
		return nil
	}
	if one.Sample, err = p.sample(ctx, m.Table, keys); err != nil {
		note("Rows are not shown to you: %s", p.why(err))
	}
	return nil
}

// runs says whether looking could run a function that the policies are asked about, or one of the database's own. Triggers
// do not run by a look.
func (p *preview) runs(ctx context.Context, in *gate.Intent) (bool, error) {
	ids := []byte{'{'}
	names := map[string]string{}
	for _, o := range in.Objects {
		if o.Kind == "function" {
			names[o.ID] = o.Name
			ids = append(append(ids, o.ID...), ',')
		}
	}
	var triggers []string
	if len(names) > 0 {
		ids[len(ids)-1] = '}'
		rows, err := p.read(ctx, nil, "SELECT oid::pg_catalog.text FROM pg_catalog.pg_proc WHERE prorettype = 'pg_catalog.trigger'::pg_catalog.regtype AND oid::pg_catalog.text = ANY($1)",
			[][]byte{ids}, []uint32{1009}, nil) // text[]
		if err != nil {
			return true, err
		}
		for _, row := range rows {
			triggers = append(triggers, "/"+names[string(row[0])])
		}
		if len(triggers) < len(names) {
			return true, nil
		}
	}
	for _, t := range p.hold.Touches {
		if strings.HasPrefix(t, "call ") && !slices.ContainsFunc(triggers, func(name string) bool { return strings.HasSuffix(t, name) }) {
			return true, nil
		}
	}
	return false, nil
}

var errNotPlanned = errors.New("not planned")

// planned asks the planner (PostgreSQL documentation, EXPLAIN: without ANALYZE nothing runs).
func (p *preview) planned(ctx context.Context, in *gate.Intent, text string) (*gate.Planned, error) {
	switch first, _, _ := strings.Cut(text, " "); strings.ToUpper(first) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES":
	default:
		return nil, errNotPlanned
	}
	values, types, formats := parameters(in.Parameters, nil)
	rows, err := p.read(ctx, in, "EXPLAIN (FORMAT JSON) "+text, values, types, formats)
	if err != nil {
		return nil, err
	}
	var plans []struct{ Plan planNode }
	if len(rows) != 1 {
		return nil, errors.New("read a plan: no row came back")
	}
	if err := json.Unmarshal(rows[0][0], &plans); err != nil || len(plans) == 0 {
		return nil, fmt.Errorf("read a plan: %w", err)
	}
	top := plans[0].Plan
	out := &gate.Planned{Rows: top.Rows, Cost: top.Cost}
	if top.Type == "ModifyTable" && len(top.Plans) > 0 { // it gives back nothing; what it changes comes from below
		out.Rows = top.Plans[0].Rows
	}
	var steps []string
	top.scans(&steps)
	out.Steps = strings.Join(steps, ", ")
	return out, nil
}

// planNode is a node of EXPLAIN's plan.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Rows     float64    `json:"Plan Rows"`
	Cost     float64    `json:"Total Cost"`
	Plans    []planNode `json:"Plans"`
}

func (n *planNode) scans(out *[]string) {
	if n.Relation != "" && n.Type != "ModifyTable" {
		*out = append(*out, n.Type+" on "+n.Relation)
	}
	for i := range n.Plans {
		n.Plans[i].scans(out)
	}
}

// parameters are an intent's as pgconn takes them. Those that are not used are nulls, so that they need no type.
func parameters(list []gate.Parameter, uses []int32) (values [][]byte, types []uint32, formats []int16) {
	for i, one := range list {
		value, typ, format := one.Value, one.Type, int16(0)
		if one.Format == "binary" {
			format = 1
		}
		switch {
		case uses != nil && !slices.Contains(uses, int32(i+1)):
			value, typ, format = nil, 25, 0
		case one.Null:
			value = nil
		case value == nil:
			value = []byte{}
		}
		values, types, formats = append(values, value), append(types, typ), append(formats, format)
	}
	return values, types, formats
}

// ask asks a question that uses some of an intent's parameters.
func (p *preview) ask(ctx context.Context, in *gate.Intent, text string, uses []int32) ([][][]byte, error) {
	values, types, formats := parameters(in.Parameters, append([]int32{}, uses...))
	for n := len(values); n > 0 && !slices.Contains(uses, int32(n)); n-- {
		values, types, formats = values[:n-1], types[:n-1], formats[:n-1]
	}
	return p.read(ctx, in, text, values, types, formats)
}

// read asks one question in a transaction of its own, under the settings of an intent.
func (p *preview) read(ctx context.Context, in *gate.Intent, text string, values [][]byte, types []uint32, formats []int16) ([][][]byte, error) {
	if err := p.dial(ctx); err != nil {
		return nil, err
	}
	if _, err := p.conn.Exec(ctx, "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").ReadAll(); err != nil {
		return nil, err
	}
	if in != nil {
		for _, name := range meaningSettings {
			if v := in.Settings[name]; v != "" {
				set := p.conn.ExecParams(ctx, "SELECT pg_catalog.set_config($1, $2, true)", [][]byte{[]byte(name), []byte(v)}, nil, nil, nil).Read()
				if set.Err != nil {
					return nil, set.Err
				}
			}
		}
	}
	r := p.conn.ExecParams(ctx, text, values, types, formats, nil).Read()
	return r.Rows, r.Err
}

// dial connects as the gateway's role, with the settings that texts are printed for.
func (p *preview) dial(ctx context.Context) error {
	if p.conn != nil {
		return nil
	}
	catalog, _, err := p.target.catalogs.Current(ctx)
	if err != nil {
		return p.target.unreachable(err)
	}
	config, err := p.target.options.connConfig()
	if err != nil {
		return err
	}
	config.RuntimeParams = map[string]string{
		"application_name": "gatehouse preview", "jit": "off", "statement_timeout": previewStatement, "lock_timeout": previewStatement,
		"idle_in_transaction_session_timeout": "15s", "default_transaction_read_only": "on",
	}
	maps.Copy(config.RuntimeParams, pinned)
	config.RuntimeParams["search_path"] = pinnedPath(catalog.OperatorPath)
	if p.target.tokenKey != nil {
		config.RuntimeParams[guard.TokenSetting] = fmt.Sprintf(`\x%x`, p.target.tokenKey)
	}
	if p.conn, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return p.target.unreachable(err)
	}
	return nil
}

// sample shows rows as the policies show them to who, in a session of theirs.
func (p *preview) sample(ctx context.Context, table guard.Name, keys [][][]byte) (*gate.Sample, error) {
	conn, err := p.server.dialInside(ctx, p.who, p.client, p.hold.Connection, "gatehouse preview")
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var rows []string
	for _, k := range keys {
		rows = append(rows, fmt.Sprintf("tableoid = '%s' AND ctid = '%s' AND xmin = '%s'", k[0], k[1], k[2]))
	}
	seen, err := conn.Prepare(ctx, "", "SELECT * FROM "+table.String(), nil)
	if err != nil {
		return nil, err
	}
	out := &gate.Sample{Columns: []string{}, Rows: [][]*string{}}
	var names []string // a star does not go together with the columns of the system
	for _, f := range seen.Fields {
		out.Columns = append(out.Columns, f.Name)
		names = append(names, guard.Quote(f.Name))
	}
	results, err := conn.Exec(ctx, "SELECT "+strings.Join(names, ", ")+" FROM "+table.String()+" WHERE "+strings.Join(rows, " OR ")).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, row := range results[0].Rows {
		cells := make([]*string, len(row))
		for i, cell := range row {
			if cell == nil {
				continue
			}
			s := string(cell)
			if len(s) > previewCell {
				s = strings.ToValidUTF8(s[:previewCell], "") + "…"
			}
			cells[i] = &s
		}
		out.Rows = append(out.Rows, cells)
	}
	return out, nil
}

// why says in a sentence why something could not be seen. An error of the database can hold a value: only its class is
// told. One of the gateway's own is told as it is.
func (p *preview) why(err error) string {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		p.target.log.Warn("a preview failed", "error", err)
		return "the database did not answer in time."
	}
	if e.Hint != "" && (e.Code == "42501" || e.Code == "28000") {
		return strings.TrimSpace(e.Message + " " + e.Hint)
	}
	switch e.Code {
	case "57014":
		return "it takes longer than " + previewStatement + "."
	case "55P03":
		return "somebody holds a lock on the table."
	case "42P01":
		return "it names a table that only its own session sees."
	}
	return "the database answers with the SQLSTATE " + e.Code + "."
}
