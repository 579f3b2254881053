package postgres

import "maps"

// unsure are the names that can mean another temporary table than the gateway knows of: those that statements made,
// changed or dropped since it last asked the upstream session.
type unsure struct {
	names map[string]bool
	all   bool
	shaky bool // the transaction under way changed some: how it ends decides whether they are there
}

func (u unsure) after(st *Statement) unsure {
	if st.Temporary != nil {
		u.names, u.shaky = maps.Clone(u.names), true
		if u.names == nil {
			u.names = map[string]bool{}
		}
		for _, name := range st.Temporary {
			u.names[name] = true
			u.all = u.all || name == ""
		}
	}
	if st.Verb == RollbackTo {
		u = u.ended()
	}
	return u
}

// ended is what is not known any more when a transaction, or a part of it, is over.
func (u unsure) ended() unsure {
	u.all = u.all || u.shaky
	return u
}

// Unsure says whether a name can mean another temporary table than the catalog has.
func (s *State) Unsure(name string) bool { return s != nil && (s.temp.all || s.temp.names[name]) }

// doubts is the state with nothing else than that.
func (s *State) doubts() *State {
	if !s.Asks() {
		return nil
	}
	return &State{temp: s.temp}
}

// Asks says whether the upstream session has to be asked for its temporary tables.
func (s *State) Asks() bool { return s != nil && (s.temp.all || len(s.temp.names) > 0) }

// Doubted is the state after a plan did not fit what the database has: any name can mean another table.
func (s *State) Doubted() *State {
	n := s.clone()
	n.temp.all, n.temp.shaky = true, true
	return n
}

// Asked is the state after that; idle is set where no transaction is open.
func (s *State) Asked(idle bool) *State {
	if s == nil {
		return nil
	}
	n := s.clone()
	n.temp = unsure{shaky: n.temp.shaky && !idle}
	return n
}
