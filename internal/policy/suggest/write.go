package suggest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/internal/policy"
)

// writer writes policies.
type writer struct {
	name  string
	usage *Usage
	out   []Policy
}

// group is what one policy permits: actions on things that lie together, on the same terms.
type group struct {
	actions []string
	typ     string
	within  policy.Entity // what the things are in; zero: nothing
	things  []policy.Entity
	whole   bool // everything of the type in within
	table   bool // and within itself
	bundle  bundle
	parties []party
	cases   []int
}

// gather puts items together: first the things that lie in the same one, then the actions on the same things.
func (w *writer) gather(items []*item) []*group {
	groups := together(items, func(it *item) (string, *group) {
		g := &group{actions: []string{it.thing.action}, typ: it.thing.Type, things: []policy.Entity{it.thing.Entity}, bundle: it.bundle, parties: it.parties, cases: it.cases}
		if p := it.touch.Resource.Parents; len(p) > 0 {
			g.within = p[0]
		}
		key := fmt.Sprintf("%q %q %q %q %q", g.actions, g.typ, g.within, g.bundle, g.parties)
		if alone(g) {
			key += entity(it.thing.Entity)
		}
		return key, g
	})
	for _, g := range groups {
		slices.SortFunc(g.things, compareEntities)
		all := w.usage.Columns[g.within.ID]
		g.whole = g.typ == "Column" && g.within.Type == "Table" && len(all) > 0 && !slices.ContainsFunc(all, func(id string) bool {
			_, used := slices.BinarySearchFunc(g.things, policy.Entity{Type: "Column", ID: id}, compareEntities)
			return !used
		})
	}
	groups = together(groups, func(g *group) (string, *group) {
		return fmt.Sprintf("%q %q %q %q", g.typ, g.things, g.bundle, g.parties), g
	})
	groups = tables(groups)
	slices.SortStableFunc(groups, func(a, b *group) int {
		return cmp.Or(strings.Compare(a.place(), b.place()), strings.Compare(b.typ, a.typ), slices.Compare(a.actions, b.actions), slices.CompareFunc(a.things, b.things, compareEntities))
	})
	return groups
}

// together joins what has the same key.
func together[T any](list []T, of func(T) (key string, one *group)) []*group {
	var out []*group
	index := map[string]*group{}
	for _, t := range list {
		key, one := of(t)
		g := index[key]
		if g == nil {
			index[key] = one
			out = append(out, one)
			continue
		}
		g.actions, g.things, g.cases = union(g.actions, one.actions...), append(g.things, one.things...), append(g.cases, one.cases...)
		slices.SortFunc(g.things, compareEntities)
		g.things = slices.Compact(g.things)
		slices.Sort(g.actions)
	}
	return out
}

// alone says whether a thing gets a policy of its own: others can be in it, so that naming it must not mean them.
func alone(g *group) bool {
	return g.typ == "Table" || g.typ == "Schema" || g.typ == "Connection" || g.within.Type == "" || g.within.Type == "Tag"
}

// place is what policies are sorted by: the table, or the thing itself.
func (g *group) place() string {
	if g.typ == "Column" {
		return g.within.ID
	}
	return g.things[0].ID
}

func compareEntities(a, b policy.Entity) int {
	return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Type, b.Type))
}

// tables lets a table join its columns where all were used on the same terms.
func tables(groups []*group) []*group {
	var out []*group
	for _, t := range groups {
		i := slices.IndexFunc(groups, func(g *group) bool {
			return t.typ == "Table" && g.whole && g.within == t.things[0] && slices.Equal(g.actions, t.actions) && g.bundle == t.bundle && slices.Equal(g.parties, t.parties)
		})
		if i < 0 {
			out = append(out, t)
			continue
		}
		groups[i].table, groups[i].cases = true, append(groups[i].cases, t.cases...)
	}
	return out
}

// permit writes the permit of a group.
func (w *writer) permit(g *group) {
	scope, conditions := who(g.parties)
	resource, more := g.resource()
	if len(more) > 0 && len(conditions) > 0 {
		conditions[0] = "(" + conditions[0] + ")"
	}
	conditions = append(conditions, more...)
	id := w.id(g.actions[0], g.place())
	p := Policy{ID: id, Evidence: w.usage.evidence(g.cases), Why: g.words()}
	lines := []string{"// " + comment(g.words()), "// " + comment(p.Evidence.words()), "@id(" + quote(id) + ")"}
	for _, a := range []struct{ name, value string }{{"approval", g.bundle.approval}, {"mask", g.bundle.mask}, {"limit", g.bundle.limit}} {
		if a.value != "" {
			lines = append(lines, annotation(a.name, a.value))
		}
	}
	p.Cedar = strings.Join(append(lines, statement("permit", scope, action(g.actions), resource, conditions)), "\n") + "\n"
	w.out = append(w.out, p)
}

// narrow writes the forbids for what permits cannot say.
func (w *writer) narrow(extras []*extra) {
	for _, x := range extras {
		scopes := []string{"resource in " + entity(x.within)}
		place := x.within.ID
		if !x.table {
			scopes, place = nil, x.things[0].ID
			for _, t := range x.things {
				scopes = append(scopes, "resource == "+entity(t))
			}
		}
		for _, resource := range scopes {
			scope, conditions := who([]party{x.party})
			id := w.id("only-"+x.action, place)
			p := Policy{ID: id, Evidence: w.usage.evidence(x.cases), Why: fmt.Sprintf("%s of %s stays under %s", x.action, place, x.annotation)}
			p.Cedar = strings.Join([]string{"// " + comment(p.Why), "// " + comment(p.Evidence.words()), "@id(" + quote(id) + ")", x.annotation,
				statement("forbid", scope, action([]string{x.action}), resource, conditions)}, "\n") + "\n"
			w.out = append(w.out, p)
		}
	}
}

func statement(effect, principal, action, resource string, conditions []string) string {
	text := fmt.Sprintf("%s (\n  %s,\n  %s,\n  %s\n)", effect, principal, action, resource)
	if len(conditions) > 0 {
		text += "\nwhen {\n  " + strings.Join(conditions, " &&\n  ") + "\n}"
	}
	return text + ";"
}

// who names the parties: one in the scope, several in a condition.
func who(parties []party) (scope string, conditions []string) {
	if len(parties) == 1 {
		return "principal == " + parties[0].entity(), nil
	}
	words := make([]string, len(parties))
	for i, p := range parties {
		words[i] = "principal == " + p.entity()
	}
	return "principal", []string{strings.Join(words, " || ")}
}

func action(names []string) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = "Action::" + quote(n)
	}
	if len(words) == 1 {
		return "action == " + words[0]
	}
	return "action in [" + strings.Join(words, ", ") + "]"
}

// resource names the things of a group, and nothing that lies in them.
func (g *group) resource() (scope string, conditions []string) {
	switch {
	case g.table:
		return "resource in " + entity(g.within), nil
	case g.whole:
		return "resource is Column in " + entity(g.within), nil
	case len(g.things) == 1:
		return "resource == " + entity(g.things[0]), nil
	}
	words := make([]string, len(g.things))
	for i, t := range g.things {
		words[i] = entity(t)
	}
	return "resource is " + g.typ + " in " + entity(g.within), []string{"[\n    " + strings.Join(words, ",\n    ") + "\n  ].contains(resource)"}
}

// words say what a group permits.
func (g *group) words() string {
	what := strings.ToLower(g.typ) + " " + g.things[0].ID
	switch {
	case g.table:
		what = fmt.Sprintf("table %s: all of its columns were used, so that new ones are permitted too", g.within.ID)
	case g.whole:
		what = fmt.Sprintf("columns of %s: all were used, so that new ones are permitted too", g.within.ID)
	case len(g.things) > 1:
		what = fmt.Sprintf("%d %ss of %s", len(g.things), strings.ToLower(g.typ), g.within.ID)
	}
	return strings.Join(g.actions, ", ") + " " + what
}

func (e Evidence) words() string {
	times := fmt.Sprintf("%d times", e.Requests)
	if e.Requests == 1 {
		times = "once"
	}
	text := "used " + times + ", " + e.First
	if e.Last != e.First {
		text += " to " + e.Last
	}
	if len(e.Examples) > 0 {
		text += ", such as " + strings.Join(e.Examples, ", ")
	}
	return text
}

// id is unique among those of the writer: it has a number.
func (w *writer) id(action, place string) string {
	return fmt.Sprintf("%s-%d-%s-%s", w.name, len(w.out)+1, slug(action), slug(place))
}

// slug keeps of a text what a word has: small letters of ASCII, digits, and . _ -
func slug(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_':
			b.WriteRune(r)
		default:
			if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
				b.WriteByte('-')
			}
		}
		if b.Len() >= 48 {
			break
		}
	}
	return cmp.Or(strings.Trim(b.String(), "-"), "x")
}

func entity(e policy.Entity) string { return e.Type + "::" + quote(e.ID) }

func annotation(name, value string) string { return "@" + name + "(" + quote(value) + ")" }

// quote writes a string of Cedar: quotes, backslashes, and all that does not show as itself are escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError, !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// comment cleans a text of all that could end a comment, or show as something else.
func comment(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, text)
}
