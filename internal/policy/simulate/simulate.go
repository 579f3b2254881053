// Package simulate says what other policies would have decided about requests that were made.
//
// It is pure: touches and what was decided about them in, a report out. It never guesses: what cannot be decided
// again by what was recorded is counted, with the reason.
package simulate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/policy"
)

// Case is what one principal asked in one way: requests with the same touches that were decided alike.
type Case[E any] struct {
	Principal  policy.Principal
	Connection string
	// Connect is set for sessions that were opened; Prepare where nothing ran yet, so that nothing is held.
	Connect, Prepare bool
	// Touches are what was asked, with what was decided. Unknown says why they are not known; then the case is
	// counted only.
	Touches []policy.Judged
	Unknown error
	// Partial is set where the request was refused before all of its touches were known.
	Partial  bool
	Was      policy.Decision
	Requests int
	Examples []E
}

// Kind is one way in which a decision changes.
type Kind string

// The kinds of changes, the gravest for who asks first. A request can change in several ways.
const (
	NewlyRefused     Kind = "newly refused"
	NewlyHeld        Kind = "newly held"
	ApprovalChanged  Kind = "other approval"
	NewlyMasked      Kind = "newly masked"
	MaskChanged      Kind = "other mask"
	RowFilterChanged Kind = "row filter"
	LimitChanged     Kind = "limit"
	NewlyPermitted   Kind = "newly permitted"
	// PerhapsPermitted is said of a request that was refused before all of its touches were known: what was
	// missing then is permitted now.
	PerhapsPermitted Kind = "perhaps permitted"
	NoLongerHeld     Kind = "no longer held"
	Unmasked         Kind = "unmasked"
)

// Kinds are all kinds, in the order of a report.
var Kinds = []Kind{NewlyRefused, NewlyHeld, ApprovalChanged, NewlyMasked, MaskChanged, RowFilterChanged, LimitChanged, NewlyPermitted, PerhapsPermitted, NoLongerHeld, Unmasked}

// Report is what would change.
type Report[E any] struct {
	// Requests are all that were looked at; each is unchanged, changed, or not decided again.
	Requests  int `json:"requests"`
	Unchanged int `json:"unchanged"`
	Changed   int `json:"changed"`
	// Undecided counts what cannot be decided again, by reason.
	Undecided []Undecided `json:"undecided"`
	// Totals are the requests of each kind of change.
	Totals  map[Kind]int `json:"totals"`
	Changes []*Change[E] `json:"changes"`
	index   map[string]*Change[E]
}

// Undecided is a number of requests that cannot be decided again.
type Undecided struct {
	Reason   string `json:"reason"`
	Requests int    `json:"requests"`
}

// Change is one kind of change, for one principal on one connection, because of the same policies.
type Change[E any] struct {
	Kind       Kind             `json:"kind"`
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	// From and To are the effects.
	From policy.Effect `json:"from"`
	To   policy.Effect `json:"to"`
	// Policies are those of the draft that decide so; none: no policy permits it. WasPolicies made the decision
	// that was recorded.
	Policies    []string `json:"policies"`
	WasPolicies []string `json:"was_policies"`
	Requests    int      `json:"requests"`
	// Touches are what the change is about, the most frequent first.
	Touches  []Touched `json:"touches"`
	Examples []E       `json:"examples"`
	index    map[Touched]int
}

// Touched is a touch that is decided otherwise.
type Touched struct {
	Touch    string `json:"touch"`
	Requests int    `json:"requests"`
	// Was and Is are the mask, filter, limit or approvals that change.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// MaxExamples bounds the examples of a change.
const MaxExamples = 3

// New is an empty report.
func New[E any]() *Report[E] {
	return &Report[E]{Undecided: []Undecided{}, Totals: map[Kind]int{}, Changes: []*Change[E]{}, index: map[string]*Change[E]{}}
}

// Add decides a case by a draft, and counts what that changes.
func (r *Report[E]) Add(c *Case[E], draft *policy.Slice) { r.Count(c, c.Compare(draft)) }

// Count counts what Compare said of a case.
func (r *Report[E]) Count(c *Case[E], found Changes) {
	r.Requests += c.Requests
	switch {
	case c.Unknown != nil:
		r.undecided(c.Unknown.Error(), c.Requests)
	case len(c.Touches) == 0:
		r.undecided("what they touched was not recorded", c.Requests)
	case len(found) == 0:
		r.Unchanged += c.Requests
	default:
		r.Changed += c.Requests
		for _, f := range found {
			r.Totals[f.kind] += c.Requests
			r.note(c, f)
		}
	}
}

func (r *Report[E]) undecided(reason string, n int) {
	for i := range r.Undecided {
		if r.Undecided[i].Reason == reason {
			r.Undecided[i].Requests += n
			return
		}
	}
	r.Undecided = append(r.Undecided, Undecided{reason, n})
}

// Changes are the ways in which a draft decides a case otherwise; none: it decides as it was decided.
type Changes []found

type found struct {
	kind     Kind
	to       policy.Effect
	policies []string
	touches  []Touched
}

// Compare decides a case again, and says in which ways the decision differs. It may be called for several cases at
// the same time.
func (c *Case[E]) Compare(draft *policy.Slice) Changes {
	if c.Unknown != nil || len(c.Touches) == 0 {
		return nil
	}
	touches := make([]policy.Touch, len(c.Touches))
	now := make([]policy.Verdict, len(c.Touches))
	for i := range c.Touches {
		touches[i] = c.Touches[i].Touch
		now[i] = draft.Verdict(touches[i])
		if t := touches[i]; now[i].Mask == policy.MaskNone.String() && len(t.Resource.Labels) > 0 {
			reveal := draft.Verdict(policy.Touch{Action: "reveal", Resource: t.Resource})
			now[i].Policies = union(now[i].Policies, reveal.Policies)
		}
	}
	d := draft.Decide(touches)
	if c.Prepare && d.Effect == policy.Hold {
		d.Effect = policy.Permit
	}
	was := c.Was.Effect
	if c.Prepare && was == policy.Hold {
		was = policy.Permit
	}
	x := comparison[E]{c: c, now: now, was: was, to: d.Effect}
	switch {
	case d.Effect == policy.Refuse && was != policy.Refuse:
		x.refused(d)
	case d.Effect == policy.Refuse:
	case was == policy.Refuse && c.Partial:
		x.permitted(PerhapsPermitted)
	case was == policy.Refuse && d.Effect == policy.Hold:
		x.held()
	case was == policy.Refuse:
		x.permitted(NewlyPermitted)
	default:
		x.shown(d)
	}
	return x.out
}

// comparison gathers the changes of one case.
type comparison[E any] struct {
	c       *Case[E]
	now     []policy.Verdict
	was, to policy.Effect
	out     []found
}

// touched adds a change where some of the touches differ: those about which differs says how.
func (x *comparison[E]) touched(kind Kind, differs func(was, is policy.Verdict) (string, string, bool)) {
	f := found{kind: kind, to: x.to, policies: []string{}}
	for i := range x.now {
		if was, is, yes := differs(x.c.Touches[i].Verdict, x.now[i]); yes {
			f.touches = append(f.touches, Touched{Touch: x.c.Touches[i].Touch.String(), Was: was, Is: is})
			f.policies = union(f.policies, x.now[i].Policies)
		}
	}
	if len(f.touches) > 0 {
		slices.Sort(f.policies)
		x.out = append(x.out, f)
	}
}

func (x *comparison[E]) refused(d policy.Decision) {
	x.touched(NewlyRefused, func(_, is policy.Verdict) (string, string, bool) {
		return "", strings.Join(is.Errors, "; "), is.Effect == policy.Refuse
	})
}

func (x *comparison[E]) permitted(kind Kind) {
	x.touched(kind, func(was, is policy.Verdict) (string, string, bool) {
		shown := is.Mask
		if shown == policy.MaskNone.String() {
			shown = ""
		}
		return "", shown, was.Effect == policy.Refuse
	})
}

func (x *comparison[E]) held() {
	x.touched(NewlyHeld, func(_, is policy.Verdict) (string, string, bool) {
		return "", approvals(is.Approvals), is.Effect == policy.Hold
	})
}

// shown compares a request that was let through and still is.
func (x *comparison[E]) shown(d policy.Decision) {
	byApproval := func(was, is policy.Verdict) (string, string, bool) {
		a, b := approvals(was.Approvals), approvals(is.Approvals)
		return a, b, a != b
	}
	switch {
	case x.c.Prepare:
	case x.was == policy.Permit && x.to == policy.Hold:
		x.touched(NewlyHeld, byApproval)
	case x.was == policy.Hold && x.to == policy.Permit:
		x.touched(NoLongerHeld, byApproval)
	case x.was == policy.Hold && approvals(x.c.Was.Approvals) != approvals(d.Approvals):
		x.touched(ApprovalChanged, byApproval)
	}
	byMask := func(wanted func(was, is string) bool) func(was, is policy.Verdict) (string, string, bool) {
		return func(was, is policy.Verdict) (string, string, bool) {
			return was.Mask, is.Mask, was.Mask != is.Mask && wanted(was.Mask, is.Mask)
		}
	}
	raw := policy.MaskNone.String()
	x.touched(NewlyMasked, byMask(func(was, is string) bool { return was == raw }))
	x.touched(MaskChanged, byMask(func(was, is string) bool { return was != raw && is != raw }))
	x.touched(Unmasked, byMask(func(was, is string) bool { return is == raw }))
	x.touched(RowFilterChanged, func(was, is policy.Verdict) (string, string, bool) {
		a, b := rows(was.Rows), rows(is.Rows)
		return cmp.Or(a, "none"), cmp.Or(b, "none"), a != b
	})
	if x.c.Was.Limit != d.Limit {
		x.touched(LimitChanged, func(was, is policy.Verdict) (string, string, bool) {
			return cmp.Or(was.Limit.String(), "none"), cmp.Or(is.Limit.String(), "none"), was.Limit != is.Limit
		})
	}
}

// approvals are what is asked of people, without the policies that ask: "dba", "dba,2 and security".
func approvals(list []policy.Approval) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	slices.Sort(words)
	return strings.Join(words, " and ")
}

// rows is a row filter as one text, the same for filters that differ in order only.
func rows(r policy.Rows) string {
	clauses := make([]string, len(r))
	for i, clause := range r {
		texts := make([]string, len(clause))
		for k, row := range clause {
			texts[k] = row.Text
		}
		slices.Sort(texts)
		clauses[i] = strings.Join(slices.Compact(texts), " OR ")
		if len(texts) > 1 && len(r) > 1 {
			clauses[i] = "(" + clauses[i] + ")"
		}
	}
	slices.Sort(clauses)
	return strings.Join(slices.Compact(clauses), " AND ")
}

// note counts a change of a case in the report.
func (r *Report[E]) note(c *Case[E], f found) {
	key := fmt.Sprintf("%q %v %v %q %q %q %q", f.kind, c.Was.Effect, f.to, who(c.Principal), c.Connection, f.policies, c.Was.Policies)
	one := r.index[key]
	if one == nil {
		one = &Change[E]{Kind: f.kind, Principal: c.Principal, Connection: c.Connection, From: c.Was.Effect, To: f.to,
			Policies: f.policies, WasPolicies: append([]string{}, c.Was.Policies...), Examples: []E{}, index: map[Touched]int{}}
		r.index[key] = one
		r.Changes = append(r.Changes, one)
	}
	one.Requests += c.Requests
	for _, t := range f.touches {
		one.touch(t, c.Requests)
	}
	room := MaxExamples - len(one.Examples)
	one.Examples = append(one.Examples, c.Examples[:min(max(room, 0), len(c.Examples))]...)
}

// who is equal for the same principal, acting for the same one, whatever groups they are in.
func who(p policy.Principal) (ids []string) {
	for at := &p; at != nil; at = at.OnBehalfOf {
		ids = append(ids, string(at.Kind), at.ID)
	}
	return ids
}

func (c *Change[E]) touch(t Touched, n int) {
	if i, seen := c.index[t]; seen {
		c.Touches[i].Requests += n
		return
	}
	c.index[t] = len(c.Touches)
	t.Requests = n
	c.Touches = append(c.Touches, t)
}

// Done puts the report in order: by kind, then by the number of requests.
func (r *Report[E]) Done() *Report[E] {
	slices.SortStableFunc(r.Changes, func(a, b *Change[E]) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)), cmp.Compare(b.Requests, a.Requests),
			cmp.Compare(a.Principal.ID, b.Principal.ID), cmp.Compare(a.Connection, b.Connection), slices.Compare(a.Policies, b.Policies))
	})
	for _, c := range r.Changes {
		slices.SortStableFunc(c.Touches, func(a, b Touched) int {
			return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Touch, b.Touch))
		})
	}
	slices.SortStableFunc(r.Undecided, func(a, b Undecided) int { return cmp.Compare(b.Requests, a.Requests) })
	return r
}

// union appends what is not there yet.
func union(a, b []string) []string {
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

// Errors for cases that cannot be decided again.
var (
	ErrNotUnderstood = errors.New("they were not understood then, so what they touch is not known")
	ErrUnreadable    = errors.New("their decision cannot be read")
)
