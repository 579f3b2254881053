package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// transaction understands BEGIN, COMMIT and the like. Two-phase commit is refused: a prepared transaction
// would outlive its session.
func (a *analysis) transaction(v *pg.TransactionStmt) error {
	verbs := map[pg.TransactionStmtKind]Verb{
		pg.TransactionStmtKind_TRANS_STMT_BEGIN:       Begin,
		pg.TransactionStmtKind_TRANS_STMT_START:       Begin,
		pg.TransactionStmtKind_TRANS_STMT_COMMIT:      Commit,
		pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:    Rollback,
		pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:   Savepoint,
		pg.TransactionStmtKind_TRANS_STMT_RELEASE:     Release,
		pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO: RollbackTo,
	}
	verb := verbs[v.Kind]
	if verb == "" {
		return a.notBuilt(v.Location, "Two-phase commit statements are")
	}
	if err := a.transactionOptions(v.Options); err != nil {
		return err
	}
	a.statement.Verb, a.statement.Name = verb, v.SavepointName
	a.touch("connect", a.env.Catalog.Connection)
	return nil
}

func (a *analysis) transactionOptions(list []*pg.Node) error {
	for _, n := range list {
		o := n.GetDefElem()
		if o == nil || !contains([]string{"transaction_isolation", "transaction_read_only", "transaction_deferrable"}, o.Defname) || o.Arg.GetAConst() == nil {
			return a.notUnderstood(n, 0, "")
		}
	}
	return nil
}

// settings are those that a client may set and show: they change how values are written, and time limits.
var settings = listed(`application_name statement_timeout lock_timeout idle_in_transaction_session_timeout
	timezone datestyle intervalstyle extra_float_digits`)

// shown may be shown besides.
var shown = listed(`server_version server_version_num server_encoding client_encoding transaction_isolation
	transaction_read_only standard_conforming_strings integer_datetimes max_identifier_length`)

func (a *analysis) set(v *pg.VariableSetStmt) error {
	a.statement.Verb = Set
	name := strings.ToLower(v.Name)
	switch v.Kind {
	case pg.VariableSetKind_VAR_SET_MULTI:
		if name != "transaction" && name != "session characteristics" {
			return a.notBuilt(0, "SET "+strings.ToUpper(name)+" statements are")
		}
		if err := a.transactionOptions(v.Args); err != nil {
			return err
		}
		a.touch("connect", a.env.Catalog.Connection)
		return nil
	case pg.VariableSetKind_VAR_SET_VALUE, pg.VariableSetKind_VAR_SET_DEFAULT, pg.VariableSetKind_VAR_RESET:
	default:
		return a.notBuilt(0, "RESET ALL and SET FROM CURRENT are")
	}
	if name == "client_encoding" && len(v.Args) == 1 && contains([]string{"utf8", "utf-8", "unicode"}, strings.ToLower(v.Args[0].GetAConst().GetSval().GetSval())) {
		a.touch("connect", a.env.Catalog.Connection)
		return nil
	}
	if !settings[name] {
		return refused(NotBuilt, "42501", 0, "The setting "+quoted(v.Name)+" may not be changed through this gateway.", "Leave it out; the gateway pins the settings that decide what a statement means.")
	}
	for _, arg := range v.Args {
		if c := arg.GetAConst(); c != nil {
			continue
		}
		// SET TIME ZONE INTERVAL '+01:00' is a cast of a constant.
		if t := arg.GetTypeCast(); t != nil && name == "timezone" && t.Arg.GetAConst() != nil {
			if err := a.typeName(t.TypeName); err != nil {
				return err
			}
			continue
		}
		return a.notUnderstood(arg, 0, "")
	}
	a.touch("connect", a.env.Catalog.Connection)
	return nil
}

func (a *analysis) show(v *pg.VariableShowStmt) error {
	name := strings.ToLower(v.Name)
	if !settings[name] && !shown[name] {
		return refused(NotBuilt, "42501", 0, "The setting "+quoted(v.Name)+" may not be shown through this gateway.", "Leave it out.")
	}
	a.statement.Verb = Show
	a.touch("connect", a.env.Catalog.Connection)
	return nil
}
