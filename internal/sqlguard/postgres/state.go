package postgres

import (
	"maps"
	"slices"

	"gatehouse/internal/policy"
)

// State is what a session's statements left behind that later ones refer to by name: statements prepared in
// SQL, cursors, and the settings that the gateway keeps itself. It is immutable; nil is that of a fresh session.
type State struct {
	prepared map[string]*Named // they outlive a rollback
	now      kept
	// start is what a rollback goes back to; points are the savepoints.
	start  kept
	points []point
	temp   unsure
	failed bool // the transaction under way can only be rolled back
}

// Behind are the statements and portals of the protocol, which share the names.
type Behind interface {
	// Prepared and Cursor give what has the name, nil where nothing has.
	Prepared(name string) *Named
	Cursor(name string) *Named
}

// kept is the part of a state that a rollback takes back.
type kept struct {
	cursors map[string]*Named
	path    *Path // SET; nil: the connection's own
	local   *Path // SET LOCAL; nil: none
}

// Path is a search path that the client chose.
type Path struct {
	// Schemas are those that exist for the connection, in order.
	Schemas []string
	// Spelled is how SHOW spells it.
	Spelled string
	// TempAt is the place in Schemas before which temporary tables are looked for; TempFirst is set where their
	// schema was named first of all.
	TempAt    int
	TempFirst bool
}

type point struct {
	name string
	kept kept
}

// Named is a prepared statement or a cursor. What it is called at the server says what it is: its name there
// is made of what was printed, so that a name can never stand for another statement than was judged.
type Named struct {
	// Declared are the types that its parameters were declared to be of.
	Declared []uint32
	// Server is its name at the server.
	Server string
	// Text is the statement inside, as the client wrote it: it is understood again when it is used.
	Text string
	// Plan is how it was understood.
	Plan *Plan
	// Hold is set for a cursor that outlives its transaction.
	Hold bool
	// Calls are what using it does besides: values of its parameters' types are made.
	Calls []policy.Touch
}

// Prepared is the statement that was prepared in SQL under the name; nil where there is none.
func (s *State) Prepared(name string) *Named {
	if s == nil {
		return nil
	}
	return s.prepared[name]
}

// Cursor is the cursor that was declared under the name; nil where there is none.
func (s *State) Cursor(name string) *Named {
	if s == nil {
		return nil
	}
	return s.now.cursors[name]
}

// Path is the search path that the client chose; nil: the connection's own.
func (s *State) Path() *Path {
	switch {
	case s == nil:
		return nil
	case s.now.local != nil:
		return s.now.local
	}
	return s.now.path
}

// Count is how many names there are.
func (s *State) Count() int {
	if s == nil {
		return 0
	}
	return len(s.prepared) + len(s.now.cursors)
}

// size is how long the texts of all names are together.
func (s *State) size() (n int) {
	if s == nil {
		return 0
	}
	for _, names := range []map[string]*Named{s.prepared, s.now.cursors} {
		for _, one := range names {
			n += len(one.Text)
		}
	}
	return n
}

// LongTexts is how long those texts of names are together, in bytes, that are longer than is always kept.
func (s *State) LongTexts() (n int) {
	if s == nil {
		return 0
	}
	for _, names := range []map[string]*Named{s.prepared, s.now.cursors} {
		for _, one := range names {
			if len(one.Text) > keepText {
				n += len(one.Text)
			}
		}
	}
	return n
}

func (s *State) clone() *State {
	if s == nil {
		return &State{}
	}
	n := *s
	return &n
}

// Keeps says whether a statement changes a State.
func (st *Statement) Keeps() bool {
	if st.Temporary != nil {
		return true
	}
	switch st.Verb {
	case Prepare, Deallocate, Declare, CloseCursor, Discard, Savepoint, Release, RollbackTo, Commit, Rollback:
		return true
	case Set:
		return st.Setting != nil
	}
	return false
}

// After is the state after a statement that succeeded.
func (s *State) After(st Statement) *State {
	if !st.Keeps() {
		return s
	}
	n := s.clone()
	n.temp = n.temp.after(&st)
	switch st.Verb {
	case Prepare:
		n.prepared = with(n.prepared, st.Name, st.Named)
	case Deallocate:
		n.prepared = without(n.prepared, st.Name, st.All)
	case Declare:
		n.now.cursors = with(n.now.cursors, st.Name, st.Named)
	case CloseCursor:
		n.forget(st.Name, st.All)
	case Set:
		n.set(st)
	case Discard:
		if st.All {
			return &State{temp: n.temp}
		}
	case Savepoint:
		n.points = append(slices.Clip(n.points), point{st.Name, n.now})
	case Release:
		if i := n.point(st.Name); i >= 0 {
			n.points = n.points[:i]
		}
	case RollbackTo:
		if i := n.point(st.Name); i >= 0 {
			n.now = n.points[i].kept
			n.points = n.points[:i+1]
		}
		n.failed = false
	case Commit:
		return n.end(!n.failed)
	case Rollback:
		return n.end(false)
	}
	return n
}

func (s *State) point(name string) int {
	for i := len(s.points) - 1; i >= 0; i-- {
		if s.points[i].name == name {
			return i
		}
	}
	return -1
}

// set takes up a setting that the gateway keeps itself.
func (s *State) set(st Statement) {
	switch {
	case st.Setting.Local:
		s.now.local = st.Setting.Path
		if s.now.local == nil { // the connection's own, until the transaction ends
			s.now.local = st.Setting.Default
		}
	default:
		s.now.path, s.now.local = st.Setting.Path, nil
	}
}

// forget takes cursors away for good: closing one is not taken back by a rollback.
func (s *State) forget(name string, all bool) {
	s.now.cursors = without(s.now.cursors, name, all)
	s.start.cursors = without(s.start.cursors, name, all)
	points := slices.Clone(s.points)
	for i := range points {
		points[i].kept.cursors = without(points[i].kept.cursors, name, all)
	}
	s.points = points
}

// end is the state after a transaction.
func (s *State) end(committed bool) *State {
	if committed {
		s.start = kept{path: s.now.path}
		for name, c := range s.now.cursors {
			if c.Hold {
				s.start.cursors = with(s.start.cursors, name, c)
			}
		}
	}
	s.now, s.points, s.failed = s.start, nil, false
	s.temp = s.temp.ended()
	return s
}

// Failed is the state after a statement failed: what the transaction did can only be taken back.
func (s *State) Failed() *State {
	n := s.clone()
	n.failed = true
	n.temp = n.temp.ended()
	return n
}

// Idle is the state when no transaction is open any more, however it ended.
func (s *State) Idle() *State {
	if s == nil {
		return nil
	}
	n := s.clone()
	return n.end(!n.failed)
}

func with(m map[string]*Named, name string, n *Named) map[string]*Named {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]*Named{}
	}
	out[name] = n
	return out
}

func without(m map[string]*Named, name string, all bool) map[string]*Named {
	if all || m == nil {
		return nil
	}
	out := maps.Clone(m)
	delete(out, name)
	return out
}
