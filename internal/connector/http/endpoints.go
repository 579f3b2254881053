package http

import (
	"fmt"
	"maps"
	"slices"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/httpguard"
	"gatehouse/internal/mask"
)

// endpoints are what can be asked of a connection.
type endpoints struct {
	templates []*httpguard.Template
	list      []*endpoint // by template
	labelled  bool        // any answer has labels
}

// endpoint is one path template.
type endpoint struct {
	template   *httpguard.Template
	operations map[string]*operation // by method
}

// operation is a method of an endpoint.
type operation struct {
	id     string // of an OpenAPI document; "": none
	query  []string
	any    bool                // any parameter may be given
	reveal map[string][]string // parameter → the JSON paths of the fields that it asks by
	fields []field
	paths  *mask.Paths // of fields, in order
}

// field is a labelled JSON path.
type field struct {
	path   string
	labels []string
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// newEndpoints puts together what the configuration says and, where there is one, an OpenAPI document.
func newEndpoints(o *Options, doc []Path) (*endpoints, error) {
	out := &endpoints{labelled: o.labelled()}
	if doc != nil {
		return out, out.addDocument(o, doc)
	}
	for i := range o.Paths {
		p := &o.Paths[i]
		e, err := out.add(p.Path)
		if err != nil {
			return nil, err
		}
		for _, m := range p.Methods {
			if e.operations[m] != nil {
				return nil, fmt.Errorf("%s %s is there twice", m, p.Path)
			}
			if e.operations[m], err = newOperation(o, p); err != nil {
				return nil, fmt.Errorf("%s: %w", p.Path, err)
			}
		}
	}
	return out, nil
}

// add finds or makes the endpoint of a template.
func (es *endpoints) add(path string) (*endpoint, error) {
	t, err := httpguard.ParseTemplate(path)
	if err != nil {
		return nil, fmt.Errorf("the path %q: %w", path, err)
	}
	for i, other := range es.templates {
		switch {
		case other.String() == path:
			return es.list[i], nil
		case other.Ambiguous(t):
			return nil, fmt.Errorf("%s and %s are the same paths", other, path)
		}
	}
	e := &endpoint{template: t, operations: map[string]*operation{}}
	es.templates, es.list = append(es.templates, t), append(es.list, e)
	return e, nil
}

// newOperation is what a path says of each of its methods.
func newOperation(o *Options, p *Path) (*operation, error) {
	op := &operation{query: p.Query, reveal: map[string][]string{}}
	labels := map[string][]string{}
	for _, more := range []map[string]strict.Labels{o.Labels, p.Labels} {
		for path, l := range more {
			for _, one := range l {
				if !slices.Contains(labels[path], one) {
					labels[path] = append(labels[path], one)
				}
			}
		}
	}
	var paths []string
	for _, path := range sortedKeys(labels) {
		op.fields = append(op.fields, field{path, labels[path]})
		paths = append(paths, path)
	}
	op.any = p.Query == nil && len(paths) == 0
	for name, path := range p.Reveal {
		if labels[path] == nil {
			return nil, fmt.Errorf("reveal: %s: the field %s has no label", name, path)
		}
		op.reveal[name] = append(op.reveal[name], path)
	}
	var err error
	op.paths, err = mask.Compile(paths)
	return op, err
}

// find is the endpoint of a path; nil where there is none.
func (es *endpoints) find(segments []string) *endpoint {
	if i := httpguard.Find(es.templates, segments); i >= 0 {
		return es.list[i]
	}
	return nil
}
