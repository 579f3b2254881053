package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// openOutputs says whether a statement may give more or fewer columns than are written in it: what a function in FROM
// returns, and the fields of a row that a star takes, are not known in full.
func openOutputs(m proto.Message) bool {
	return holds(m, func(m proto.Message) bool {
		switch v := m.(type) {
		case *pg.RangeFunction, *pg.JsonTable:
			return true
		case *pg.A_Indirection:
			return v.Indirection[len(v.Indirection)-1].GetAStar() != nil
		}
		return false
	})
}

// expects notes the columns that a statement gives.
func (a *analysis) expects(out []column, open bool) {
	if open {
		return
	}
	a.statement.Outputs = make([]Output, len(out))
	for i, c := range out {
		o := &a.statement.Outputs[i]
		if c.sure {
			o.Name, o.Named = c.name, true
		}
		o.TypeOID = c.typed
	}
}

// described is the type that a row description says an output to be of that is this column of a table; 0 where that is
// not certain: of a domain it is another one, and what the system catalogs show is written by the gateway.
func (c *column) described() uint32 {
	if len(c.from) != 1 || c.from[0].item.virtual {
		return 0
	}
	return c.from[0].column.described()
}

func (c *Column) described() uint32 {
	if c.Domain || len(regTypes[c.Type.Name]) > 0 {
		return 0
	}
	return c.TypeOID
}

// Gives says whether a row description can be that of the statement's rows.
func (st *Statement) Gives(row []Described) bool {
	if st.Outputs == nil {
		return true
	}
	if len(st.Outputs) != len(row) {
		return false
	}
	for i, o := range st.Outputs {
		if o.Named && o.Name != row[i].Name || o.TypeOID != 0 && o.TypeOID != row[i].TypeOID {
			return false
		}
	}
	return true
}
