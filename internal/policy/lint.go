package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"golang.org/x/text/unicode/norm"
)

// Known is what is known besides the policies; what is nil is not looked at.
type Known struct {
	// Connections are those that there are, with their tags and the labels of their columns.
	Connections []KnownConnection
	// Groups says whether a token can put a principal into a group.
	Groups func(string) bool
}

// KnownConnection is one connection that there is.
type KnownConnection struct {
	Name         string
	Tags, Labels []string
}

// maxPairs bounds how many pairs of policies are compared: some thousand policies for everybody, many more where groups
// have their own.
const maxPairs = 20_000_000

// Lint finds what is valid and hardly meant: policies without an effect, obligations that another policy goes around,
// names that nothing has, names that look like others. Problems are in the order of their places.
func (s *Set) Lint(k Known) []Problem {
	l := &linter{set: s, known: k, c: &compiler{set: s}, granted: s.GrantedGroups()}
	for _, r := range s.rules {
		if r.span.generated() {
			continue
		}
		l.open(r)
		l.names(r)
		l.lookalikes(r)
	}
	l.pairs()
	l.labels()
	slices.SortStableFunc(l.out, Problem.compare)
	return l.out
}

type linter struct {
	set   *Set
	known Known
	c     *compiler
	// granted are the groups that people can grant.
	granted []string
	out     []Problem
}

func (l *linter) warn(r *rule, code string, words []string, remedy, format string, args ...any) {
	l.out = append(l.out, r.span.at(words, Problem{Code: code, Warning: true, Policy: r.id, Message: fmt.Sprintf(format, args...), Remedy: remedy}))
}

// open warns of a permit of everything: it shows labelled values, and lets people publish policies.
func (l *linter) open(r *rule) {
	p := (*ast.Policy)(r.policy.AST())
	_, who := p.Principal.(ast.ScopeTypeAll)
	_, does := p.Action.(ast.ScopeTypeAll)
	_, what := p.Resource.(ast.ScopeTypeAll)
	if !r.forbid && r.approval == nil && who && does && what && len(p.Conditions) == 0 {
		l.warn(r, "open", nil, "say who, or which actions", "it permits everything to everybody: to see labelled values, to approve, to publish policies")
	}
}

// entities are the entities that a policy names, in the order of their places.
func (r *rule) entities() []types.EntityUID {
	var out []types.EntityUID
	for _, word := range r.span.words() {
		typ, id, ok := strings.Cut(word, `::"`)
		if !ok {
			continue
		}
		var uid types.EntityUID
		if id, err := unquote(`"` + id); err == nil {
			uid = types.NewEntityUID(types.EntityType(typ), types.String(id))
		}
		if uid.Type != "" && !slices.Contains(out, uid) {
			out = append(out, uid)
		}
	}
	return out
}

func written(e types.EntityUID) string { return fmt.Sprintf("%s::%q", e.Type, string(e.ID)) }

// names warns of connections, tags and groups that there are not.
func (l *linter) names(r *rule) {
	if r.approval != nil && l.known.Groups != nil && !l.known.Groups(r.approval.Group) {
		l.warn(r, "unknown-group", []string{"@approval"}, "name it in groups.names, or correct it",
			"no issuer gives anyone the group %q, which @approval asks: requests would wait in vain", r.approval.Group)
	}
	if r.approval != nil && r.approval.Escalate != "" && l.known.Groups != nil && !l.known.Groups(r.approval.Escalate) {
		l.warn(r, "unknown-group", []string{"@escalate"}, "name it in groups.names, or correct it",
			"no issuer gives anyone the group %q, which @escalate names", r.approval.Escalate)
	}
	if r.review != nil && l.known.Groups != nil && !l.known.Groups(r.review.Group) {
		l.warn(r, "unknown-group", []string{"@breakglass"}, "name it in groups.names, or correct it",
			"no issuer gives anyone the group %q, which @breakglass names: nobody could review", r.review.Group)
	}
	var connections, tags []string
	for _, c := range l.known.Connections {
		connections = append(connections, c.Name)
		tags = append(tags, c.Tags...)
	}
	for _, e := range r.entities() {
		id := string(e.ID)
		if how := misshapen(string(e.Type), id); how != "" {
			l.warn(r, "misshapen-id", []string{written(e)}, "write "+how, "%q can be the id of no %s", id, strings.ToLower(string(e.Type)))
			continue
		}
		switch e.Type {
		case "Group":
			if l.known.Groups != nil && !l.known.Groups(id) && id != BreakGlassGroup && !slices.Contains(l.granted, id) {
				l.warn(r, "unknown-group", []string{written(e)}, "name it in groups.names, or correct it", "no issuer gives anyone the group %q", id)
			}
		case "Connection", "Schema", "Table", "Column", "Function", "Channel", "Endpoint", "Service", "Method", "Message", "Field":
			name, _, _ := strings.Cut(id, "/")
			if l.known.Connections != nil && !slices.Contains(connections, name) {
				l.warn(r, "unknown-connection", []string{written(e)}, didYouMean(name, connections), "there is no connection %q", name)
			}
		case "Tag":
			if l.known.Connections != nil && !slices.Contains(tags, id) {
				l.warn(r, "unknown-tag", []string{written(e)}, didYouMean(id, tags), "no connection has the tag %q", id)
			}
		}
	}
}

func didYouMean(word string, words []string) string {
	if len(words) == 0 {
		return "correct it, or take the policy out"
	}
	if near := nearest(word, words); editDistance(word, near) <= max(2, len(word)/3) {
		return fmt.Sprintf("is %q meant?", near)
	}
	return "correct it, or take the policy out"
}

// lookalikes warns of names that look like others: letters of several scripts in one word, and characters that do not
// show.
func (l *linter) lookalikes(r *rule) {
	for i, word := range r.span.words() {
		if !strings.Contains(word, `"`) {
			continue
		}
		if why := lookalike(word); why != "" {
			l.out = append(l.out, r.span.on(i, Problem{Code: "look-alike", Warning: true, Policy: r.id,
				Message: fmt.Sprintf("%s has %s", visible(word), why), Remedy: "write it again by hand, unless it is meant"}))
		}
	}
}

// visible writes what does not show by its number.
func visible(word string) string {
	var b strings.Builder
	for _, r := range word {
		if unicode.IsGraphic(r) && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) && r != '\u2800' && (r == ' ' || !unicode.Is(unicode.Zs, r)) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

// scripts are those whose letters are taken for each other's.
var scripts = []struct {
	name  string
	table *unicode.RangeTable
}{{"Latin", unicode.Latin}, {"Cyrillic", unicode.Cyrillic}, {"Greek", unicode.Greek}, {"Armenian", unicode.Armenian}, {"Cherokee", unicode.Cherokee}}

// lookalike says what in a string is hard to see; "" nothing.
func lookalike(s string) string {
	for _, r := range s {
		switch {
		case r > unicode.MaxASCII && !unicode.IsGraphic(r), unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point), r == '\u2800':
			return fmt.Sprintf("a character that does not show, U+%04X", r)
		case r > unicode.MaxASCII && unicode.In(r, unicode.Zs, unicode.Pd), r == '\u2212':
			return fmt.Sprintf("a space or dash that looks like another one, U+%04X", r)
		case strings.ContainsRune(likeOther, r), r > unicode.MaxASCII && !norm.NFKC.IsNormalString(string(r)):
			return fmt.Sprintf("%q, U+%04X, which looks like another character", r, r)
		}
	}
	if !norm.NFC.IsNormalString(s) {
		return "letters and their accents as characters of their own, which look like one"
	}
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) }) {
		var first, second string
		var odd rune // one that is not Latin
		for _, r := range word {
			for _, script := range scripts {
				if !unicode.Is(script.table, r) {
					continue
				}
				switch {
				case first == "":
					first = script.name
				case second == "" && script.name != first:
					second = script.name
				}
				if odd == 0 && script.name != "Latin" {
					odd = r
				}
			}
		}
		if second != "" {
			return fmt.Sprintf("letters of %s and of %s in one word: %q is U+%04X", first, second, odd, odd)
		}
		if w := []rune(word); first != "" && first != "Latin" && len(w) > 1 && allLike(w) {
			return fmt.Sprintf("a word of %s letters that all look like Latin ones", first)
		}
	}
	return ""
}

// likeOther are Latin letters, and signs, that look like other Latin letters.
const likeOther = "ıȷɑɡɩǀ∣ℓ"

// like are Cyrillic and Greek letters that look like Latin ones (Unicode Technical Standard 39, confusables).
const like = "асеорхуіјѕһԁԛԝіЅІЈАВЕКМНОРСТХУԌΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιν"

func allLike(word []rune) bool {
	return !slices.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) && !strings.ContainsRune(like, r) })
}

// shape is what pairs compares of a policy.
type shape struct {
	rule       *rule
	ast        *ast.Policy
	reach      []uint64 // a bit for each action
	conditions string
}

// pairs warns of policies that another one leaves without an effect, or goes around. Of each kind a policy has one.
func (l *linter) pairs() {
	actions := map[string]int{}
	for _, a := range slices.Sorted(maps.Keys(l.set.actions)) {
		actions[a] = len(actions)
	}
	shapes := make([]*shape, len(l.set.rules))
	byPrincipal := map[types.EntityUID][]*shape{} // those that reach others than one entity under the zero one
	for i, r := range l.set.rules {
		s := &shape{rule: r, ast: (*ast.Policy)(r.policy.AST()), reach: make([]uint64, len(actions)/64+1)}
		for _, a := range l.c.reached(r) {
			s.reach[actions[a]/64] |= 1 << (actions[a] % 64)
		}
		if len(s.ast.Conditions) > 0 {
			s.conditions = conditions(r)
		}
		shapes[i] = s
		byPrincipal[principalOf(s.ast.Principal)] = append(byPrincipal[principalOf(s.ast.Principal)], s)
	}
	left := maxPairs
	for _, s := range shapes {
		if s.rule.span.generated() {
			continue
		}
		own := byPrincipal[principalOf(s.ast.Principal)]
		everyones := byPrincipal[types.EntityUID{}]
		if left -= len(own) + len(everyones); left < 0 {
			return
		}
		said := map[string]bool{}
		for _, list := range [][]*shape{everyones, own} {
			for _, by := range list {
				if s != by && covers(by, s) {
					l.pair(s, by, said)
				}
			}
			if principalOf(s.ast.Principal) == (types.EntityUID{}) {
				break // they are the same
			}
		}
	}
}

// principalOf is the one entity that a scope of principals names; zero where it names none.
func principalOf(scope any) types.EntityUID {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return s.Entity
	case ast.ScopeTypeIn:
		return s.Entity
	case ast.ScopeTypeIsIn:
		return s.Entity
	}
	return types.EntityUID{}
}

// pair looks at a policy and one that matches wherever it does. said are the codes that the policy has.
func (l *linter) pair(s, other *shape, said map[string]bool) {
	r, by, before := s.rule, other.rule, len(l.out)
	equal := covers(s, other)
	switch {
	case !r.forbid && by.forbid && !by.obliges():
		l.warn(r, "unreachable", nil, "take it out, or narrow the forbid", "it never has an effect: %q forbids all that it permits", by.id)
	case r.forbid && by.forbid && !by.obliges() && !(equal && by.id > r.id):
		l.warn(r, "unreachable", nil, "take it out", "it never has an effect: %q forbids the same and more", by.id)
	case r.forbid || by.forbid:
		l.contradiction(r, by, equal)
	default:
		l.shadowed(r, by, equal)
	}
	if len(l.out) > before && said[l.out[before].Code] {
		l.out = l.out[:before]
	} else if len(l.out) > before {
		said[l.out[before].Code] = true
	}
}

// shadowed warns of a permit whose obligations another permit goes around.
func (l *linter) shadowed(r, by *rule, equal bool) {
	switch {
	case by.approval != nil && r.approval == nil, by.rows != "" && r.rows == "":
	case r.approval != nil && by.approval == nil:
		l.warn(r, "shadowed-obligation", []string{"@approval"}, "narrow that permit, or ask for the approval on a forbid", "its approval is never asked for: %q permits the same without one", by.id)
	case r.rows != "" && by.rows == "":
		l.warn(r, "shadowed-obligation", []string{"@rows"}, "use a forbid to narrow it", "the filter of %q has no effect: %q permits the same without one", r.id, by.id)
	case r.limit != Limit{} && by.limit.compare(r.limit) > 0 && r.rows == by.rows:
		l.warn(r, "shadowed-obligation", []string{"@limit"}, "put the limit on a forbid", "its limit has no effect: %q permits the same with a larger one, or none", by.id)
	case r.masks && r.limit == by.limit && r.rows == by.rows && by.masks && by.mask.compare(r.mask) > 0:
		l.warn(r, "shadowed-obligation", []string{"@mask"}, "put the mask on a forbid", "its mask has no effect: %q permits the same under one that shows more", by.id)
	case equal && by.id < r.id && r.limit == by.limit && r.rows == by.rows && r.masks == by.masks && r.mask == by.mask && sameApproval(r.approval, by.approval):
		l.warn(r, "duplicate", nil, "take one of them out", "it says the same as %q", by.id)
	case equal && by.id < r.id:
		l.warn(r, "unequal-bundles", nil, "make one of them", "it permits the same as %q on other terms: where both match, only one of them holds, never the best of both", by.id)
	}
}

// contradiction warns of forbids that cannot be met together by anything that shows a value.
func (l *linter) contradiction(r, by *rule, equal bool) {
	if !r.forbid || !by.forbid || equal && by.id > r.id {
		return
	}
	if r.masks && by.masks {
		together := r.mask.and(by.mask)
		parts := r.mask.mask != by.mask.mask && min(r.mask.mask, by.mask.mask) >= MaskBucket && (r.mask.mask.part() != by.mask.mask.part())
		if parts || together.all&MaskBucket.set() != 0 && together.width == 0 {
			l.warn(r, "contradiction", []string{"@mask"}, "keep one of the masks", "with the mask of %q nothing is shown at all: they show different parts of a value", by.id)
		}
	}
	if a, b := equalTo(r.rows), equalTo(by.rows); a.column != "" && a.column == b.column && a.value != b.value {
		l.warn(r, "contradiction", []string{"@rows"}, "make one filter of both, with OR", "no row passes its filter and that of %q", by.id)
	}
}

// part is what a mask shows a part of.
func (m Mask) part() string {
	switch m {
	case MaskBucket, MaskYear:
		return "range"
	}
	return m.String()
}

// equality is a filter of the form column = constant.
type equality struct{ column, value string }

func equalTo(rows string) equality {
	column, value, ok := strings.Cut(rows, "=")
	column, value = strings.TrimSpace(column), strings.TrimSpace(value)
	if !ok || strings.ContainsAny(column, " <>!()'") || strings.Trim(value, "'0123456789") != "" && !(len(value) > 1 && value[0] == '\'' && strings.IndexByte(value[1:], '\'') == len(value)-2) {
		return equality{}
	}
	return equality{column, value}
}

// conditions are a policy's when and unless, as text.
func conditions(r *rule) string {
	whole := (*ast.Policy)(r.policy.AST())
	all := ast.Scope{}.All()
	return string(cedar.NewPolicyFromAST((*publicast.Policy)(&ast.Policy{Principal: all, Action: all, Resource: all, Conditions: whole.Conditions})).MarshalCedar())
}

// covers says whether a policy matches wherever another does, as far as their scopes and conditions show.
func covers(wide, narrow *shape) bool {
	for i, bits := range narrow.reach {
		if bits&^wide.reach[i] != 0 {
			return false
		}
	}
	return (len(wide.ast.Conditions) == 0 || wide.conditions == narrow.conditions) && scopeCovers(wide.ast.Principal, narrow.ast.Principal) && scopeCovers(wide.ast.Resource, narrow.ast.Resource)
}

// scopeCovers says whether one scope of principals or resources takes in another. An id that begins with another one and
// a separator is below it.
func scopeCovers(wide, narrow any) bool {
	var in, eq types.EntityUID
	var is types.EntityType
	switch n := narrow.(type) {
	case ast.ScopeTypeEq:
		eq, in, is = n.Entity, n.Entity, n.Entity.Type
	case ast.ScopeTypeIn:
		in = n.Entity
	case ast.ScopeTypeIs:
		is = n.Type
	case ast.ScopeTypeIsIn:
		in, is = n.Entity, n.Type
	}
	below := func(e types.EntityUID) bool {
		id, under := string(e.ID), string(in.ID)
		return in == e || in.Type != "" && e.Type != "Group" && e.Type != "Tag" && in.Type != "Group" && (strings.HasPrefix(under, id+"/") || strings.HasPrefix(under, id+".") && strings.Contains(id, "/"))
	}
	switch w := wide.(type) {
	case ast.ScopeTypeAll:
		return true
	case ast.ScopeTypeEq:
		return eq == w.Entity
	case ast.ScopeTypeIn:
		return below(w.Entity)
	case ast.ScopeTypeIs:
		return is == w.Type
	case ast.ScopeTypeIsIn:
		return is == w.Type && below(w.Entity)
	}
	return false
}

// labels warns of labels that policies name and no connection has.
func (l *linter) labels() {
	if l.known.Connections == nil {
		return
	}
	var have []string
	for _, c := range l.known.Connections {
		have = append(have, c.Labels...)
	}
	for _, r := range l.set.rules {
		if r.span.generated() {
			continue
		}
		for _, label := range labelsOf(r) {
			if !slices.Contains(have, label) {
				l.warn(r, "unknown-label", []string{fmt.Sprintf("%q", label)}, didYouMean(label, have), "no column of any connection has the label %q", label)
			}
		}
	}
}

// labelsOf are the labels that a policy compares with, in the order of their places.
func labelsOf(r *rule) []string {
	list := r.span.words()
	word := func(i int) string {
		if i < 0 || i >= len(list) {
			return ""
		}
		return list[i]
	}
	var out []string
	for i := range list {
		if word(i) != "labels" || word(i+1) != "." || !strings.HasPrefix(word(i+2), "contains") || word(i+3) != "(" {
			continue
		}
		for k := i + 4; k < len(list) && word(k) != ")"; k++ {
			if s, err := unquote(word(k)); err == nil && strings.HasPrefix(word(k), `"`) && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
