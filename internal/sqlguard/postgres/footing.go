package postgres

import (
	"slices"
	"strconv"
	"strings"
)

// Footing is what a statement takes a relation to be. Its text is a query whose row description says what the
// name means at the database now: the relation's OID and, where the statement depends on all of its columns,
// each of them. The database describes it from its caches, which are as new as its locks whatever snapshot a
// transaction has, and keeps its lock on the relation until the transaction ends.
type Footing struct {
	Text string
	OID  uint32
	// Columns are what Text gives, in order.
	Columns []Column
	// Rules, for a view, is a query for the versions of its definition and of those of the views that it reads;
	// Versions is what it gives. It reads a snapshot, so it counts where each statement has one of its own.
	Rules    string
	Versions string
	// Key names the footing: equal keys are equal footings.
	Key string
}

// tableOID is the system column that every relation with storage has.
var tableOID = Column{Name: "tableoid", Number: -6, TypeOID: 26}

// stand notes what the statement takes the relations to be that it names. One that changes the catalog, or takes
// rows in, stands on nothing: it shows no value.
func (a *analysis) stand() {
	if a.statement.Verb == DDL || a.statement.Verb == CopyIn {
		return
	}
	for _, r := range a.named {
		if isSystemSchema(r.Name.Schema) && r.Holding == nil { // the server's own, which nobody changes
			continue
		}
		if !slices.ContainsFunc(a.statement.Footing, func(f Footing) bool { return f.OID == r.OID }) {
			a.statement.Footing = append(a.statement.Footing, a.footing(r))
		}
	}
	if k := a.kin(); k != "" && reading[a.statement.Verb] && !slices.Contains(a.statement.Kin, k) {
		a.statement.Kin = append(a.statement.Kin, k)
	}
}

func (a *analysis) footing(r *Relation) Footing {
	from := " FROM " + ident(r.Name.Schema) + "." + ident(r.Name.Name)
	f := Footing{Text: "SELECT tableoid" + from, OID: r.OID, Columns: []Column{tableOID}}
	if len(r.Columns) > 0 && (r.Kind == View || a.wide[r] || a.plan.Guarded[r.OID] != nil) {
		f.Text, f.Columns = "SELECT *"+from, r.Columns
	}
	var b strings.Builder
	b.WriteString(f.Text)
	b.WriteByte(0)
	b.WriteString(strconv.FormatUint(uint64(r.OID), 10))
	for i := range f.Columns {
		c := &f.Columns[i]
		b.WriteByte(0)
		b.WriteString(strconv.Itoa(int(c.Number)) + " " + strconv.FormatUint(uint64(c.TypeOID), 10) + " " + c.Name)
	}
	if r.Kind == View {
		a.definitions(&f, r)
	}
	b.WriteString("\x00" + f.Versions)
	f.Key = b.String()
	return f
}

// definitions notes what the definitions are that a view stands on.
func (a *analysis) definitions(f *Footing, r *Relation) {
	oids := []uint32{r.OID}
	for _, oid := range r.Reaches {
		if below := a.env.Catalog.ByOID[oid]; below != nil && below.Kind == View {
			oids = append(oids, oid)
		}
	}
	slices.Sort(oids)
	var list, versions []string
	for _, oid := range oids {
		spelled := strconv.FormatUint(uint64(oid), 10)
		list = append(list, spelled)
		versions = append(versions, spelled+" "+a.env.Catalog.ByOID[oid].Definition)
	}
	f.Versions = strings.Join(versions, ",")
	f.Rules = "SELECT pg_catalog.current_setting('transaction_isolation'), pg_catalog.string_agg(ev_class::pg_catalog.text || ' ' || xmin::pg_catalog.text, ',' ORDER BY ev_class) FROM pg_catalog.pg_rewrite WHERE rulename = '_RETURN' AND ev_class IN (" + strings.Join(list, ", ") + ")"
}

// Defines says whether views are still defined as the footing takes them to be.
func (c *Catalog) Defines(f *Footing) bool {
	for _, one := range strings.Split(f.Versions, ",") {
		spelled, version, _ := strings.Cut(one, " ")
		oid, err := strconv.ParseUint(spelled, 10, 32)
		if r := c.ByOID[uint32(oid)]; err != nil || r == nil || r.Definition != version {
			return false
		}
	}
	return true
}

// Described is a column of a row description: the relation and the attribute that it comes from, its name and type.
type Described struct {
	Relation uint32
	Number   int16
	Name     string
	TypeOID  uint32
}

// Agrees says whether the row description of the footing's text is what the footing takes the relation to be.
// (Of a domain a row description has the type under it.)
func (f *Footing) Agrees(row []Described) bool {
	return slices.EqualFunc(f.Columns, row, func(c Column, d Described) bool {
		return d.Relation == f.OID && d.Number == c.Number && d.Name == c.Name && (c.Domain || d.TypeOID == c.TypeOID)
	})
}
