// Package suggest writes the least policies that permit what was used, and says what of others was not needed.
//
// It is pure: touches with what was decided about them in, Cedar out. Names come from requests, so whoever makes
// requests chooses them: they reach the text only as quoted strings (quote) and cleaned comments (comment).
package suggest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/policy"
)

// Evidence is how often something was used.
type Evidence struct {
	Requests int `json:"requests"`
	// First and Last are times as they are shown; texts that sort as the times do.
	First string `json:"first"`
	Last  string `json:"last"`
	// Examples are ids of requests.
	Examples []string `json:"examples,omitempty"`
}

// maxExamples bounds the examples of one policy.
const maxExamples = 3

func (e *Evidence) add(o Evidence) {
	if e.Requests == 0 || o.First < e.First {
		e.First = o.First
	}
	e.Last = max(e.Last, o.Last)
	e.Requests += o.Requests
	for _, x := range o.Examples {
		if len(e.Examples) < maxExamples && !slices.Contains(e.Examples, x) {
			e.Examples = append(e.Examples, x)
		}
	}
}

// party is one who must be permitted: an agent, or the user whom it acts for.
type party struct {
	kind policy.Kind
	id   string
}

func (p party) entity() string {
	if p.kind == policy.User {
		return "User::" + quote(p.id)
	}
	return "Agent::" + quote(p.id)
}

// subject is a principal with all whom it acts for, nearest first.
type subject []party

func subjectOf(p policy.Principal) (out subject) {
	for at := &p; at != nil; at = at.OnBehalfOf {
		out = append(out, party{at.Kind, at.ID})
	}
	return out
}

func (s subject) key() string {
	var b strings.Builder
	for _, p := range s {
		b.WriteString(p.entity())
		b.WriteByte(' ')
	}
	return b.String()
}

// thing is an action on a resource.
type thing struct {
	action string
	policy.Entity
}

// use is what one subject used of a thing.
type use struct {
	subject subject
	touch   policy.Touch
	verdict policy.Verdict // of the last time
	last    string
	cases   []int
	held    int // of the cases
}

// Usage is what was used. Its zero value is empty.
type Usage struct {
	uses  map[string]map[thing]*use // by subject
	cases []Evidence
	// Columns are the columns of a table by the ids of both, where they are known: columns become their table only
	// where every one was used.
	Columns map[string][]string
}

// evidence joins that of cases.
func (u *Usage) evidence(cases []int) (e Evidence) {
	slices.Sort(cases)
	for _, c := range slices.Compact(cases) {
		e.add(u.cases[c])
	}
	return e
}

// typeName is what entity types are called. They stand in policies as they are.
var typeName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Add notes requests that were let through: their touches, each with what was decided about it. A touch that no policy
// can speak of is an error, and nothing is noted.
func (u *Usage) Add(p policy.Principal, touches []policy.Judged, e Evidence) error {
	for _, j := range touches {
		for _, x := range append(slices.Clone(j.Resource.Parents), j.Resource.Entity) {
			if !typeName.MatchString(x.Type) {
				return fmt.Errorf("%q is not the name of an entity type", x.Type)
			}
		}
	}
	for at := &p; at != nil; at = at.OnBehalfOf {
		if at.Kind != policy.Agent && at.Kind != policy.User || at.ID == "" {
			return errors.New("a principal without a kind or an id is permitted nothing")
		}
	}
	if u.uses == nil {
		u.uses = map[string]map[thing]*use{}
	}
	s := subjectOf(p)
	mine := u.uses[s.key()]
	if mine == nil {
		mine = map[thing]*use{}
		u.uses[s.key()] = mine
	}
	u.cases = append(u.cases, e)
	for _, j := range touches {
		t := thing{j.Action, j.Resource.Entity}
		one := mine[t]
		if one == nil {
			one = &use{subject: s}
			mine[t] = one
		}
		if e.Last >= one.last {
			one.touch, one.verdict, one.last = j.Touch, j.Verdict, e.Last
		}
		one.cases = append(one.cases, len(u.cases)-1)
		if j.Effect == policy.Hold {
			one.held++
		}
	}
	return nil
}

// Used are the touches that were used, in order.
func (u *Usage) Used() []policy.Touch {
	byThing := map[thing]policy.Touch{}
	for _, mine := range u.uses {
		for t, one := range mine {
			byThing[t] = one.touch
		}
	}
	out := make([]policy.Touch, 0, len(byThing))
	for _, t := range slices.SortedFunc(maps.Keys(byThing), compareThings) {
		out = append(out, byThing[t])
	}
	return out
}

func compareThings(a, b thing) int {
	return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Type, b.Type), strings.Compare(a.action, b.action))
}

// Held is a touch that was only ever used with an approval.
type Held struct {
	Touch     string   `json:"touch"`
	Approvals []string `json:"approvals"`
	Evidence
}

// OnlyHeld are the touches that were used only with an approval.
func (u *Usage) OnlyHeld() []Held {
	out := []Held{}
	byThing := map[thing]*Held{}
	cases := map[thing][]int{}
	free := map[thing]bool{}
	for _, key := range slices.Sorted(maps.Keys(u.uses)) {
		for t, one := range u.uses[key] {
			if one.held < len(one.cases) || one.verdict.Effect != policy.Hold {
				free[t] = true
				continue
			}
			h := byThing[t]
			if h == nil {
				h = &Held{Touch: one.touch.String()}
				byThing[t] = h
			}
			cases[t] = append(cases[t], one.cases...)
			for _, a := range approvals(one.verdict) {
				h.Approvals = union(h.Approvals, a)
			}
		}
	}
	for _, t := range slices.SortedFunc(maps.Keys(byThing), compareThings) {
		if !free[t] {
			byThing[t].Evidence = u.evidence(cases[t])
			out = append(out, *byThing[t])
		}
	}
	return out
}

func approvals(v policy.Verdict) []string {
	out := make([]string, len(v.Approvals))
	for i, a := range v.Approvals {
		out[i] = a.String()
	}
	slices.Sort(out)
	return slices.Compact(out) // two policies can ask for the same
}

func union[T comparable](a []T, more ...T) []T {
	for _, v := range more {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

// Policy is one suggested policy.
type Policy struct {
	ID string `json:"id"`
	// Cedar is its text, with the evidence as a comment.
	Cedar string `json:"cedar"`
	// Why says in words what it is for.
	Why string `json:"why"`
	Evidence
}

// bundle are the terms on which a permit permits.
type bundle struct {
	approval, mask, limit string
}

// item is one thing with its terms, and the parties that it is permitted to.
type item struct {
	thing   thing
	touch   policy.Touch
	bundle  bundle
	parties []party
	cases   []int
}

// extra is what a permit cannot say: a forbid that must be met.
type extra struct {
	action     string
	things     []policy.Entity
	within     policy.Entity // the table; zero: none
	table      bool          // it is about everything in the table
	annotation string        // with its value: @rows("…")
	party      party
	cases      []int
}

// Suggest writes the least policies that permit what was used, on the same terms. name is a word for ids. Everything
// else stays refused.
func (u *Usage) Suggest(name string) []Policy {
	items, extras := u.terms()
	w := writer{name: slug(name), usage: u}
	for _, g := range w.gather(items) {
		w.permit(g)
	}
	w.narrow(extras)
	return w.out
}

// terms are the things that were used, each with the terms and parties.
func (u *Usage) terms() (items []*item, extras []*extra) {
	type key struct {
		thing
		bundle
	}
	byKey := map[key]*item{}
	add := func(t thing, touch policy.Touch, b bundle, one *use) {
		it := byKey[key{t, b}]
		if it == nil {
			it = &item{thing: t, touch: touch, bundle: b}
			byKey[key{t, b}] = it
			items = append(items, it)
		}
		it.parties = union(it.parties, one.subject...)
		it.cases = append(it.cases, one.cases...)
	}
	// Those who act for themselves come first: who acts for others has their terms too, and more.
	subjects := slices.SortedFunc(maps.Keys(u.uses), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "::\""), strings.Count(b, "::\"")), strings.Compare(a, b))
	})
	alone := map[party]map[thing]bundle{}
	byExtra := map[string]*extra{}
	for _, key := range subjects {
		mine := u.uses[key]
		for _, t := range slices.SortedFunc(maps.Keys(mine), compareThings) {
			one := mine[t]
			lead := one.subject[0]
			b, more := split(one, alone[lead][t])
			if len(one.subject) == 1 {
				if alone[lead] == nil {
					alone[lead] = map[thing]bundle{}
				}
				alone[lead][t] = b
			}
			add(t, one.touch, b, one)
			if reveals(one) {
				reveal := policy.Touch{Action: "reveal", Resource: one.touch.Resource}
				add(thing{"reveal", t.Entity}, reveal, bundle{}, one)
			}
			for _, x := range more {
				x.action, x.within = t.action, tableOf(one.touch.Resource)
				id := fmt.Sprintf("%s %s %s %q", x.annotation, x.party.entity(), t.action, x.within)
				if x.within == (policy.Entity{}) {
					id += entity(t.Entity)
				}
				if byExtra[id] == nil {
					byExtra[id] = x
					extras = append(extras, x)
				}
				byExtra[id].things = union(byExtra[id].things, t.Entity)
				byExtra[id].cases = append(byExtra[id].cases, one.cases...)
			}
		}
	}
	for _, x := range extras {
		x.table = x.within.Type != "" && u.allIn(x)
	}
	for _, it := range items {
		slices.SortFunc(it.parties, func(a, b party) int { return strings.Compare(a.entity(), b.entity()) })
	}
	return items, extras
}

// tableOf is the table that a resource is, or is in; zero: none.
func tableOf(r policy.Resource) policy.Entity {
	for _, e := range append([]policy.Entity{r.Entity}, r.Parents...) {
		if e.Type == "Table" {
			return e
		}
	}
	return policy.Entity{}
}

// allIn says whether an extra is about everything that its party used of its table in this way.
func (u *Usage) allIn(x *extra) bool {
	for _, mine := range u.uses {
		for t, one := range mine {
			if t.action == x.action && slices.Contains(one.subject, x.party) && tableOf(one.touch.Resource) == x.within && !slices.Contains(x.things, t.Entity) {
				return false
			}
		}
	}
	return true
}

// reveals says whether a labelled column was shown as it is, which needs a permit of its own.
func reveals(one *use) bool {
	return one.verdict.Mask == policy.MaskNone.String() && len(one.touch.Resource.Labels) > 0
}

// split takes what was decided apart: into what a permit says, and the rest. like is what the same principal has by
// itself; its choice is kept.
func split(one *use, like bundle) (bundle, []*extra) {
	last := one.subject[len(one.subject)-1]
	var more []*extra
	var b bundle
	asked := approvals(one.verdict)
	if i := slices.Index(asked, like.approval); i > 0 {
		asked[0], asked[i] = asked[i], asked[0]
	}
	for i, a := range asked {
		if i == 0 {
			b.approval = a
		} else {
			more = append(more, &extra{annotation: annotation("approval", a), party: last})
		}
	}
	masks, _ := policy.MasksOf(one.verdict.Mask) // "" and what cannot be read: none
	if one.verdict.Mask == policy.DefaultMask(one.touch.Resource.Labels).String() {
		masks = nil // the label's own
	}
	if i := slices.Index(masks, like.mask); i > 0 {
		masks[0], masks[i] = masks[i], masks[0]
	}
	for i, m := range masks {
		if m == "bucket:0" {
			m = policy.MaskNull.String() // of buckets that do not fit together nothing is shown
		}
		if i == 0 {
			b.mask = m
		} else {
			more = append(more, &extra{annotation: annotation("mask", m), party: last})
		}
	}
	b.limit = one.verdict.Limit.String()
	for _, clause := range one.verdict.Rows {
		if x := filter(one.subject, clause); x != nil {
			more = append(more, x)
		}
	}
	return b, more
}

// filter is a clause of a row filter as a forbid that must be met, by the party that it speaks of.
func filter(s subject, clause []policy.Row) *extra {
	var texts []string
	id := ""
	for _, row := range clause {
		id = row.ID
		texts = union(texts, row.Text)
	}
	slices.Sort(texts)
	text := "FALSE" // a clause without filters lets nothing through
	switch len(texts) {
	case 0:
	case 1:
		text = texts[0]
	default:
		text = "(" + strings.Join(texts, ") OR (") + ")"
	}
	who := s[0]
	for _, p := range s {
		if p.id == id {
			who = p
		}
	}
	return &extra{annotation: annotation("rows", text), party: who}
}
