package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// ChannelResource is the resource of a channel of LISTEN and NOTIFY.
func (c *Catalog) ChannelResource(name string) policy.Resource {
	return policy.Resource{
		Entity:  policy.Entity{Type: "Channel", ID: c.Connection.ID + "/" + Quote(name)},
		Parents: append([]policy.Entity{c.Connection.Entity}, c.Connection.Parents...),
	}
}

// listen understands LISTEN: what others send to a channel is not masked, so it needs a permit of its own.
func (a *analysis) listen(v *pg.ListenStmt) error {
	a.statement.Verb, a.statement.Name = Listen, v.Conditionname
	a.touch("listen", a.env.Catalog.ChannelResource(v.Conditionname))
	return nil
}

func (a *analysis) unlisten(v *pg.UnlistenStmt) error {
	a.statement.Verb = Unlisten
	a.touch("connect", a.env.Catalog.Connection)
	return nil
}

func (a *analysis) notify(v *pg.NotifyStmt) error {
	a.statement.Verb, a.statement.Writes = Notify, true
	a.touch("notify", a.env.Catalog.ChannelResource(v.Conditionname))
	return nil
}

// advisory are the functions of advisory locks: a key means what its users agree on, and masked values make
// masked keys.
var advisory = listed(`pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
	pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
	pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all`)

// ownFunction understands the functions that have a rule of their own; false for any other.
func (a *analysis) ownFunction(n *pg.Node, v *pg.FuncCall, s *scope) (bool, error) {
	names := stringsOf(v.Funcname)
	last := names[len(names)-1]
	switch {
	case len(names) > 2 || len(names) == 2 && names[0] != "pg_catalog" || v.AggFilter != nil || v.Over != nil || len(v.AggOrder) > 0:
		return false, nil
	case last == "pg_notify" && len(v.Args) == 2:
		if v.Args[0].GetAConst().GetSval() == nil {
			return true, refused(NotUnderstood, "42501", a.at(v.Location), "The channel of pg_notify must be a constant.", "Write it as one.")
		}
		a.statement.Writes = true
		a.touch("notify", a.env.Catalog.ChannelResource(constant(v.Args[0])))
	case advisory[last]:
	default:
		return a.settingFunction(n, v, s)
	}
	v.Funcname = []*pg.Node{pg.MakeStrNode("pg_catalog"), pg.MakeStrNode(last)}
	return true, a.exprs(s, v.Args...)
}

// maintain understands VACUUM and ANALYZE of tables that are named.
func (a *analysis) maintain(v *pg.VacuumStmt) error {
	for _, n := range v.Options {
		o := n.GetDefElem()
		if o == nil || !contains([]string{"verbose", "analyze", "freeze", "full", "skip_locked", "truncate", "index_cleanup", "parallel", "process_toast"}, o.Defname) {
			return a.notUnderstood(n, 0, "")
		}
	}
	if len(v.Rels) == 0 {
		return refused(NotUnderstood, "42501", 0, "VACUUM and ANALYZE of a whole database are not for its clients.", "Name the tables.")
	}
	a.statement.Verb, a.statement.Writes = Maintain, true
	for _, n := range v.Rels {
		r := n.GetVacuumRelation()
		if r == nil || r.Oid != 0 {
			return a.notUnderstood(n, 0, "")
		}
		a.walk(r)
		if err := a.maintained(r.Relation); err != nil {
			return err
		}
	}
	return nil
}

// maintained is a table that a statement maintains: it runs the functions of its indexes.
func (a *analysis) maintained(v *pg.RangeVar) error {
	r, err := a.existing(v, "ddl")
	if err != nil {
		return err
	}
	for _, f := range r.Calls {
		a.touch("call", a.env.Catalog.FunctionResource(f))
	}
	return nil
}

func (a *analysis) reindex(v *pg.ReindexStmt) error {
	if v.Kind != pg.ReindexObjectType_REINDEX_OBJECT_TABLE || v.Relation == nil {
		return refused(NotUnderstood, "0A000", 0, "REINDEX of anything but a table is not understood.", "Send REINDEX TABLE with the table's name.")
	}
	for _, n := range v.Params {
		if o := n.GetDefElem(); o == nil || !contains([]string{"concurrently", "verbose"}, o.Defname) {
			return a.notUnderstood(n, 0, "")
		}
	}
	a.statement.Verb, a.statement.Writes = Maintain, true
	return a.maintained(v.Relation)
}

func (a *analysis) cluster(v *pg.ClusterStmt) error {
	if v.Relation == nil {
		return refused(NotUnderstood, "42501", 0, "CLUSTER of a whole database is not for its clients.", "Name the table.")
	}
	for _, n := range v.Params {
		if o := n.GetDefElem(); o == nil || o.Defname != "verbose" {
			return a.notUnderstood(n, 0, "")
		}
	}
	a.statement.Verb, a.statement.Writes = Maintain, true
	if err := a.maintained(v.Relation); err != nil {
		return err
	}
	r, err := a.lookup(v.Relation)
	if err != nil {
		return err
	}
	for i := range r.Columns { // the order of rows and their ctid then tell that of the index's values
		if e := a.read(r, &r.Columns[i]); !e.Visible || e.Mask != policy.MaskNone {
			return a.denied(0, "CLUSTER orders the rows of "+r.Name.String()+" by an index, which can be one of masked columns.", policy.Touch{Action: "reveal", Resource: a.env.Catalog.ColumnResource(r, &r.Columns[i])})
		}
	}
	return nil
}

// more understands the statements that concern sessions and the upkeep of tables, and says of others what to do
// instead.
func (a *analysis) more(n *pg.Node) error {
	switch v := n.GetNode().(type) {
	case *pg.Node_ListenStmt:
		return a.listen(v.ListenStmt)
	case *pg.Node_UnlistenStmt:
		return a.unlisten(v.UnlistenStmt)
	case *pg.Node_NotifyStmt:
		return a.notify(v.NotifyStmt)
	case *pg.Node_VacuumStmt:
		return a.maintain(v.VacuumStmt)
	case *pg.Node_ReindexStmt:
		return a.reindex(v.ReindexStmt)
	case *pg.Node_ClusterStmt:
		return a.cluster(v.ClusterStmt)
	case *pg.Node_ExplainStmt:
		return a.explain(v.ExplainStmt)
	}
	name := statementName(n)
	what := map[string]string{
		"DO":          "Send its statements one by one: what runs inside a block cannot be understood.",
		"CALL":        "Send the statements of the procedure yourself: what runs inside it cannot be understood.",
		"CHECK POINT": "Leave it to the database's operator.",
		"LOAD":        "Leave it to the database's operator.",
	}[name]
	if what == "" {
		return a.notBuilt(0, name+" statements are")
	}
	return refused(NotUnderstood, "42501", 0, strings.ReplaceAll(name, "CHECK POINT", "CHECKPOINT")+" statements may not be sent through this gateway.", what)
}
