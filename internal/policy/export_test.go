package policy

// Whole is the set with nothing left out: every policy is evaluated for everybody, whatever its scope says.
func (s *Set) Whole() *Set {
	return &Set{version: s.version, rules: s.rules, index: s.index, whole: true, actions: s.actions, readsTime: s.readsTime, readsSource: s.readsSource, most: s.most}
}
