package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// A plan stands on what the catalog said up to catalogTTL ago. So before a statement runs the database says what
// the relations are now: for each the gateway keeps a prepared statement at the database, which is never
// executed, and sends a Describe of it in front of the statement. The answer comes from the database's caches,
// not from a snapshot, and the lock that the database takes for it stays until the transaction ends: what the
// answer says holds while the statement runs. Reads are sent together with the Describe, and their answer is
// thrown away where the ground has moved; what acts is sent when the answer is known.

const (
	maxGround = 256 // footings that are prepared at the database for one session
	maxMoves  = 3   // how often a statement is understood anew because the catalog moved
)

// errMoved says that the catalog has moved under a plan. Nothing was changed, and nothing was shown.
var errMoved = errors.New("the catalog moved under the plan")

// ground is what a session has prepared for its footings; the judge's own.
type ground struct {
	known   map[string]*described
	next    int
	closing []byte // Close messages that go before the next batch
	closed  int    // how many
	out     []byte // what was sent last, to be used again
}

// described is a footing that is prepared at the database.
type described struct {
	name string
	body []byte // of the RowDescription that agreed
}

// closeLater closes a statement ('S') or portal ('P') at the database before the next batch.
func (g *ground) closeLater(kind byte, name string) {
	g.closing = appendMessage(g.closing, 'C', []byte{kind}, []byte(name), []byte{0})
	g.closed++
}

// forget closes everything that was prepared.
func (g *ground) forget() {
	for _, d := range g.known {
		g.closeLater('S', d.name)
	}
	g.known = nil
}

// look is one thing that the database is asked before a batch: a footing, or what kin relations have.
type look struct {
	footing *guard.Footing
	kin     string // the query, where it is not a footing
	known   *described
	fresh   bool // it is prepared in this batch
}

// executes says whether what is asked runs, and is not only described.
func (l look) executes() bool { return l.kin != "" || l.footing.Rules != "" }

// extended is a text of one statement by the extended protocol, its results as text. With a Sync it is what a simple query
// is behind questions that ran. From 18 on (16 and 17 are taken to be the same) a server begins a block for what stands behind an
// executed statement, and does not end it at the end of a simple query of one statement; the Sync that would do it leaves
// the session in a state that the next simple query fails in (18.4: "unexpected state STARTED").
func extended(text string) []byte {
	b := appendMessage(nil, 'P', []byte{0}, []byte(text), []byte{0, 0, 0})
	b = appendMessage(b, 'B', []byte{0, 0, 0, 0, 0, 0, 0, 0})
	b = appendMessage(b, 'D', []byte{'P', 0})
	return appendMessage(b, 'E', []byte{0, 0, 0, 0, 0})
}

// ask writes the questions of some plans, after the Close messages that are due.
func (g *ground) ask(plans []*guard.Plan) (frames []byte, looks []look, closed int) {
	if len(g.known) > maxGround {
		g.forget()
	}
	frames, closed = append(g.out[:0], g.closing...), g.closed
	g.closing, g.closed = nil, 0
	for _, p := range plans {
		for i := range p.Statements {
			st := &p.Statements[i]
			for k := range st.Footing {
				f := &st.Footing[k]
				if slices.ContainsFunc(looks, func(l look) bool { return l.footing != nil && l.footing.Key == f.Key }) {
					continue
				}
				l := look{footing: f}
				frames = g.prepared(frames, &l, f.Key, f.Text)
				frames = appendMessage(frames, 'D', []byte{'S'}, []byte(l.known.name), []byte{0})
				if f.Rules != "" {
					frames = askRules(frames, f.Rules)
				}
				if looks == nil {
					looks = make([]look, 0, 3)
				}
				looks = append(looks, l)
			}
		}
	}
	for _, p := range plans { // right in front of what runs
		for i := range p.Statements {
			for _, text := range p.Statements[i].Kin {
				if slices.ContainsFunc(looks, func(l look) bool { return l.kin == text }) {
					continue
				}
				l := look{kin: text}
				frames = g.prepared(frames, &l, text, text)
				name := l.known.name
				frames = appendMessage(frames, 'B', []byte(kinName), []byte(name), []byte{0, 0, 0, 0, 0, 0, 0})
				frames = appendMessage(frames, 'E', []byte(kinName), []byte{0, 0, 0, 0})
				frames = appendMessage(frames, 'C', []byte{'P'}, []byte(kinName))
				looks = append(looks, l)
			}
		}
	}
	return frames, looks, closed
}

// prepared finds the statement at the database that a question is prepared as, and prepares it where there is none.
func (g *ground) prepared(frames []byte, l *look, key, text string) []byte {
	if l.known = g.known[key]; l.known != nil {
		return frames
	}
	g.next++
	l.known, l.fresh = &described{name: fmt.Sprintf("ground:%024x", g.next)}, true // a reserved name
	if g.known == nil {
		g.known = map[string]*described{}
	}
	g.known[key] = l.known
	return appendMessage(frames, 'P', []byte(l.known.name), []byte{0}, []byte(text), []byte{0, 0, 0})
}

// stands says whether any of the plans stands on a relation.
func stands(plans []*guard.Plan) bool {
	return slices.ContainsFunc(plans, func(p *guard.Plan) bool {
		return slices.ContainsFunc(p.Statements, func(st guard.Statement) bool { return len(st.Footing) > 0 })
	})
}

// acts says whether any of the plans may change something, so that it must not run on moved ground even where
// its answer is thrown away.
func acts(plans []*guard.Plan) bool {
	for _, p := range plans {
		if p.Writes {
			return true
		}
		for _, t := range p.Touches {
			if t.Action == "call" {
				return true
			}
		}
	}
	return false
}

// sendGrounded sends a batch like send, after a look at the ground that its plans stand on. ends is set for a batch
// that ends with a ReadyForQuery, inside for one in an implicit transaction that began before it; nothing is
// outstanding. Its errMoved leaves the session as if the batch had
// not been sent: it can be understood again.
func (s *session) sendGrounded(entries []*gate.Entry, plans []*guard.Plan, frames []byte, items []item, ends, inside bool) error {
	s.listens(items)
	if s.status == 'E' { // it fails by itself
		plans = nil
	}
	if !stands(plans) && s.ground.closed == 0 {
		return s.send(entries, frames, items)
	}
	query := slices.ContainsFunc(items, func(it item) bool { return it.kind == answerQuery })
	wait := acts(plans) || !ends || len(frames) > maxExchange
	out, looks, closed := s.ground.ask(plans)
	if query && s.blocks && len(plans) == 1 && len(plans[0].Statements) == 1 && slices.ContainsFunc(looks, look.executes) {
		query, frames = false, appendMessage(extended(plans[0].Text), 'S')
		for i := range items {
			items[i].extended = items[i].kind == answerQuery
		}
	}
	if wait {
		out = appendMessage(out, 'H')
	} else {
		if err := ready(entries); err != nil {
			return err
		}
		out = append(out, frames...)
	}
	s.pending.Add(1)
	defer s.pending.Add(-1)
	s.ground.out = emptied(out)
	if err := s.write(out); err != nil {
		return errors.Join(err, s.abandon(entries, "not forwarded: the database went away"))
	}
	if wait {
		if err := ready(entries); err != nil { // the disk and the database work at the same time
			return err
		}
	} else { // it runs before the looks are answered
		s.deadline = s.startDeadline(items)
	}
	v := s.see(closed, looks)
	if v.old && !v.moved && v.failed == nil && v.err == nil {
		v.moved, v.err = s.redefined(looks)
	}
	if v.err != nil || v.failed != nil || v.moved {
		s.endDeadline()
	}
	switch {
	case v.err != nil:
		return errors.Join(v.err, s.abandon(entries, "not known: the session ended"))
	case v.failed != nil:
		return s.unseen(entries, v.failed, frames, items, wait, query)
	case v.moved:
		return s.moved(entries, v.skipping, wait, query, inside)
	case wait:
		return s.send(entries, frames, items)
	}
	s.pending.Add(1)
	return s.exchanged(append(items, item{kind: answerBatchEnd}))
}

// rulesName is the statement and the portal that the definitions of views are asked with.
const rulesName = "rules:000000000000000000000000"

// askRules writes the question for the definitions of views. It runs after the Describe has taken the locks.
func askRules(frames []byte, text string) []byte {
	name := []byte(rulesName + "\x00")
	frames = appendMessage(frames, 'P', name, []byte(text), []byte{0, 0, 0})
	frames = appendMessage(frames, 'B', name, name, []byte{0, 0, 0, 0, 0, 0})
	frames = appendMessage(frames, 'E', name, []byte{0, 0, 0, 0})
	frames = appendMessage(frames, 'C', []byte{'P'}, name)
	return appendMessage(frames, 'C', []byte{'S'}, name)
}

// seeRules reads the answer to askRules. Where the transaction has one snapshot for all of its statements, its
// answer may be older than the definitions that the statement will use.
func (s *session) seeRules(v *view, f *guard.Footing) error {
	for _, typ := range []byte{'1', '2', 'D', 'C', '3', '3'} {
		body, err := s.own(v, typ)
		if body == nil {
			return err
		}
		if typ == 'D' {
			row := fields{b: body}
			row.int16()
			isolation := string(row.take(int(row.int32())))
			versions := string(row.take(int(row.int32())))
			v.moved = v.moved || versions != f.Versions || row.bad
			v.old = v.old || isolation != "read committed"
		}
	}
	return nil
}

// view is what the database answered to the looks.
type view struct {
	old      bool // definitions of views were read from a snapshot that may be old
	moved    bool
	skipping bool   // the database ignores everything until a Sync
	failed   []byte // an error that has nothing to do with the catalog
	err      error
}

// see reads the answers to the looks, and to the Close messages before them.
func (s *session) see(closed int, looks []look) view {
	if s.up.in.r.Buffered() == 0 {
		s.up.socket.wait(patience)
	}
	defer s.inlined()()
	var v view
	for range closed {
		if body, err := s.own(&v, '3'); body == nil {
			v.err = err
			return v
		}
	}
	for _, l := range looks {
		if l.kin != "" {
			if v.err = s.seeKin(&v, l); v.err != nil || v.skipping {
				return v
			}
			continue
		}
		types := []byte{'t', 'T'}
		if l.fresh {
			types = []byte{'1', 't', 'T'}
		}
		var body []byte
		for _, typ := range types {
			if body, v.err = s.own(&v, typ); body == nil {
				return v
			}
		}
		if l.known.body == nil && l.footing.Agrees(rowColumns(body)) {
			l.known.body = bytes.Clone(body)
		}
		v.moved = v.moved || !bytes.Equal(l.known.body, body)
		if l.footing.Rules != "" {
			if v.err = s.seeRules(&v, l.footing); v.err != nil || v.skipping {
				return v
			}
		}
	}
	return v
}

// own reads one message that answers the gateway's own; the body is nil where there was an error.
func (s *session) own(v *view, want byte) ([]byte, error) {
	typ, body, err := s.next()
	switch {
	case err != nil:
		return nil, err
	case typ == 'E':
		v.skipping = true
		fields, err := decodeError(body)
		if err != nil {
			return nil, s.breach("a malformed ErrorResponse")
		}
		if v.moved = catalogState(fields['C']); !v.moved {
			v.failed = bytes.Clone(body)
		}
		return nil, nil
	case typ != want:
		return nil, s.breach(fmt.Sprintf("a message of type %q", typ))
	case body == nil:
		return []byte{}, nil
	}
	return body, nil
}

// rowColumns are the columns of a RowDescription as a footing compares them; nil where it is malformed.
func rowColumns(body []byte) []guard.Described {
	fields, err := decodeRowDescription(body)
	if err != nil {
		return nil
	}
	out := make([]guard.Described, len(fields))
	for i, f := range fields {
		out[i] = guard.Described{Relation: f.table, Number: f.column, Name: f.name, TypeOID: f.typ}
	}
	return out
}

// catalogState says whether an error tells that a footing's relation is not what it was: a name that does not
// exist, a statement whose result changed, or that is not prepared any more, an object that went while it was
// looked up.
func catalogState(state string) bool {
	return slices.Contains([]string{"42P01", "42703", "3F000", "42704", "0A000", "26000", "XX000"}, state)
}

// redefined says whether a view is defined otherwise than the plan takes it to be, by a reading of the catalog
// that began after the database had locked it for this transaction, or a table has a child that the plan does not know of.
func (s *session) redefined(looks []look) (bool, error) {
	for _, l := range looks {
		if l.kin == "" {
			continue
		}
		more, err := s.target.catalogs.newKin(context.Background(), l.kin)
		if err != nil {
			return false, s.target.unreachable(err)
		}
		if more {
			return true, nil
		}
	}
	if !slices.ContainsFunc(looks, func(l look) bool { return l.footing != nil && l.footing.Rules != "" }) {
		return false, nil
	}
	catalog, err := s.target.catalogs.Reload(context.Background())
	if err != nil {
		return false, s.target.unreachable(err)
	}
	for _, l := range looks {
		if l.footing != nil && l.footing.Rules != "" && !catalog.Defines(l.footing) {
			return true, nil
		}
	}
	return false, nil
}

// moved brings the session back to where the batch can be understood again: the answers of what was sent are
// thrown away up to a ReadyForQuery.
func (s *session) moved(entries []*gate.Entry, skipping, wait, query, inside bool) error {
	s.copy, s.current = nil, nil
	if skipping {
		s.changes = append(s.changes, change{failed: true})
		s.unsettled = true
	}
	s.target.log.Info("the catalog moved under a plan", "session", s.gate.ID())
	s.ground.forget()
	err := s.abandon(entries, "not shown: the catalog had changed since it was understood")
	if err != nil || inside {
		return errors.Join(err, movedRefusal())
	}
	if wait || skipping && query {
		if err := s.write(appendMessage(nil, 'S')); err != nil {
			return err
		}
	}
	defer s.inlined()()
	for {
		typ, body, err := s.next()
		if err != nil {
			return err
		}
		if typ != 'Z' {
			continue
		}
		if len(body) != 1 {
			return s.breach("a malformed ReadyForQuery")
		}
		s.setStatus(body[0])
		s.unsynced = false
		if s.status != 'T' {
			s.answered.Store(s.sequence)
		}
		return errors.Join(s.closeFinished(), errMoved)
	}
}

// unseen answers a batch whose look failed for another reason, such as a lock that did not come in time: as if
// its first statement had failed.
func (s *session) unseen(entries []*gate.Entry, failed, frames []byte, items []item, wait, query bool) error {
	s.ground.forget() // what was prepared in this batch may not be
	text, err := s.forwardError(failed)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := closeEntry(e, gate.Outcome{Status: "error", Error: text}); err != nil {
			return err
		}
	}
	s.skipping, s.copy, s.current = true, nil, nil
	if slices.ContainsFunc(items, func(it item) bool { return it.kind == answerQuery }) {
		items, frames = []item{{kind: answerSync, sequence: s.sequence}}, appendMessage(nil, 'S')
	}
	if !wait && !query {
		frames = nil // they are there already, with their Sync
	}
	if err := s.write(frames); err != nil {
		return err
	}
	return s.push(items)
}

// abandon closes entries whose answer nobody gets.
func (s *session) abandon(entries []*gate.Entry, why string) error {
	var err error
	for _, e := range entries {
		err = errors.Join(err, closeEntry(e, gate.Outcome{Status: "error", Summary: why}))
	}
	return err
}

// again reads the catalog anew after errMoved; after some tries the client is told.
func (s *session) again(ctx context.Context, attempt int) *gate.Refusal {
	if attempt+1 >= maxMoves || s.status == 'E' {
		return movedRefusal()
	}
	if _, err := s.target.catalogs.Reload(ctx); err != nil {
		r, _ := s.refusal(s.target.unreachable(err))
		return r
	}
	if s.temporary != nil {
		s.state = s.state.Doubted()
	}
	return nil
}

func movedRefusal() *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "40001",
		Reason:   "The tables of the statement were changed by another session while it was on its way, so it did not run.",
		Remedy:   "Send it again.",
	}
}
