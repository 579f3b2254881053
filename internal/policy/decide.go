package policy

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// decide decides one touch for one party.
//
// Permits are generous: each one that matches is a way to be permitted, with its own bundle of obligations,
// and bundles are never mixed; ways without an approval come first, then those that show more. Forbids are
// strict: each one that matches must be met, and one without an obligation, or with one that cannot be met,
// refuses. Any error of evaluation refuses.
func (s *Set) decide(p party, t *Touch) *verdict {
	if !p.valid {
		return &verdict{}
	}
	m := s.matching(p, t)
	permits, forbids := m.permits, m.forbids
	if len(m.errs) > 0 {
		return &verdict{errors: m.errs}
	}
	var forbidden []string
	for _, r := range forbids {
		if !r.obliges() || r.rows != "" && !filterable(t) {
			forbidden = append(forbidden, r.id)
		}
	}
	reveal := readsColumn(t) && len(permits) > 0 && len(t.Resource.Labels) > 0 && s.reveals(p, t)
	ways := waysOf(t, permits, reveal)
	if len(forbidden) > 0 || len(ways) == 0 {
		return &verdict{forbidden: forbidden, policies: forbidden}
	}
	v := p.best(ways, t)
	p.meet(v, forbids, t)
	if len(v.approvals) > 0 {
		v.effect = Hold
	}
	return v
}

// best is what the best of some ways permits; there is at least one.
func (p party) best(ways []way, t *Touch) *verdict {
	best := slices.MinFunc(ways, way.compare)
	v := &verdict{effect: Permit, shown: raw, limit: best.limit, policies: []string{best.id}}
	if readsColumn(t) {
		v.shown = best.shown
	}
	if best.rows != "" {
		v.rows, v.policies = p.either(best, ways)
	}
	if best.approval != nil {
		v.approvals = []Approval{*best.approval}
	}
	for _, w := range ways {
		v.own = v.own || w.exact == uid(t.Resource.Entity) && w.gives(v, best)
	}
	return v
}

// gives says whether a way by itself gives all that the best one, or it and its equals, give: no bundle is mixed of the terms
// of one and what another one names.
func (w way) gives(v *verdict, best way) bool {
	filtered := w.rows != "" && !(w.rows == best.rows && len(v.rows) == 1 && len(v.rows[0]) == 1)
	return !filtered && (w.approval == nil || sameApproval(w.approval, best.approval)) && w.limit.compare(best.limit) >= 0 && w.shown.compare(best.shown) >= 0
}

// meet adds what forbids ask. A filter that what the touch does cannot have is left out: who calls sees to that.
func (p party) meet(v *verdict, forbids []*rule, t *Touch) {
	for _, r := range forbids {
		v.policies = append(v.policies, r.id)
		v.limit = v.limit.And(r.limit)
		if r.approval != nil {
			v.approvals = union(v.approvals, []Approval{*r.approval})
		}
		if r.masks && readsColumn(t) {
			v.shown = v.shown.and(r.mask)
		}
		if r.rows != "" && filterable(t) {
			v.rows = v.rows.And(Rows{{p.row(r)}})
		}
	}
}

func readsColumn(t *Touch) bool { return t.Action == "read" && Labelled(t.Resource.Type) }

// Labelled says whether things of a type carry labels: what is masked where it is read.
func Labelled(typ string) bool { return typ == "Column" || typ == "Field" }

// way is one permit for a touch, with what it shows of it.
type way struct {
	*rule
	shown shown
}

// waysOf are the permits that can be used for a touch, by id; reveal says that a labelled column may be shown as it is.
func waysOf(t *Touch, permits []*rule, reveal bool) []way {
	var out []way
	for _, r := range permits {
		if r.rows == "" || filterable(t) {
			out = append(out, way{r, wayShows(r, t, readsColumn(t), reveal)})
		}
	}
	return out
}

// compare puts the way that is to be taken first: without an approval, without a filter, with the larger
// limit, the more revealing mask, the smaller id.
func (w way) compare(x way) int {
	return cmp.Or(
		first(w.approval == nil, x.approval == nil),
		first(w.rows == "", x.rows == ""),
		x.limit.compare(w.limit),
		x.shown.compare(w.shown),
		strings.Compare(w.id, x.id),
	)
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// either is the filter of a way, or-ed with those of the ways whose bundles are otherwise equal.
func (p party) either(best way, ways []way) (Rows, []string) {
	var clause []Row
	var ids []string
	for _, w := range ways {
		if w.rows == "" || w.limit != best.limit || w.shown != best.shown || !sameApproval(w.approval, best.approval) {
			continue
		}
		ids = append(ids, w.id)
		if one := p.row(w.rule); !slices.Contains(clause, one) {
			clause = append(clause, one)
		}
	}
	return Rows{clause}, ids
}

func sameApproval(a, b *Approval) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Group == b.Group && a.Quorum == b.Quorum && a.Escalate == b.Escalate && a.After == b.After
}

func (p party) row(r *rule) Row { return Row{Text: r.rows, ID: string(p.uid.ID), User: p.user} }

// reveals says whether a labelled column may be shown as it is: without asking anyone.
func (s *Set) reveals(p party, t *Touch) bool {
	return s.decide(p, &Touch{Action: "reveal", Resource: t.Resource}).effect == Permit
}

// wayShows is how one way shows what it reads. Of a table as a whole it is the way's own mask, which tells
// bundles apart.
func wayShows(r *rule, t *Touch, column, reveal bool) shown {
	switch {
	case reveal:
		return raw
	case r.masks:
		return r.mask
	case column && len(t.Resource.Labels) > 0:
		return under(defaultMask(t.Resource.Labels), 0)
	}
	return raw
}

// defaultMask is the mask of a labelled column where the permit names none: the strictest of its labels'.
func defaultMask(labels []string) Mask {
	mask := MaskNone
	for _, l := range labels {
		own := MaskRedact
		switch {
		case l == "pii.email":
			own = MaskEmail
		case l == "pii.phone" || l == "pii.national_id":
			own = MaskPartial
		case l == "secret" || strings.HasPrefix(l, "secret."):
			own = MaskNull
		}
		if mask != own && min(mask, own) >= MaskPartial && max(mask, own) < MaskNone {
			own = MaskRedact // they show different parts of a value: together that is more than either
		}
		mask = min(mask, own)
	}
	return mask
}

// matched are the policies whose scope and conditions fit a touch, by id.
type matched struct {
	permits, forbids []*rule
	erring           []*rule  // whose evaluation failed
	errs             []string // why, in words
}

// matching evaluates the policies for a touch.
func (s *Set) matching(p party, t *Touch) (m matched) {
	req := cedar.Request{
		Principal: p.uid,
		Action:    types.NewEntityUID("Action", types.String(t.Action)),
		Resource:  uid(t.Resource.Entity),
		Context:   p.context,
	}
	known := &entities{party: p, touch: t, resource: req.Resource, actions: s}
	_, diag := cedar.Authorize(known, known, req)
	for _, e := range diag.Errors {
		m.errs = append(m.errs, fmt.Sprintf("policy %s: %s", e.PolicyID, e.Message))
		m.erring = append(m.erring, s.rule(string(e.PolicyID)))
	}
	for _, reason := range diag.Reasons {
		if r := s.rule(string(reason.PolicyID)); r.forbid {
			m.forbids = append(m.forbids, r)
		}
	}
	if len(m.forbids) > 0 { // the permits are needed too, and are not among the reasons of a denial
		for _, r := range m.forbids {
			known.without = append(known.without, r.id)
		}
		_, diag = cedar.Authorize(known, known, req)
	}
	for _, reason := range diag.Reasons {
		if r := s.rule(string(reason.PolicyID)); !r.forbid {
			m.permits = append(m.permits, r)
		}
	}
	byID := func(a, b *rule) int { return strings.Compare(a.id, b.id) }
	slices.SortFunc(m.permits, byID)
	slices.SortFunc(m.forbids, byID)
	slices.SortFunc(m.erring, byID)
	slices.Sort(m.errs)
	return m
}

func (s *Set) rule(id string) *rule {
	i, _ := slices.BinarySearchFunc(s.rules, id, func(r *rule, id string) int { return strings.Compare(r.id, id) })
	return s.rules[i]
}

func uid(e Entity) types.EntityUID {
	return types.NewEntityUID(types.EntityType(e.Type), types.String(e.ID))
}

// entities are the entities that a touch is about: the party in its groups, the resource in all that it
// is part of. It also yields the policies, as Authorize wants them.
type entities struct {
	party    party
	touch    *Touch
	resource types.EntityUID
	actions  *Set
	without  []string
}

// Get finds an entity. The parents of a resource are all of its ancestors.
func (e *entities) Get(id types.EntityUID) (types.Entity, bool) {
	switch {
	case id == e.party.uid:
		return e.party.entity, true
	case id == e.resource:
		parents := make([]types.EntityUID, len(e.touch.Resource.Parents))
		for i, p := range e.touch.Resource.Parents {
			parents[i] = uid(p)
		}
		out := types.Entity{UID: id, Parents: types.NewEntityUIDSet(parents...)}
		if Labelled(e.touch.Resource.Type) || len(e.touch.Resource.Labels) > 0 {
			labels := make([]types.Value, len(e.touch.Resource.Labels))
			for i, l := range e.touch.Resource.Labels {
				labels[i] = types.String(l)
			}
			out.Attributes = types.NewRecord(types.RecordMap{"labels": types.NewSet(labels...)})
		}
		return out, true
	case id.Type == "Action":
		if parents, ok := e.actions.actions[string(id.ID)]; ok {
			return types.Entity{UID: id, Parents: parents}, true
		}
	}
	return types.Entity{}, false
}

// All yields the policies that can match.
func (e *entities) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		e.actions.touching(e.party, e.touch.Action, func(r *rule) bool {
			return slices.Contains(e.without, r.id) || yield(cedar.PolicyID(r.id), r.policy)
		})
	}
}
