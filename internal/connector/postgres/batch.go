package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// gather keeps a message of the extended protocol until its batch ends.
func (s *session) gather(ctx context.Context, typ byte, body []byte) error {
	if s.discarding {
		return nil
	}
	m := message{typ: typ}
	var err error
	if len(body) > keepBuffer && !s.kept.hold(s.kept.held+3*int64(len(body))) { // it is kept, sent and recorded
		return s.refuseBatch(noRoom(s.server.memory.limit))
	}
	switch typ {
	case 'P':
		m.parse, err = decodeParse(body)
	case 'B':
		m.bind, err = decodeBind(bytes.Clone(body))
	case 'D':
		m.describe, err = decodeDescribe(body, "Describe")
	case 'C':
		m.describe, err = decodeDescribe(body, "Close")
	case 'E':
		m.execute, err = decodeExecute(body)
		s.executes++
	}
	if err != nil {
		r, _ := refusalFrom(err)
		return s.refuseBatch(r)
	}
	if s.batch == nil {
		s.batch = make([]message, 0, 4) // a known statement has Bind, Describe, Execute
	}
	s.batch = append(s.batch, m)
	s.batchBytes += len(body) + 64
	if s.batchBytes > maxBatchBytes || s.executes >= maxBatchExecutes {
		return s.finish(ctx, 0)
	}
	return nil
}

// finish ends a batch: with a Sync, a Flush, or because it has grown enough (0).
func (s *session) finish(ctx context.Context, end byte) error {
	batch := s.batch
	s.batch, s.batchBytes, s.executes = nil, 0, 0
	defer s.kept.hold(0)
	defer s.countTexts()
	for _, n := range s.cuts(batch) {
		if err := s.piece(ctx, batch[:n], cutEnd); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return s.piece(ctx, batch, end)
}

// piece ends a batch, or a part of it that is judged and sent before the next one is (cutEnd).
func (s *session) piece(ctx context.Context, batch []message, end byte) error {
	if s.discarding {
		if end != 'S' {
			return nil
		}
		s.discarding = false
		return s.ready()
	}
	// Which statements and portals there are depends on answers: what the database skipped after an error
	// it has not parsed, bound or closed. So nothing is judged before they are known.
	if len(batch) > 0 && (s.unsynced || s.outstanding.Load() > 0) {
		if err := s.drain(); err != nil {
			return err
		}
		if s.unsynced && s.skipping {
			batch = nil // the database ignores everything until a Sync
		}
	}
	if len(batch) == 0 {
		if end == cutEnd {
			return nil
		}
		return s.endBatch(end, nil, nil, nil, nil)
	}
	for attempt := 0; ; attempt++ {
		if err := s.judgeBatch(ctx, batch, end); !errors.Is(err, errMoved) {
			if err != nil || end != cutEnd || s.discarding {
				return err
			}
			return s.cut()
		}
		if r := s.again(ctx, attempt); r != nil {
			return s.refuseEnded(r, end)
		}
	}
}

// judgeBatch passes a batch through the gate and sends it.
func (s *session) judgeBatch(ctx context.Context, batch []message, end byte) error {
	s.catchUp()
	if r, err := s.ask(); err != nil {
		return err
	} else if r != nil {
		return s.refuseEnded(r, end)
	}
	d := s.draft(batch)
	if d.err != nil {
		return s.refuseEnded(d.err, end)
	}
	var entries []*gate.Entry
	if len(d.requests) > 0 {
		var err error
		if entries, err = s.admit(ctx, d.requests); err != nil {
			r, err := s.refusal(err)
			if err != nil {
				return err
			}
			return s.refuseEnded(r, end)
		}
		if r := d.unlimited(entries); r != nil {
			if err := refuseAdmitted(entries, r); err != nil {
				return err
			}
			return s.refuseEnded(r, end)
		}
	} else if err := s.connect(ctx); err != nil {
		r, _ := refusalFrom(err)
		return s.refuseEnded(r, end)
	}
	copying, misplaced := d.copies()
	if misplaced {
		for _, e := range entries {
			if err := closeEntry(e, gate.Outcome{Status: "refused", Summary: "not forwarded: messages behind a COPY FROM STDIN"}); err != nil {
				return err
			}
		}
		return s.refuseEnded(nameError("0A000", "Messages behind the Execute of a COPY FROM STDIN, before its rows, are not understood.", "Send it last before a Sync or Flush, then the rows."), end)
	}
	keys := append(entries, d.reused...)
	counted := bounded(keys)
	if r := d.together(); counted && r != nil {
		if err := refuseAdmitted(entries, r); err != nil {
			return err
		}
		return s.refuseEnded(r, end)
	}
	frames, items := d.apply(entries)
	s.sent(d.running()...)
	var err error
	switch {
	case copying:
		err = s.copyBatch(end, d, keys, frames, items)
	case counted:
		err = s.endBatch('H', keys, d.bound(), frames, items)
	default:
		err = s.endBatch(end, keys, d.bound(), frames, items)
	}
	if errors.Is(err, errMoved) {
		if len(d.reused) > 0 { // rows of theirs are lost
			return movedRefusal()
		}
		d.undo()
	}
	if err == nil && counted {
		return s.endBounded(end)
	}
	return err
}

// endBatch sends a batch on, with its Sync or a Flush.
func (s *session) endBatch(end byte, entries []*gate.Entry, plans []*guard.Plan, frames []byte, items []item) error {
	inside := s.unsynced && s.status == 'I'
	if end == 'S' || end == cutEnd {
		if s.up == nil { // nothing was ever sent
			return s.push([]item{{kind: answerReady}})
		}
		s.sequence++
		s.unsynced = false
		frames = appendMessage(frames, 'S')
		it := item{kind: answerSync, sequence: s.sequence}
		if end == cutEnd {
			it.kind = answerCut
		}
		items = append(items, it)
	} else if len(frames) > 0 {
		s.unsynced = true
		frames = appendMessage(frames, 'H')
	}
	if len(frames) == 0 {
		return nil
	}
	return s.sendGrounded(entries, plans, frames, items, end == 'S' || end == cutEnd, inside)
}

// refuseBatch refuses what has been gathered and everything up to the next Sync.
func (s *session) refuseBatch(r *gate.Refusal) error {
	s.batch, s.batchBytes, s.executes = nil, 0, 0
	s.kept.hold(0)
	return s.refuseEnded(r, 0)
}

// refuseEnded answers a refused batch; with its Sync the client is told that it may go on.
func (s *session) refuseEnded(r *gate.Refusal, end byte) error {
	if err := s.failTransaction(); err != nil {
		return err
	}
	if err := s.push([]item{{kind: answerLocal, bytes: encodeError(nil, 'E', errorFields("ERROR", r))}}); err != nil {
		return err
	}
	s.discarding = end != 'S'
	if s.discarding {
		return nil
	}
	return s.ready()
}

// ready answers a Sync after a refusal. It reaches the database only where that waits for one.
func (s *session) ready() error {
	if s.up != nil && s.unsynced {
		return s.endBatch('S', nil, nil, nil, nil)
	}
	return s.push([]item{{kind: answerReady}})
}

// draft is a batch that was looked through: what is to be decided, and what will be sent if it is
// admitted. Nothing of the session has changed yet.
type draft struct {
	session    *session
	statements map[string]*prepared // what the batch changes; nil: closed
	portals    map[string]*portal
	closed     map[string]*prepared // what the batch closes
	steps      []step
	requests   []gate.Request
	reused     []*gate.Entry // of portals that were bound in an earlier batch
	state      *guard.State  // after the Executes of the first looked steps
	looked     int
	err        *gate.Refusal
}

// step is one message that will be sent.
type step struct {
	message   *message
	statement *prepared
	portal    *portal
	request   int    // index of the request whose entry it needs; -1: none
	fetch     string // what the Execute of a cursor of SQL stands for
}

func (d *draft) statement(name string) *prepared {
	if p, ok := d.statements[name]; ok {
		return p
	}
	if p := d.session.statements[name]; p != nil && !p.failed.Load() {
		return p
	}
	return d.session.preparedInSQL(name)
}

func (d *draft) portal(name string) *portal {
	if p, ok := d.portals[name]; ok {
		return p
	}
	if p := d.session.portals[name]; p != nil && p.entry.Open() && p.sequence > d.session.answered.Load() {
		return p
	}
	return nil
}

// draft looks a batch through. A name that does not exist, or a statement that the gate will be asked
// about in vain, is an error; then nothing has changed.
func (s *session) draft(batch []message) *draft {
	d := &draft{session: s, statements: map[string]*prepared{}, portals: map[string]*portal{}, state: s.state, steps: make([]step, 0, len(batch))}
	var asked map[*prepared]bool // statements that a Bind of this batch asks the gate about
	for i := range batch {
		m := &batch[i]
		st := step{message: m, request: -1}
		switch m.typ {
		case 'P':
			d.prepare(m, &st)
		case 'B':
			d.bind(m, &st)
			if len(d.statements) > 0 {
				if asked == nil {
					asked = map[*prepared]bool{}
				}
				asked[st.statement] = true
			}
		case 'D':
			d.describe(m, &st)
		case 'E':
			d.execute(m, &st)
		case 'C':
			d.close(m, &st)
		}
		if d.err != nil {
			return d
		}
		d.steps = append(d.steps, st)
	}
	// A statement that is only prepared is asked about by itself, in its place.
	d.requests = nil
	for i := range d.steps {
		st := &d.steps[i]
		switch {
		case st.message.typ == 'P' && !asked[st.statement]:
			st.request = len(d.requests)
			d.requests = append(d.requests, &request{session: s, text: st.statement.text, statement: st.statement, prepare: true, position: s.position(), draft: d, step: i})
		case st.message.typ == 'B':
			st.request = len(d.requests)
			st.portal.asked = &request{
				session: s, text: st.statement.text, statement: st.statement, position: s.position(),
				values: st.message.bind.parameters(st.statement.types), draft: d, step: i,
			}
			d.requests = append(d.requests, st.portal.asked)
		case st.message.typ == 'E' && st.portal.server != "":
			st.request = len(d.requests)
			st.portal.asked = &request{session: s, text: st.fetch, statement: st.statement, position: s.position(), draft: d, step: i}
			d.requests = append(d.requests, st.portal.asked)
		}
	}
	return d
}

// full says whether a session holds as many as it may, with what a batch adds to and takes away (nil) from them.
func full[T any](have, change map[string]*T) bool {
	if len(have)+len(change) < maxStatements {
		return false
	}
	n := len(have)
	for name, one := range change {
		if _, before := have[name]; before != (one != nil) {
			n++
			if one == nil {
				n -= 2
			}
		}
	}
	return n >= maxStatements
}

func (d *draft) prepare(m *message, st *step) {
	p := m.parse
	if guard.Reserved(p.name) {
		d.err = reservedName(p.name)
		return
	}
	if p.name != "" && d.statement(p.name) != nil {
		d.err = nameError("42P05", fmt.Sprintf("prepared statement %q already exists", shorten(p.name)), "Close it first, or use another name.")
		return
	}
	if full(d.session.statements, d.statements) {
		d.err = &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("A session may hold %d prepared statements.", maxStatements), Remedy: "Close some first."}
		return
	}
	if n := int64(len(p.text)); n > keepText && !d.session.texts.hold(d.session.texts.held+2*n) {
		d.err = noRoom(d.session.server.memory.limit)
		return
	}
	if len(p.text) > keepText && d.prepared()+len(p.text) > maxPrepared {
		d.err = &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("The prepared statements of a session may be %d MiB long together.", maxPrepared>>20), Remedy: "Close some first, or send the values as parameters."}
		return
	}
	st.statement = &prepared{name: p.name, text: p.text, types: p.types, declared: declareTypes(p.types)}
	d.statements[p.name] = st.statement
}

// prepared is the length of all prepared statements' texts.
func (d *draft) prepared() (n int) {
	for name, p := range d.session.statements {
		if _, own := d.statements[name]; !own {
			n += len(p.text)
		}
	}
	for _, p := range d.statements {
		if p != nil {
			n += len(p.text)
		}
	}
	return n
}

func (d *draft) bind(m *message, st *step) {
	if d.err = d.portalName(m.bind.portal); d.err != nil {
		return
	}
	st.statement = d.statement(m.bind.statement)
	if st.statement == nil {
		d.err = nameError("26000", fmt.Sprintf("prepared statement %q does not exist", shorten(m.bind.statement)), "Prepare it again.")
		return
	}
	if full(d.session.portals, d.portals) {
		d.err = &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("A session may hold %d portals.", maxStatements), Remedy: "Close some first."}
		return
	}
	st.portal = &portal{statement: st.statement, results: m.bind.results, sequence: d.session.sequence + 1}
	d.portals[m.bind.portal] = st.portal
}

func (d *draft) describe(m *message, st *step) {
	if m.describe.kind == 'S' {
		if st.statement = d.statement(m.describe.name); st.statement == nil {
			d.err = nameError("26000", fmt.Sprintf("prepared statement %q does not exist", shorten(m.describe.name)), "Prepare it again.")
		}
		return
	}
	if st.portal = d.portal(m.describe.name); st.portal == nil {
		st.portal = d.session.declaredInSQL(m.describe.name)
	}
	if st.portal == nil {
		d.err = nameError("34000", fmt.Sprintf("portal %q does not exist", shorten(m.describe.name)), "Bind it again.")
	}
}

func (d *draft) execute(m *message, st *step) {
	if st.portal = d.portal(m.execute.portal); st.portal == nil {
		if d.session.state.Cursor(m.execute.portal) != nil {
			d.fetch(m, st)
			return
		}
		d.err = nameError("34000", fmt.Sprintf("portal %q does not exist", shorten(m.execute.portal)), "Bind it again.")
		return
	}
	if e := st.portal.entry; e != nil {
		if err := e.Ready(); err != nil {
			var r *gate.Refusal
			if !errors.As(err, &r) {
				r = nameError("34000", fmt.Sprintf("portal %q has ended", shorten(m.execute.portal)), "Bind it again.")
			}
			d.err = r
			return
		}
		d.reused = append(d.reused, e)
	}
}

func nameError(state, reason, remedy string) *gate.Refusal {
	return &gate.Refusal{Code: gate.NotUnderstood, SQLState: state, Reason: reason, Remedy: remedy}
}

// apply makes the batch part of the session and gives the bytes and the answers that they will have. The
// entries are those of the draft's requests.
func (d *draft) apply(entries []*gate.Entry) (frames []byte, items []item) {
	s := d.session
	for name, p := range d.statements {
		if p == nil {
			delete(s.statements, name)
		} else {
			s.statements[name] = p
		}
	}
	done := s.answered.Load()
	for name, p := range s.portals {
		if p.sequence <= done || !p.entry.Open() {
			delete(s.portals, name)
		}
	}
	for i := range d.steps {
		if st := &d.steps[i]; st.request >= 0 {
			plan := d.requests[st.request].(*request).plan
			st.statement.plan = plan
			if st.portal != nil {
				st.portal.entry, st.portal.plan, st.portal.asked = entries[st.request], plan, nil
			}
		}
	}
	frames, items = s.frames, make([]item, 0, len(d.steps)+2) // with a Sync and an end
	for i := range d.steps {
		var entry *gate.Entry
		if st := &d.steps[i]; st.request >= 0 {
			entry = entries[st.request]
		}
		frames, items = d.steps[i].encode(frames, items, entry)
	}
	for name, p := range d.portals {
		if p == nil {
			delete(s.portals, name)
		} else {
			s.portals[name] = p
		}
	}
	s.frames = emptied(frames)
	return frames, items
}

// countTexts counts what the long texts of the prepared statements take, with what was printed of them.
func (s *session) countTexts() {
	if s.texts.held == 0 {
		return
	}
	var n int64
	for _, p := range s.statements {
		if len(p.text) > keepText {
			n += 2 * int64(len(p.text))
		}
	}
	s.texts.hold(n + 2*int64(s.state.LongTexts()) + s.judging)
}

// bound are the plans that the batch prepares or runs: a description must be that of what the plan names, too.
func (d *draft) bound() []*guard.Plan {
	var plans []*guard.Plan
	for i := range d.steps {
		if st := &d.steps[i]; st.request >= 0 {
			plans = append(plans, st.statement.plan)
		}
	}
	return plans
}

// running are the plans that the batch prepares or runs, also of portals that were bound before.
func (d *draft) running() []*guard.Plan {
	plans := d.bound()
	for i := range d.steps {
		if st := &d.steps[i]; st.message.typ == 'E' && st.portal != nil {
			plans = append(plans, st.portal.plan)
		}
	}
	return plans
}

// undo takes back what apply changed; what the database may have prepared is closed there.
func (d *draft) undo() {
	s := d.session
	for name, p := range d.statements {
		if p != nil {
			delete(s.statements, name)
			s.ground.closeLater('S', name)
		}
	}
	for name, p := range d.closed {
		s.statements[name] = p
	}
	for name, p := range d.portals {
		if p != nil {
			delete(s.portals, name)
			s.ground.closeLater('P', name)
		}
	}
}

// encode gives a step's bytes and its answer. A Parse carries the text that was printed, never the
// client's.
func (st *step) encode(frames []byte, items []item, entry *gate.Entry) ([]byte, []item) {
	m := st.message
	switch m.typ {
	case 'P':
		p := st.statement
		body := make([]byte, 0, len(p.name)+len(p.plan.Text)+4+4*len(p.types))
		body = append(append(body, p.name...), 0)
		body = append(append(body, p.plan.Text...), 0)
		body = append(body, byte(len(p.types)>>8), byte(len(p.types)))
		for _, t := range p.types {
			body = append(body, byte(t>>24), byte(t>>16), byte(t>>8), byte(t))
		}
		return appendMessage(frames, 'P', body), append(items, item{kind: answerParse, entry: entry, statement: p})
	case 'B':
		return appendMessage(frames, 'B', m.bind.to(st.statement.name)), append(items, item{kind: answerBind, portal: st.portal})
	case 'D':
		kind := answerDescribePortal
		if m.describe.kind == 'S' {
			kind = answerDescribeStatement
		}
		return appendMessage(frames, 'D', []byte{m.describe.kind}, []byte(st.serverName()), []byte{0}),
			append(items, item{kind: kind, statement: st.statement, portal: st.portal})
	case 'C':
		return appendMessage(frames, 'C', []byte{m.describe.kind}, []byte(st.serverName()), []byte{0}), append(items, item{kind: answerClose})
	case 'E':
		n := m.execute.rows
		return appendMessage(frames, 'E', []byte(st.portalName()), []byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}),
			append(items, item{kind: answerExecute, portal: st.portal})
	}
	return frames, items
}
