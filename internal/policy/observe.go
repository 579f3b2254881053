package policy

import "slices"

// Observing is what the set would say, without saying it: what would be refused or held is permitted, and the decision
// says what it would have been. The masks, row filters and limits of every policy that matches stay, also those of one that
// cannot be evaluated; a labelled column that nothing permits to be read has its label's mask. Three things are never let through: a principal that is nobody, reveal, and connect.
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
		for _, p := range s.parties {
			one := s.set.unlifted(p, t, s.set.watched)
			out.shown, out.rows, out.limit = out.shown.and(one.shown), out.rows.And(one.rows), out.limit.And(one.limit)
		}
	}
	return &out
}

// watched is how much a party gets of what is not refused to it: what the best of its permits gives, where there is one,
// and no more than every forbid that matches asks, or that may match and cannot be evaluated.
func (s *Set) watched(p party, t *Touch) *verdict {
	if v := s.decide(p, t); v.effect != Refuse {
		return v
	}
	m := s.matching(p, t)
	v := &verdict{effect: Permit, shown: raw}
	if ways := waysOf(t, m.permits, false); len(ways) > 0 {
		v = p.best(ways, t)
	} else if readsColumn(t) && len(t.Resource.Labels) > 0 {
		v.shown = under(defaultMask(t.Resource.Labels), 0)
	}
	p.meet(v, m.forbids, t)
	p.meet(v, slices.DeleteFunc(m.erring, func(r *rule) bool { return !r.forbid }), t)
	return v
}
