package postgres

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// temporaries are the temporary relations of a session: what its upstream session said when it was last asked, and
// what was read to fill them. The judge's own. Names are resolved by it, and looked at again in front of each
// statement like those of other tables, so that the gateway and the database can't mean different ones.
type temporaries struct {
	raw     []rawRelation
	schema  uint32
	name    string
	version uint64

	makes map[string][]guard.Source // by the name of a table that was sent to be made, since they were asked for
	made  map[uint32]bool           // by OID: a statement of the client's made it
	holds map[uint32][]guard.Source // by OID: what was read to fill it

	base, over *guard.Catalog // over is base with the temporary relations
}

var temporaryVersions atomic.Uint64

// rawRelation is a temporary relation as temporaryQuery gives it.
type rawRelation struct {
	OID     uint32   `json:"oid"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Natts   int16    `json:"natts"`
	Rows    []uint32 `json:"rows"`
	Odd     bool     `json:"odd"` // it inherits, has rules or policies: none that a statement here can make
	Key     []int16  `json:"key"`
	Calls   []uint32 `json:"calls"`
	Columns []struct {
		Name      string `json:"name"`
		Number    int16  `json:"number"`
		Schema    string `json:"schema"`
		Type      string `json:"type"`
		OID       uint32 `json:"oid"`
		Mod       int32  `json:"mod"`
		Spelled   string `json:"spelled"`
		Generated bool   `json:"generated"`
		Domain    bool   `json:"domain"`
		Base      uint32 `json:"base"` // what it is an array or a domain of, else the type itself
	} `json:"columns"`
}

type rawTemporaries struct {
	Schema    uint32        `json:"schema"`
	Name      string        `json:"name"`
	Relations []rawRelation `json:"relations"`
}

// temporaryQuery asks an upstream session for its temporary relations: one row, one text of JSON. Its own catalog
// rows are seen whatever snapshot its transaction has.
const temporaryQuery = `SELECT pg_catalog.json_build_object('schema', n.oid::pg_catalog.int8, 'name', n.nspname, 'relations', (
	SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', c.oid::pg_catalog.int8, 'name', c.relname, 'kind', c.relkind, 'natts', c.relnatts,
		'rows', (SELECT pg_catalog.json_build_array(t.oid::pg_catalog.int8, t.typarray::pg_catalog.int8) FROM pg_catalog.pg_type t WHERE t.oid = c.reltype),
		'odd', c.relhasrules OR c.relrowsecurity OR c.relispartition OR c.relhassubclass
			OR EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent))
			OR EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid),
		'key', (SELECT pg_catalog.array_to_json(i.indkey::pg_catalog.int2[]) FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
		'calls', (SELECT pg_catalog.json_agg(DISTINCT f.function::pg_catalog.int8) FROM (
			SELECT CASE d.refclassid WHEN 1255 THEN d.refobjid ELSE (SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o WHERE o.oid = d.refobjid) END AS function
			FROM pg_catalog.pg_depend d WHERE d.refclassid IN (1255, 2617) AND (
				d.classid = 2604 AND d.objid IN (SELECT a.oid FROM pg_catalog.pg_attrdef a WHERE a.adrelid = c.oid)
				OR d.classid = 2606 AND d.objid IN (SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid)
				OR d.classid = 1259 AND d.objid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid))) f),
		'columns', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'number', a.attnum, 'schema', tn.nspname, 'type', t.typname,
				'oid', a.atttypid::pg_catalog.int8, 'mod', a.atttypmod, 'spelled', pg_catalog.format_type(a.atttypid, a.atttypmod), 'generated', a.attgenerated <> '',
				'domain', t.typtype = 'd', 'base', (CASE WHEN t.typtype = 'd' THEN t.typbasetype WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END)::pg_catalog.int8) ORDER BY a.attnum)
			FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) ORDER BY c.oid)
	FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')))::pg_catalog.text
	FROM pg_catalog.pg_namespace n WHERE n.oid = pg_catalog.pg_my_temp_schema()`

// with is a catalog with the temporary relations of the session.
func (t *temporaries) with(base *guard.Catalog) *guard.Catalog {
	if t == nil || len(t.raw) == 0 {
		return base
	}
	if t.base == base {
		return t.over
	}
	own := &guard.Temporary{Schema: t.schema, Name: t.name, Version: t.version, Relations: map[string]*guard.Relation{}}
	for i := range t.raw {
		r := t.relation(&t.raw[i], base)
		own.Relations[r.Name.Name] = r
	}
	t.base, t.over = base, base.With(own)
	return t.over
}

// relation is a temporary relation as the guard knows relations.
func (t *temporaries) relation(raw *rawRelation, base *guard.Catalog) *guard.Relation {
	r := &guard.Relation{
		OID: raw.OID, Name: guard.Name{Schema: guard.TempSchema, Name: raw.Name}, Natts: raw.Natts, RowTypes: raw.Rows, PrimaryKey: raw.Key,
		Rules: raw.Odd, Unknown: raw.Odd,
		Holding: &guard.Holding{Made: t.made[raw.OID], Sources: t.holds[raw.OID]},
		Version: fmt.Sprintf("temporary:%d", t.version),
	}
	if raw.Kind != "" {
		r.Kind = guard.RelationKind(raw.Kind[0])
	}
	call := func(f guard.Function) {
		if !slices.Contains(r.Calls, f) && !base.Harmless[f.OID] {
			r.Calls = append(r.Calls, f)
		}
	}
	for _, oid := range raw.Calls {
		for _, f := range base.Routines {
			if f.OID == oid {
				call(f)
			}
		}
	}
	for i := range raw.Columns {
		c := &raw.Columns[i]
		r.Columns = append(r.Columns, guard.Column{
			Name: c.Name, Number: c.Number, Type: guard.Name{Schema: c.Schema, Name: c.Type}, TypeOID: c.OID, TypeMod: c.Mod, Spelled: c.Spelled,
			Extension: base.Foreign(c.Base), Domain: c.Domain, Generated: c.Generated,
		})
		if typ := base.TypesByOID[c.OID]; typ != nil {
			for _, f := range typ.Calls {
				call(f)
			}
		}
	}
	return r
}

// changed makes the next statement see the relations as they are now.
func (t *temporaries) changed() {
	t.version = temporaryVersions.Add(1)
	t.base, t.over = nil, nil
}

// sent notes what plans that are about to be sent make and fill. What is not run in the end is noted all the same:
// a table is then taken to hold more than it does.
func (s *session) sent(plans ...*guard.Plan) {
	for _, p := range plans {
		if p == nil {
			continue
		}
		for i := range p.Statements {
			st := &p.Statements[i]
			if st.Makes == "" && st.Fills == nil {
				continue
			}
			if s.temporary == nil {
				s.temporary = &temporaries{makes: map[string][]guard.Source{}, made: map[uint32]bool{}, holds: map[uint32][]guard.Source{}}
			}
			t := s.temporary
			if st.Makes != "" {
				t.makes[st.Makes] = guard.WithSources(t.makes[st.Makes], st.Sources)
			}
			for _, oid := range st.Fills {
				if more := guard.WithSources(t.holds[oid], st.Sources); len(more) > len(t.holds[oid]) {
					t.holds[oid] = more
					t.changed()
				}
			}
		}
	}
}

// ask asks the upstream session for its temporary relations, where statements changed them since. Nothing is
// outstanding. In a transaction that has failed the database would not answer; it runs nothing until that ends, and
// then it is asked. The refusal is for the client, where the database did not answer; an error ends the session.
func (s *session) ask() (*gate.Refusal, error) {
	if !s.state.Asks() {
		return nil, nil
	}
	idle := !s.unsynced && s.status == 'I'
	if s.up == nil || s.temporary == nil || s.status == 'E' { // it never had any, or cannot say
		s.state = s.state.Asked(idle)
		return nil, nil
	}
	now, err := s.askTemporary()
	if r, ok := gate.AsRefusal(err); ok && !s.unsynced && r.SQLState == failedAsk {
		s.catchUp()
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	s.temporary.take(now, idle)
	s.state = s.state.Asked(idle)
	return nil, nil
}

// take takes up what the upstream session said. Where no transaction is open, what is not there now will not come
// back.
func (t *temporaries) take(now rawTemporaries, idle bool) {
	known, there := map[uint32]bool{}, map[uint32]bool{}
	for _, r := range t.raw {
		known[r.OID] = true
	}
	for _, r := range now.Relations {
		there[r.OID] = true
		sources, sent := t.makes[r.Name]
		if sent && !known[r.OID] {
			t.made[r.OID] = true
		}
		if sent {
			t.holds[r.OID] = guard.WithSources(t.holds[r.OID], sources)
		}
	}
	if idle {
		gone := func(oid uint32) bool { return !there[oid] }
		maps.DeleteFunc(t.made, func(oid uint32, _ bool) bool { return gone(oid) })
		maps.DeleteFunc(t.holds, func(oid uint32, _ []guard.Source) bool { return gone(oid) })
	}
	clear(t.makes)
	t.raw, t.schema, t.name = now.Relations, now.Schema, now.Name
	t.changed()
}

const failedAsk = "57014"

// askTemporary sends the question and reads its answer. Its refusal says that the database did not answer.
func (s *session) askTemporary() (out rawTemporaries, err error) {
	frames := askRules(nil, temporaryQuery)
	last := byte('Z')
	if s.unsynced { // a Sync would end what is under way
		frames, last = appendMessage(frames, 'H'), '3'
	} else {
		frames = appendMessage(frames, 'S')
	}
	if err := s.write(frames); err != nil {
		return out, err
	}
	defer s.inlined()()
	failed := false
	for closed := 0; ; {
		typ, body, err := s.next()
		if err != nil {
			return out, err
		}
		switch typ {
		case '1', '2', 'C':
		case '3':
			closed++
		case 'D':
			row := fields{b: body}
			row.int16()
			if err := json.Unmarshal(row.take(int(row.int32())), &out); err != nil || row.bad {
				return out, s.breach("a malformed list of temporary tables")
			}
		case 'E':
			failed = true
			s.changes = append(s.changes, change{failed: true})
			s.unsettled = true
			if s.unsynced {
				return out, connectionLost(s.target.connection.Name)
			}
		case 'Z':
			if len(body) != 1 {
				return out, s.breach("a malformed ReadyForQuery")
			}
			s.setStatus(body[0])
		default:
			return out, s.breach(fmt.Sprintf("a message of type %q", typ))
		}
		if typ != last || typ == '3' && closed < 2 {
			continue
		}
		if failed {
			return out, &gate.Refusal{Code: gate.Unavailable, SQLState: failedAsk, Reason: "The database did not say which temporary tables there are now, so the statement did not run.", Remedy: "Send it again."}
		}
		return out, nil
	}
}
