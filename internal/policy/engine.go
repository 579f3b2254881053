package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// Bounds of what is remembered; beyond them it is thought out again.
const (
	maxSlices = 4096
	maxMemo   = 65536     // decisions on single touches, of a slice
	maxKept   = 256 << 20 // bytes, about, of what all slices remember together: where policies read the time there is one a second
)

// Set is a compiled set of policies. It is immutable; what it remembers is bounded.
type Set struct {
	version string
	rules   []*rule
	index   index
	whole   bool // for tests: every policy is evaluated for everybody
	// actions are the parents of every action of the schema.
	actions map[string]types.EntityUIDSet
	// applies are the types of resources that an action is done to, sorted.
	applies map[string][]string
	// readsTime and readsSource say whether any policy reads the moment.
	readsTime, readsSource bool

	known    Known
	lint     sync.Once
	warnings []Problem

	mu     sync.RWMutex
	slices map[string]*Slice
	kept   int64 // bytes, about, that they remember; at most so many
	most   int64
	// forgotten counts how often all was forgotten.
	forgotten int64
}

// remembers takes account of one more decision of a slice: where all of them are too many, all is forgotten, by each slice
// when it is asked for something new. It returns how often that happened.
func (s *Set) remembers(key touchKey) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept += int64(len(key.action)+len(key.typ)+len(key.id)) + 300; s.kept > s.most {
		s.slices, s.kept = nil, 0
		s.forgotten++
	}
	return s.forgotten
}

// rule is one policy with its obligations.
type rule struct {
	id       string
	policy   *cedar.Policy
	forbid   bool
	approval *Approval
	mask     shown
	masks    bool   // it has a @mask
	rows     string // its @rows; "": none
	limit    Limit
	review   *Review         // its @breakglass
	span     span            // where it stands
	exact    types.EntityUID // the one resource that its scope names; zero: it names none, or is wider
}

func (r *rule) obliges() bool {
	return r.approval != nil || r.masks || r.rows != "" || r.limit != Limit{}
}

// Version names the exact policies: equal texts have equal versions.
func (s *Set) Version() string { return s.version }

// Warnings are what is valid and hardly meant: see Lint.
func (s *Set) Warnings() []Problem {
	s.lint.Do(func() { s.warnings = s.Lint(s.known) })
	return s.warnings
}

// For is what the set says to a principal at no moment: policies that read the time or the source refuse. Equal
// principals share a slice.
func (s *Set) For(p Principal) *Slice { return s.slice(p, principalKey(p), types.Record{}) }

func (s *Set) slice(p Principal, key string, context types.Record) *Slice {
	s.mu.RLock()
	slice := s.slices[key]
	s.mu.RUnlock()
	if slice != nil {
		return slice
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slice = s.slices[key]; slice != nil {
		return slice
	}
	if s.slices == nil || len(s.slices) >= maxSlices {
		s.slices = map[string]*Slice{}
	}
	sum := sha256.Sum256([]byte(s.version + "\x00" + key))
	slice = &Slice{set: s, key: hex.EncodeToString(sum[:16]), seed: maphash.MakeSeed(), memo: map[touchKey]*verdict{}}
	for at := &p; at != nil; at = at.OnBehalfOf {
		one := newParty(*at)
		one.user = userOf(p)
		one.context = context
		if one.careful != nil {
			one.careful.user, one.careful.context = one.user, context
		}
		slice.parties = append(slice.parties, one)
	}
	s.slices[key] = slice
	return slice
}

// principalKey holds everything of a principal that a decision can depend on.
func principalKey(p Principal) string {
	var b strings.Builder
	for at := &p; at != nil; at = at.OnBehalfOf {
		groups := slices.Sorted(slices.Values(at.Groups))
		fmt.Fprintf(&b, "%q %q %q\n", at.Kind, at.ID, groups)
	}
	return b.String()
}

// Slice is what a Set says to one principal. Safe for concurrent use.
type Slice struct {
	set     *Set
	key     string
	parties []party
	seed    maphash.Seed

	observes bool // see Observing

	mu        sync.RWMutex
	memo      map[touchKey]*verdict
	forgotten int64 // see Set.remembers
	observing *Slice
}

// party is the principal, or the user that it acts for: each must be permitted.
type party struct {
	uid    types.EntityUID
	entity types.Entity
	valid  bool
	// context is the moment, as policies read it.
	context types.Record
	user    string // the id of the user who asks, or for whom an agent asks; "": none
	// careful is the same party without the group of those who break the glass; nil where it does not.
	careful *party
}

func newParty(p Principal) party {
	var typ types.EntityType
	switch p.Kind {
	case Agent:
		typ = "Agent"
	case User:
		typ = "User"
	default:
		return party{}
	}
	uid := types.NewEntityUID(typ, types.String(p.ID))
	groups := make([]types.EntityUID, len(p.Groups))
	for i, g := range p.Groups {
		groups[i] = types.NewEntityUID("Group", types.String(g))
	}
	out := party{uid: uid, entity: types.Entity{UID: uid, Parents: types.NewEntityUIDSet(groups...)}, valid: p.ID != ""}
	if p.InGroup(BreakGlassGroup) {
		careful := newParty(p.careful())
		out.careful = &careful
	}
	return out
}

// userOf is the user at the end of a chain of principals.
func userOf(p Principal) string {
	for at := &p; at != nil; at = at.OnBehalfOf {
		if at.Kind == User {
			return at.ID
		}
	}
	return ""
}

// touchKey is everything of a touch that a decision can depend on.
type touchKey struct {
	action, typ, id string
	rest            uint64 // a keyed hash of parents and labels
}

// verdict is the decision on one touch.
type verdict struct {
	effect    Effect
	shown     shown
	rows      Rows
	limit     Limit
	own       bool
	policies  []string
	forbidden []string
	approvals []Approval
	errors    []string
	would     Effect // where it is only observed, and this is not what is followed
}

// Key names what the slice decides by: slices with equal keys decide every touch alike.
func (s *Slice) Key() string { return s.key }

// Decide decides a request by all of its touches. Every touch must be permitted; no touches refuse.
func (s *Slice) Decide(touches []Touch) Decision {
	if s == nil || s.set == nil || len(touches) == 0 {
		return Decision{}
	}
	d := Decision{Effect: Permit}
	would := Permit
	for i := range touches {
		v := s.judge(&touches[i])
		d.Effect = min(d.Effect, v.effect)
		is := v.effect
		if s.observes {
			is = v.would
		}
		would = min(would, is)
		if is == Refuse {
			if len(v.forbidden) == 0 && len(v.errors) == 0 {
				d.Missing = append(d.Missing, touches[i])
			}
			if len(v.forbidden) > 0 {
				d.Barred = append(d.Barred, touches[i])
			}
			d.Forbidden = union(d.Forbidden, v.forbidden)
			d.Errors = union(d.Errors, v.errors)
		}
		d.Policies = union(d.Policies, v.policies)
		d.Approvals = union(d.Approvals, v.approvals)
		d.Limit = d.Limit.And(v.limit)
	}
	slices.Sort(d.Policies)
	slices.Sort(d.Forbidden)
	if would == Refuse {
		d.Approvals = nil
	}
	if d.Effect == Refuse {
		d.Limit = Limit{}
	} else if s.observes && would != Permit {
		d.Would = would.String()
	}
	return d
}

// union appends what is not there yet.
func union[T comparable](a, b []T) []T {
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

// Read says how a column, or a table as a whole, is shown to the principal.
func (s *Slice) Read(r Resource) Exposure { return s.May("read", r) }

// May says how much of a thing the principal may touch with an action, with or without an approval.
func (s *Slice) May(action string, r Resource) Exposure {
	if s == nil || s.set == nil {
		return Exposure{}
	}
	v := s.judge(&Touch{Action: action, Resource: r})
	if v.effect == Refuse {
		return Exposure{}
	}
	return Exposure{Visible: true, Mask: v.shown.mask, All: v.shown.all, Width: v.shown.width, Rows: v.rows, Own: v.own}
}

// Permits says whether a touch is permitted, with an approval or without.
func (s *Slice) Permits(t Touch) bool {
	return s != nil && s.set != nil && s.judge(&t).effect != Refuse
}

// judge decides one touch for every party, and remembers it.
func (s *Slice) judge(t *Touch) *verdict {
	key := touchKey{action: t.Action, typ: t.Resource.Type, id: t.Resource.ID, rest: s.rest(t)}
	s.mu.RLock()
	v := s.memo[key]
	s.mu.RUnlock()
	if v != nil {
		return v
	}
	v = s.think(t)
	if s.observes {
		v = s.observed(t, v)
	}
	forgotten := s.set.remembers(key)
	s.mu.Lock()
	if len(s.memo) >= maxMemo || s.forgotten != forgotten {
		s.memo, s.forgotten = map[touchKey]*verdict{}, forgotten
	}
	s.memo[key] = v
	s.mu.Unlock()
	return v
}

func (s *Slice) rest(t *Touch) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, p := range t.Resource.Parents {
		h.WriteString(p.Type)
		h.WriteByte(0)
		h.WriteString(p.ID)
		h.WriteByte(0)
	}
	h.WriteByte(1)
	for _, l := range t.Resource.Labels {
		h.WriteString(l)
		h.WriteByte(0)
	}
	return h.Sum64()
}

// think decides one touch: every party must be permitted; masks, filters, limits and approvals add up.
func (s *Slice) think(t *Touch) *verdict {
	out := &verdict{effect: Permit, shown: raw, own: true}
	for _, p := range s.parties {
		v := s.set.unlifted(p, t, s.set.decide)
		out.effect = min(out.effect, v.effect)
		out.shown = out.shown.and(v.shown)
		out.rows = out.rows.And(v.rows)
		out.limit = out.limit.And(v.limit)
		out.own = out.own && v.own
		out.policies = union(out.policies, v.policies)
		out.forbidden = union(out.forbidden, v.forbidden)
		out.approvals = union(out.approvals, v.approvals)
		out.errors = union(out.errors, v.errors)
	}
	if len(s.parties) == 0 {
		return &verdict{}
	}
	return out
}
