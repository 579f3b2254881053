package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// copy understands COPY to and from the client. Files and programs are the server's own, and are refused.
// COPY of a table to the client becomes COPY of the query that the server would run for it, so that it is
// masked as a SELECT is.
func (a *analysis) copy(v *pg.CopyStmt) error {
	switch {
	case v.IsProgram:
		return refused(NotUnderstood, "42501", 0, "COPY with PROGRAM runs a command on the database's server.", "Use COPY … TO STDOUT or FROM STDIN (psql's \\copy), and run the command yourself.")
	case v.Filename != "":
		return refused(NotUnderstood, "42501", 0, "COPY with a file name reads or writes a file of the database's server.", "Use COPY … TO STDOUT or FROM STDIN (psql's \\copy): the file is then yours.")
	}
	if err := a.copyOptions(v); err != nil {
		return err
	}
	if v.IsFrom {
		a.statement.Verb = CopyIn
		return a.copyFrom(v)
	}
	a.statement.Verb = CopyOut
	if v.Relation != nil {
		if err := a.copyOfTable(v); err != nil {
			return err
		}
	}
	return a.copyQuery(v.Query)
}

// copyQuery understands the query of a COPY: what returns rows.
func (a *analysis) copyQuery(n *pg.Node) error {
	var list []*pg.Node
	var err error
	a.walk(n)
	switch q := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		_, err = a.selectStmt(q.SelectStmt, nil, nil)
		return err
	case *pg.Node_InsertStmt:
		list = q.InsertStmt.ReturningList
		_, err = a.insert(q.InsertStmt, nil)
	case *pg.Node_UpdateStmt:
		list = q.UpdateStmt.ReturningList
		_, err = a.update(q.UpdateStmt, nil)
	case *pg.Node_DeleteStmt:
		list = q.DeleteStmt.ReturningList
		_, err = a.delete(q.DeleteStmt, nil)
	case *pg.Node_MergeStmt:
		list = q.MergeStmt.ReturningList
		_, err = a.merge(q.MergeStmt, nil)
	default:
		return a.notBuilt(0, "COPY of this kind of statement is")
	}
	if err == nil && len(list) == 0 {
		return refused(NotUnderstood, "0A000", 0, "COPY query must have a RETURNING clause", "Add one, or send the statement by itself.")
	}
	return err
}

// copyOfTable makes the query that COPY of a table stands for: the table's own rows, without its children's,
// and without generated columns where none are named (PostgreSQL documentation, COPY).
func (a *analysis) copyOfTable(v *pg.CopyStmt) error {
	r, err := a.lookup(v.Relation)
	if err != nil {
		return err
	}
	switch r.Kind {
	case Table, MaterializedView:
	case View:
		return refused(NotUnderstood, "42809", a.at(v.Relation.Location), "cannot copy from view "+quoted(r.Name.Name), "Try the COPY (SELECT …) TO variant.")
	case PartitionedTable:
		return refused(NotUnderstood, "42809", a.at(v.Relation.Location), "cannot copy from partitioned table "+quoted(r.Name.Name), "Try the COPY (SELECT …) TO variant.")
	default:
		return refused(NotUnderstood, "42809", a.at(v.Relation.Location), "cannot copy from "+quoted(r.Name.Name)+", which is not a table", "Try the COPY (SELECT …) TO variant.")
	}
	columns, err := a.copied(v, r, func(c *Column) bool { e := a.read(r, c); return e.Visible })
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return a.denied(v.Relation.Location, "No column of "+r.Name.String()+" may be read.", a.maskedColumns(r)...)
	}
	q := &pg.SelectStmt{LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg.SetOperation_SETOP_NONE}
	for _, name := range columns {
		ref := pg.MakeColumnRefNode([]*pg.Node{pg.MakeStrNode(name)}, 0)
		q.TargetList = append(q.TargetList, pg.MakeResTargetNodeWithVal(ref, 0))
	}
	from := &pg.RangeVar{Schemaname: r.Name.Schema, Relname: r.Name.Name, Inh: r.Kind == MaterializedView, Relpersistence: "p", Location: v.Relation.Location}
	q.FromClause = []*pg.Node{{Node: &pg.Node_RangeVar{RangeVar: from}}}
	v.Query = &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: q}}
	v.Relation, v.Attlist = nil, nil
	return nil
}

// copied are the columns that a COPY means: those that it names, else all but the generated ones, as far as
// they are seen.
func (a *analysis) copied(v *pg.CopyStmt, r *Relation, seen func(*Column) bool) ([]string, error) {
	var out []string
	if len(v.Attlist) == 0 {
		for i := range r.Columns {
			if c := &r.Columns[i]; !c.Generated && seen(c) {
				out = append(out, c.Name)
			}
		}
		return out, nil
	}
	for _, name := range stringsOf(v.Attlist) {
		c := r.Column(name)
		switch {
		case c == nil:
			return nil, refused(UnknownName, "42703", a.at(v.Relation.Location), "column "+quoted(name)+" of relation "+quoted(r.Name.Name)+" does not exist", "Correct the name.")
		case c.Generated:
			return nil, refused(NotUnderstood, "42P10", a.at(v.Relation.Location), "column "+quoted(name)+" is a generated column", "Generated columns cannot be used in COPY.")
		case contains(out, name):
			return nil, refused(NotUnderstood, "42701", a.at(v.Relation.Location), "column "+quoted(name)+" specified more than once", "Name it once.")
		}
		out = append(out, name)
	}
	return out, nil
}

// copyFrom understands COPY FROM STDIN: a write of the columns that it names, which are always said, so that
// they cannot change before it runs.
func (a *analysis) copyFrom(v *pg.CopyStmt) error {
	relation := v.Relation
	it, err := a.target(relation, "insert")
	if err != nil {
		return err
	}
	columns, err := a.copied(v, it.relation, func(*Column) bool { return true })
	if err != nil {
		return err
	}
	v.Attlist = nil
	for _, name := range columns {
		if err := a.writes("insert", it, name, relation.Location); err != nil {
			return err
		}
		v.Attlist = append(v.Attlist, pg.MakeStrNode(name))
	}
	return a.exprs(&scope{items: []*item{it}}, v.WhereClause)
}

// copyOptions understands the options of a COPY, and writes them in one way. The encoding is the session's,
// which is pinned.
func (a *analysis) copyOptions(v *pg.CopyStmt) error {
	var out []*pg.Node
	for _, n := range v.Options {
		o := n.GetDefElem()
		if o == nil || o.Defnamespace != "" {
			return a.notUnderstood(n, 0, "")
		}
		keep, err := a.copyOption(o)
		if err != nil {
			return err
		}
		if keep {
			out = append(out, n)
		}
	}
	v.Options = out
	return nil
}

func (a *analysis) copyOption(o *pg.DefElem) (keep bool, err error) {
	text := o.Arg.GetString_()
	ok := true
	switch o.Defname {
	case "format":
		ok = text != nil && contains([]string{"text", "csv", "binary"}, text.Sval)
	case "delimiter", "null", "quote", "escape":
		ok = text != nil
	case "header":
		return copyHeader(o)
	case "encoding":
		if text != nil && contains([]string{"utf8", "utf-8", "unicode"}, strings.ToLower(text.Sval)) {
			return false, nil
		}
		ok = false
	case "force_quote", "force_not_null", "force_null":
		ok = o.Arg.GetAStar() != nil || o.Arg.GetList() != nil
		for _, n := range o.Arg.GetList().GetItems() {
			ok = ok && n.GetString_() != nil
		}
	case "on_error":
		ok = text != nil && contains([]string{"stop", "ignore"}, text.Sval)
	default:
		ok = false
	}
	if !ok {
		return false, refused(NotUnderstood, "0A000", a.at(o.Location), "The option "+quoted(o.Defname)+" of COPY, with this value, is not on the list of what is understood.", "Leave it out; the encoding is UTF8.")
	}
	return true, nil
}

// copyHeader writes HEADER, which may be spelled in many ways (defGetCopyHeaderChoice in PostgreSQL).
func copyHeader(o *pg.DefElem) (keep bool, err error) {
	value := "true"
	switch {
	case o.Arg.GetNode() == nil:
	case o.Arg.GetBoolean() != nil:
		if !o.Arg.GetBoolean().Boolval {
			value = "false"
		}
	case o.Arg.GetString_() != nil:
		value = strings.ToLower(o.Arg.GetString_().Sval)
	case o.Arg.GetInteger() != nil:
		value = itoa(int(o.Arg.GetInteger().Ival))
	default:
		value = ""
	}
	switch value {
	case "true", "on", "1":
		o.Arg = nil
		return true, nil
	case "false", "off", "0":
		return false, nil
	case "match":
		o.Arg = pg.MakeStrNode("match")
		return true, nil
	}
	return false, refused(NotUnderstood, "42601", 0, "header requires a Boolean value or \"match\"", "Give one.")
}
