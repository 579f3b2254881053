package http

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"gatehouse/internal/config/strict"
)

// Bounds of an OpenAPI document.
const (
	maxDocument = 16 << 20 // bytes
	maxSchemas  = 100000   // looked at for labels
)

// labelKey is the extension of a schema, or a parameter, that says which label its values have.
const labelKey = "x-gatehouse-label"

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// load is what can be asked of the connection.
func (o *Options) load() (*endpoints, error) {
	path := o.OpenAPI.String()
	if path == "" {
		return newEndpoints(o, nil)
	}
	fail := func(err error) error { return fmt.Errorf("openapi: %s: %w", path, err) }
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("openapi: the document cannot be read: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, fail(err)
	}
	if len(b) > maxDocument {
		return nil, fail(fmt.Errorf("the document is larger than %d MiB", maxDocument>>20))
	}
	doc, err := parseDocument(b)
	if err != nil {
		return nil, fail(err)
	}
	return newEndpoints(o, doc)
}

// parseDocument reads the operations of an OpenAPI document of version 3.
func parseDocument(b []byte) ([]Path, error) {
	loader := openapi3.NewLoader() // references out of the document are errors
	d, err := loader.LoadFromData(b)
	if err != nil {
		return nil, fmt.Errorf("it is not understood: %w", err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.") {
		return nil, fmt.Errorf("it says openapi: %.20q, and version 3 is understood", d.OpenAPI)
	}
	if d.Paths == nil || d.Paths.Len() == 0 {
		return nil, errors.New("it has no paths")
	}
	out := []Path{}
	for _, path := range d.Paths.InMatchingOrder() {
		item := d.Paths.Value(path)
		for method, op := range item.Operations() {
			if !slices.Contains(methods, method) {
				continue // TRACE, CONNECT: refused anyway
			}
			p := Path{Path: path, Methods: []string{method}, Query: []string{}, Reveal: map[string]string{}, Labels: map[string]strict.Labels{}, id: op.OperationID}
			if err := p.schemas(op); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			if err := p.parameters(append(slices.Clone(item.Parameters), op.Parameters...)); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Path) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Methods[0], b.Methods[0])
	})
	return out, nil
}

// parameters are those of the query. One that is called as a labelled field is asks by it.
func (p *Path) parameters(list openapi3.Parameters) error {
	for _, ref := range list {
		v := ref.Value
		if v == nil || v.In != openapi3.ParameterInQuery && v.In != openapi3.ParameterInPath {
			continue
		}
		path := ""
		for _, field := range sortedKeys(p.Labels) {
			if strings.HasSuffix(field, name(v.Name)) && (path == "" || len(field) < len(path)) {
				path = field
			}
		}
		if labels, err := labelsOf(v.Extensions); err != nil {
			return fmt.Errorf("the parameter %s: %w", v.Name, err)
		} else if len(labels) > 0 && path == "" {
			return fmt.Errorf("the parameter %s has a label, and no field of the answers is called so", v.Name)
		}
		switch {
		case path != "":
			p.Reveal[v.Name] = path
		case v.In == openapi3.ParameterInQuery && !slices.Contains(p.Query, v.Name):
			p.Query = append(p.Query, v.Name)
		}
	}
	return nil
}

// schemas gathers the labels of what the operation answers.
func (p *Path) schemas(op *openapi3.Operation) error {
	if op.Responses == nil {
		return nil
	}
	w := walk{path: p}
	for _, status := range sortedKeys(op.Responses.Map()) {
		r := op.Responses.Value(status)
		if r == nil || r.Value == nil {
			continue
		}
		for _, media := range r.Value.Content {
			if media != nil && media.Schema != nil {
				if err := w.schema(media.Schema, "$"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// walk goes through the schemas of one operation.
type walk struct {
	path  *Path
	on    []*openapi3.Schema // the way to where it is
	steps int
}

func (w *walk) schema(ref *openapi3.SchemaRef, path string) error {
	if ref == nil || ref.Value == nil {
		return nil
	}
	s := ref.Value
	if w.steps++; w.steps > maxSchemas {
		return errors.New("its schemas are too many to look for labels in")
	}
	labels, err := labelsOf(s.Extensions)
	if err != nil {
		return fmt.Errorf("the schema at %s: %w", path, err)
	}
	if len(labels) > 0 {
		w.path.add(path, labels)
	}
	if slices.Contains(w.on, s) { // whatever it holds that has a label has it at any depth
		return w.within(s, path)
	}
	w.on = append(w.on, s)
	defer func() { w.on = w.on[:len(w.on)-1] }()
	for _, k := range sortedKeys(s.Properties) {
		if err := w.schema(s.Properties[k], path+name(k)); err != nil {
			return err
		}
	}
	below := []*openapi3.SchemaRef{s.Items, s.AdditionalProperties.Schema}
	for _, one := range below {
		if err := w.schema(one, path+"[*]"); err != nil {
			return err
		}
	}
	for _, list := range []openapi3.SchemaRefs{s.AllOf, s.OneOf, s.AnyOf} {
		for _, one := range list {
			if err := w.schema(one, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// within adds the labelled properties of a schema that holds itself, at any depth below a path.
func (w *walk) within(s *openapi3.Schema, path string) error {
	seen := map[*openapi3.Schema]bool{}
	var look func(*openapi3.SchemaRef, string) error
	below := func(s *openapi3.Schema, called string) error {
		for _, k := range sortedKeys(s.Properties) {
			if err := look(s.Properties[k], name(k)); err != nil {
				return err
			}
		}
		for _, one := range []*openapi3.SchemaRef{s.Items, s.AdditionalProperties.Schema} {
			if err := look(one, "[*]"); err != nil {
				return err
			}
		}
		for _, one := range slices.Concat(s.AllOf, s.OneOf, s.AnyOf) {
			if err := look(one, called); err != nil {
				return err
			}
		}
		return nil
	}
	look = func(ref *openapi3.SchemaRef, called string) error {
		if ref == nil || ref.Value == nil {
			return nil
		}
		labels, err := labelsOf(ref.Value.Extensions)
		if err != nil {
			return err
		}
		if len(labels) > 0 {
			w.path.add(path+".."+called, labels)
		}
		if seen[ref.Value] {
			return nil
		}
		seen[ref.Value] = true
		return below(ref.Value, called)
	}
	return below(s, "[*]")
}

func (p *Path) add(path string, labels []string) {
	for _, l := range labels {
		if !slices.Contains(p.Labels[path], l) {
			p.Labels[path] = append(p.Labels[path], l)
		}
	}
}

// name is a property as a step of a JSON path.
func name(k string) string {
	q := strconv.Quote(k)
	return "['" + strings.ReplaceAll(q[1:len(q)-1], "'", `\'`) + "']"
}

// labelsOf are the labels that an extension gives.
func labelsOf(extensions map[string]any) ([]string, error) {
	v, ok := extensions[labelKey]
	if !ok {
		return nil, nil
	}
	list, many := v.([]any)
	if !many {
		list = []any{v}
	}
	var out []string
	for _, one := range list {
		s, ok := one.(string)
		if !ok || s == "" || strings.ContainsAny(s, " \t\n\"") {
			return nil, fmt.Errorf("%s is a word such as pii.email, or a list of such", labelKey)
		}
		out = append(out, s)
	}
	return out, nil
}

// addDocument adds the operations of a document, and to them what the configuration says of the same paths.
func (es *endpoints) addDocument(o *Options, doc []Path) error {
	used := make([]bool, len(o.Paths))
	for i := range doc {
		p := doc[i]
		for j := range o.Paths {
			own := &o.Paths[j]
			if own.Path != p.Path {
				continue
			}
			used[j] = true
			p.Query = append(slices.Clone(p.Query), own.Query...)
			for path, labels := range own.Labels {
				p.add(path, labels)
			}
			for parameter, path := range own.Reveal {
				p.Reveal[parameter] = path
				p.Query = slices.DeleteFunc(p.Query, func(q string) bool { return q == parameter })
			}
		}
		e, err := es.add(p.Path)
		if err != nil {
			return err
		}
		op, err := newOperation(o, &p)
		if err != nil {
			return fmt.Errorf("%s %s: %w", p.Methods[0], p.Path, err)
		}
		op.id = p.id
		e.operations[p.Methods[0]] = op
		es.labelled = es.labelled || len(op.fields) > 0
		if p.Methods[0] == "GET" && e.operations["HEAD"] == nil {
			e.operations["HEAD"] = op
		}
	}
	for j, is := range used {
		if !is {
			return fmt.Errorf("the document has no path %s, which the configuration lists", o.Paths[j].Path)
		}
	}
	return nil
}
