package mask

import (
	"errors"
	"fmt"
	"slices"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"
)

// Bounds of a set of paths.
const (
	maxPaths = 256
	maxName  = 1024 // bytes of one name
	maxNodes = 4096
)

// Paths are compiled JSON paths (RFC 9535): an automaton that says of each value of a document, on the way through it,
// which of the paths it is at. Immutable.
type Paths struct {
	nodes []*node // the first is the root's
	count int
}

// node is a set of places in the paths that one value is at.
type node struct {
	id    int
	at    []int // the paths that end here
	names map[string]*node
	other *node // of any other name
	index map[int]*node
	item  *node // of any other index
}

// segment is one step of a path that can be followed while a document streams.
type segment struct {
	deep  bool
	all   bool // any name or index
	names []string
	index []int
}

// Compile reads paths. Those that need more than the way to a value (filters, slices, indices from the end) cannot be
// followed in a stream, and are an error.
func Compile(paths []string) (*Paths, error) {
	if len(paths) > maxPaths {
		return nil, fmt.Errorf("there are %d JSON paths; the limit is %d", len(paths), maxPaths)
	}
	b := builder{byKey: map[string]*node{}, out: &Paths{count: len(paths)}}
	var start []place
	for i, text := range paths {
		segments, err := parsePath(text)
		if err != nil {
			return nil, fmt.Errorf("the JSON path %q: %w", text, err)
		}
		b.paths = append(b.paths, segments)
		start = append(start, place{i, 0})
	}
	if _, err := b.node(start); err != nil {
		return nil, err
	}
	for i := 0; i < len(b.out.nodes); i++ {
		if err := b.expand(i); err != nil {
			return nil, err
		}
	}
	return b.out, nil
}

func parsePath(text string) ([]segment, error) {
	p, err := jsonpath.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("it is not understood: %w", err)
	}
	var out []segment
	for _, s := range p.Query().Segments() {
		one := segment{deep: s.IsDescendant()}
		for _, sel := range s.Selectors() {
			switch sel := sel.(type) {
			case spec.Name:
				if len(sel) > maxName {
					return nil, fmt.Errorf("a name has more than %d bytes", maxName)
				}
				one.names = append(one.names, string(sel))
			case spec.Index:
				if sel < 0 {
					return nil, errors.New("an index from the end cannot be followed in a stream: use [*]")
				}
				one.index = append(one.index, int(sel))
			case spec.WildcardSelector:
				one.all = true
			default:
				return nil, errors.New("filters and slices cannot be followed in a stream: use names, indices, [*] and .. alone")
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// place is how far along a path a value is.
type place struct{ path, segment int }

// builder makes the automaton of all paths.
type builder struct {
	paths  [][]segment
	byKey  map[string]*node
	places [][]place // of each node
	out    *Paths
}

// node finds or makes the node of a set of places.
func (b *builder) node(set []place) (*node, error) {
	slices.SortFunc(set, func(x, y place) int {
		if x.path != y.path {
			return x.path - y.path
		}
		return x.segment - y.segment
	})
	set = slices.Compact(set)
	key := fmt.Sprint(set)
	if n := b.byKey[key]; n != nil {
		return n, nil
	}
	if len(b.out.nodes) >= maxNodes {
		return nil, errors.New("the JSON paths are too many to be followed at once: use fewer with .. or wildcards")
	}
	n := &node{id: len(b.out.nodes)}
	for _, p := range set {
		if p.segment == len(b.paths[p.path]) {
			n.at = append(n.at, p.path)
		}
	}
	b.byKey[key] = n
	b.out.nodes, b.places = append(b.out.nodes, n), append(b.places, set)
	return n, nil
}

// expand gives a node its children.
func (b *builder) expand(i int) (err error) {
	n := b.out.nodes[i]
	step := func(fits func(segment) bool) (*node, error) {
		var next []place
		for _, p := range b.places[i] {
			if p.segment == len(b.paths[p.path]) {
				continue
			}
			s := b.paths[p.path][p.segment]
			if s.deep {
				next = append(next, p)
			}
			if s.all || fits(s) {
				next = append(next, place{p.path, p.segment + 1})
			}
		}
		return b.node(next)
	}
	none := func(segment) bool { return false }
	if n.other, err = step(none); err != nil {
		return err
	}
	n.item = n.other
	for _, p := range b.places[i] {
		if p.segment == len(b.paths[p.path]) {
			continue
		}
		for _, name := range b.paths[p.path][p.segment].names {
			if n.names == nil {
				n.names = map[string]*node{}
			}
			if n.names[name], err = step(func(s segment) bool { return slices.Contains(s.names, name) }); err != nil {
				return err
			}
		}
		for _, at := range b.paths[p.path][p.segment].index {
			if n.index == nil {
				n.index = map[int]*node{}
			}
			if n.index[at], err = step(func(s segment) bool { return slices.Contains(s.index, at) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// Plan is a set of paths with how the value at each is shown. Immutable.
type Plan struct {
	paths *Paths
	rules []*Rule // by node; nil: as it is
	raw   bool
}

// Under gives each path its rule, in the order in which they were compiled. A value at several paths shows what every
// one of their rules does; a missing rule shows nothing.
func (p *Paths) Under(rules []Rule) *Plan {
	out := &Plan{paths: p, rules: make([]*Rule, len(p.nodes)), raw: true}
	for _, n := range p.nodes {
		var all *Rule
		for _, i := range n.at {
			var one Rule
			if i < len(rules) {
				one = rules[i]
			}
			if all == nil {
				all = &one
				continue
			}
			all.Exposure = all.And(one.Exposure)
			if len(all.Key) == 0 || len(one.Key) == 0 {
				all.Key = nil
			}
			all.Class = min(all.Class, one.Class)
		}
		if all != nil && !all.Raw() {
			out.rules[n.id], out.raw = all, false
		}
	}
	return out
}

// Raw says whether everything is shown as it is.
func (p *Plan) Raw() bool { return p != nil && p.raw }
