package policy

// Observing is what the set would say, without saying it: what would be refused or held is permitted, and the decision
// says what it would have been. Masks, row filters and limits stay; a labelled column that nothing permits to be read has
// its label's mask. Three things are never let through: a principal that is nobody, reveal, and connect.
func (s *Slice) Observing() *Slice {
	if s == nil || s.set == nil {
		return s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.observing == nil {
		s.observing = &Slice{set: s.set, key: "observe:" + s.key, parties: s.parties, seed: s.seed, memo: map[touchKey]*verdict{}, observes: true}
	}
	return s.observing
}

// Observes says whether the slice is one of Observing.
func (s *Slice) Observes() bool { return s != nil && s.observes }

// kept are the actions that observing never lets through.
func kept(action string) bool { return action == "reveal" || action == "connect" }

// observed is the verdict that is followed where policies are only observed.
func (s *Slice) observed(t *Touch, v *verdict) *verdict {
	out := *v
	out.would = v.effect
	nobody := len(s.parties) == 0
	for _, p := range s.parties {
		nobody = nobody || !p.valid
	}
	if nobody || kept(t.Action) || v.effect == Permit {
		return &out
	}
	out.effect = Permit
	if v.effect == Refuse {
		out.shown, out.own, out.rows, out.limit = raw, false, nil, Limit{}
		if readsColumn(t) && len(t.Resource.Labels) > 0 {
			out.shown = under(defaultMask(t.Resource.Labels), 0)
		}
	}
	return &out
}
