package postgres

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/internal/policy"
)

// Extensions are those whose functions and operators compute from their arguments alone, as long as they are
// not volatile and not on the list of exceptions. Their types may be named.
var Extensions = listed(`citext hstore pg_trgm uuid-ossp pgcrypto ltree intarray unaccent fuzzystrmatch
	btree_gin btree_gist postgis cube isn`)

// extensionVolatile are volatile functions of theirs that may be called: random sources.
var extensionVolatile = listed(`uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 gen_random_uuid gen_random_bytes`)

// extensionRefused are functions of theirs that may not be called though they are not volatile: they read
// statistics, tables that an argument names, or the server, or make rows of types that they are not told of.
var extensionRefused = listed(`st_estimatedextent st_findextent find_srid get_proj4_from_srid populate_record
	st_fromflatgeobuf st_fromflatgeobuftotable`)

// pgcryptoPure are the functions of pgcrypto that may be called.
var pgcryptoPure = listed(`digest hmac gen_random_uuid gen_random_bytes`)

// ExtensionFunction says whether a function of an extension may be called without a permit. volatility is
// pg_proc.provolatile. What takes the name of an object as a value, and SECURITY DEFINER functions, are not to be
// asked for.
func ExtensionFunction(extension, name, volatility string) bool {
	switch {
	case !Extensions[extension] || extensionRefused[name] || strings.HasPrefix(name, "_postgis_") || strings.HasPrefix(name, "postgis_"):
		return false
	case extension == "pgcrypto" && !pgcryptoPure[name]:
		return false
	case volatility == "v":
		return extensionVolatile[name]
	}
	return volatility == "i" || volatility == "s"
}

// Overloads are the functions of one name in one schema.
type Overloads struct {
	// Allowed is set where each of them may be called without a permit.
	Allowed bool `json:"allowed,omitempty"`
	// Apart is set where each of them could be called so, but that the pinned path does not find the operators of its
	// extension's types: then it may be called where no operator meets a value of such a type (see apart).
	Apart bool `json:"apart,omitempty"`
	// Called is set where each of them may be called with a permit: it is a function, aggregate or window function, and
	// gives values whose operators the pinned path finds. Volatile is set where one of them may change something.
	Called   bool `json:"called,omitempty"`
	Volatile bool `json:"volatile,omitempty"`
	// Result is the type that all of them return; 0 where they differ.
	Result uint32 `json:"result,omitempty"`
	// Fields are the columns that all of them return in FROM; none for a single value. Differ is set where the
	// overloads do not agree.
	Fields []Field `json:"fields,omitempty"`
	Differ bool    `json:"differ,omitempty"`
}

// extensionFunction is what the functions of a name outside pg_catalog have in common; nil where one of them
// may not be called, or the name means one of pg_catalog.
func (a *analysis) extensionFunction(names []string) *Overloads {
	switch len(names) {
	case 1:
		for _, schema := range a.env.Catalog.SearchPath {
			if o := a.env.Catalog.Functions[Name{schema, names[0]}]; o != nil {
				return o.allowed()
			}
		}
	case 2:
		return a.env.Catalog.Functions[Name{names[0], names[1]}].allowed()
	}
	return nil
}

func (o *Overloads) allowed() *Overloads {
	if !o.free() && !o.byPermit() {
		return nil
	}
	return o
}

// free says whether the functions may be called without a permit.
func (o *Overloads) free() bool { return o != nil && (o.Allowed || o.apart()) }

// byPermit says whether they may be called with one.
func (o *Overloads) byPermit() bool { return o != nil && o.Called && !o.Allowed && !o.Apart }

// record is the type of rows whose columns a function says.
const record = 2249

// apart says whether the functions give values of the server's own types alone, so that the operators of their
// extension are never looked for. What has such a type may be their argument: it is qualified, and every function of the
// name is known.
func (o *Overloads) apart() bool {
	if !o.Apart || o.Differ || o.Result == 0 || o.Result >= firstUserOID || o.Result == record && len(o.Fields) == 0 {
		return false
	}
	return !slices.ContainsFunc(o.Fields, func(f Field) bool { return f.TypeOID >= firstUserOID })
}

// callable says whether a call of functions outside pg_catalog may stand where it does. Those that are direct arguments
// of one that may be called may give values of their extension's types.
func (a *analysis) callable(v *pg.FuncCall, o *Overloads) bool {
	if !o.free() && (o == nil || !o.Apart || !a.arguments[v]) {
		return false
	}
	for _, n := range v.Args {
		if f := n.GetFuncCall(); f != nil {
			a.arguments[f] = true
		}
	}
	return true
}

// functionName finds what a name that is called means, and qualifies it. An unqualified name that pg_catalog
// and extensions share stays as it is: the pinned search path has both, as the client's own would.
func (a *analysis) functionName(v *pg.FuncCall) error {
	names := stringsOf(v.Funcname)
	last := names[len(names)-1]
	switch {
	case len(names) == 2 && names[0] != "pg_catalog":
		if o := a.env.Catalog.Functions[Name{names[0], names[1]}]; !a.callable(v, o) {
			return a.calls(v, Name{names[0], last}, o)
		}
		return nil
	case len(names) > 2:
		return a.notBuilt(v.Location, "Calls of functions outside pg_catalog ("+strings.Join(names, ".")+") are")
	case populating[last]:
		if a.populates(v) == nil {
			return a.notBuilt(v.Location, "Calls of "+last+" with anything but NULL::type as the first argument are")
		}
	case len(names) == 1 && functions[last] && a.shared(last):
		return a.sharedName(v, last)
	case functions[last]:
	case len(names) == 1:
		for _, schema := range a.env.Catalog.SearchPath {
			if o := a.env.Catalog.Functions[Name{schema, last}]; o != nil {
				if !a.callable(v, o) {
					return a.calls(v, Name{schema, last}, o)
				}
				v.Funcname = []*pg.Node{pg.MakeStrNode(schema), v.Funcname[0]}
				return nil
			}
		}
		fallthrough
	default:
		return refused(NotUnderstood, "42501", a.at(v.Location), "The function "+quoted(last)+" is not on the list of functions that may be called.", "Write the statement without it.")
	}
	if len(names) == 1 {
		v.Funcname = []*pg.Node{pg.MakeStrNode("pg_catalog"), v.Funcname[0]}
	}
	return nil
}

// calls lets a call through that takes a permit: each function that the name can mean is a touch.
func (a *analysis) calls(v *pg.FuncCall, name Name, o *Overloads) error {
	switch {
	case o == nil:
		return refused(UnknownName, "42883", a.at(v.Location), "function "+name.String()+" does not exist", "Correct the name.")
	case o.Apart:
		return a.unreliable(v, name.Schema, name.Name)
	case !o.byPermit():
		return a.notBuilt(v.Location, "Calls of "+name.String()+", which is a procedure or a trigger's function or gives values of a type that the gateway cannot rely on, are")
	}
	if r := a.givesRows(o); r != nil {
		return refused(NotUnderstood, "42501", a.at(v.Location), "The function "+name.String()+" gives rows of the table "+r.Name.String()+" as they are, of which you may not see everything.", "Read the table itself.")
	}
	for _, f := range a.env.Catalog.Routines {
		if f.Name == name {
			a.touch("call", a.env.Catalog.FunctionResource(f))
		}
	}
	a.plan.Calls = true
	a.statement.Writes = a.statement.Writes || o.Volatile
	v.Funcname = []*pg.Node{pg.MakeStrNode(name.Schema), pg.MakeStrNode(name.Name)}
	return nil
}

// givesRows is a relation whose rows the functions give and of which the principal does not see everything as it is;
// nil where there is none. Of what else a function reads nothing is known: its permit answers for that.
func (a *analysis) givesRows(o *Overloads) *Relation {
	for _, r := range a.env.Catalog.ByOID {
		gives := slices.Contains(r.RowTypes, o.Result) || slices.ContainsFunc(o.Fields, func(f Field) bool { return slices.Contains(r.RowTypes, f.TypeOID) })
		if !gives {
			continue
		}
		if a.filteredColumn(r) || len(a.rowsOf("read", r)) > 0 {
			return r
		}
		for i := range r.Columns {
			if e := a.read(r, &r.Columns[i]); !e.Visible || e.Mask != policy.MaskNone {
				return r
			}
		}
	}
	return nil
}

// unreliable is the refusal of a function of an extension in a schema that the pinned path does not have.
func (a *analysis) unreliable(v *pg.FuncCall, schema, name string) error {
	return refused(NotUnderstood, "42501", a.at(v.Location), "The function "+quoted(name)+" gives values of an extension's type, whose operators the gateway cannot rely on in the schema "+quoted(schema)+".",
		"Use it as the argument of another function of the extension, or ask the database's operator to put the schema into the connection's search_path and to revoke CREATE on it.")
}

// shared says whether a schema of the operator path has an extension's function of the name.
func (a *analysis) shared(name string) bool {
	return slices.ContainsFunc(a.env.Catalog.OperatorPath, func(schema string) bool {
		o := a.env.Catalog.Functions[Name{schema, name}]
		return o != nil && o.Allowed
	})
}

// sharedName leaves a name as it is where every function that it can reach may be called.
func (a *analysis) sharedName(v *pg.FuncCall, name string) error {
	for _, schema := range a.env.Catalog.OperatorPath {
		if o := a.env.Catalog.Functions[Name{schema, name}]; o != nil && !o.Allowed {
			return a.notBuilt(v.Location, "Calls of functions outside pg_catalog ("+schema+"."+name+") are")
		}
	}
	return nil
}

// operatorName lets an operator through that can only be one of pg_catalog or of a trusted extension.
func (a *analysis) operatorName(name []*pg.Node, location int32) error {
	names := stringsOf(name)
	switch {
	case len(names) == 0, len(names) == 2 && names[0] == "pg_catalog":
		return nil
	case len(names) == 1 && !a.env.Catalog.RefusedOperators[names[0]]:
		return nil
	case len(names) == 2 && slices.Contains(a.env.Catalog.OperatorPath, names[0]) && !a.env.Catalog.RefusedOperators[names[1]]:
		return nil
	}
	return a.notBuilt(location, "Operators outside pg_catalog are")
}

// fieldsOf are the fields of a row that an expression is; nil where they are not known.
func (a *analysis) fieldsOf(n *pg.Node, s *scope) []Field {
	if f := n.GetFuncCall(); f != nil {
		if o := a.extensionFunction(stringsOf(f.Funcname)); o != nil && len(o.Fields) > 0 && !o.Differ {
			return o.Fields
		}
		var out []Field
		if t := a.env.Catalog.composite(a.valueType(n, s)); t != nil {
			return t.Fields
		}
		for _, name := range tableFunctions[figureName(n)] {
			out = append(out, Field{Name: name})
		}
		return out
	}
	if t := a.env.Catalog.composite(a.valueType(n, s)); t != nil {
		return t.Fields
	}
	return nil
}

// Foreign says whether the operators over a type are not those that the pinned path finds.
func (c *Catalog) Foreign(oid uint32) bool {
	if oid < firstUserOID {
		return false
	}
	for _, t := range c.TypesByOID {
		if (t.OID == oid || t.Array == oid) && t.Kind == 'b' {
			return !t.Usable
		}
	}
	return false
}
