// Package strict decodes YAML without forgiving: an unknown key, a key given twice, a key without a value, or
// a key that is not built yet is an error that names it and its line.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Error is one thing that is wrong, with its place.
type Error struct {
	Line, Column int
	Message      string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// Errorf is an error at a node.
func Errorf(n *yaml.Node, format string, args ...any) *Error {
	return &Error{n.Line, n.Column, fmt.Sprintf(format, args...)}
}

// Decode reads a mapping into a struct, whose fields name their keys with the tag `yaml`. A field with the
// tag `planned` is a key of the design that is not built yet: using it is an error that says so. Fields of
// the types yaml.Node, any, and such that unmarshal themselves are not looked into.
func Decode(n *yaml.Node, into any) error {
	if n.Kind == yaml.DocumentNode {
		if len(n.Content) != 1 {
			return &Error{Message: "the document is empty"}
		}
		n = n.Content[0]
	}
	if err := check(n, reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	err := n.Decode(into)
	var placed *Error
	var types *yaml.TypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &placed):
		return placed
	case errors.As(err, &types) && len(types.Errors) > 0:
		return &Error{Message: strings.Join(types.Errors, "; ")}
	}
	return &Error{Message: err.Error()}
}

// Find is the node at a path of keys (string) and positions (int), or the nearest one above it that is there.
func Find(n *yaml.Node, path ...any) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	if len(path) == 0 {
		return n
	}
	switch at := path[0].(type) {
	case int:
		if n.Kind == yaml.SequenceNode && at < len(n.Content) {
			return Find(n.Content[at], path[1:]...)
		}
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == at {
				return Find(n.Content[i+1], path[1:]...)
			}
		}
	}
	return n
}

var (
	unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()
	node        = reflect.TypeFor[yaml.Node]()
)

// Keys are the keys of a struct type, the planned ones not among them.
func keys(t reflect.Type) (known map[string]reflect.StructField, names []string) {
	known = map[string]reflect.StructField{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			more, moreNames := keys(f.Type)
			for k, v := range more {
				known[k] = v
			}
			names = append(names, moreNames...)
			continue
		}
		if tag == "" || tag == "-" {
			continue
		}
		known[tag] = f
		if f.Tag.Get("planned") == "" {
			names = append(names, tag)
		}
	}
	return known, names
}

func check(n *yaml.Node, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return Errorf(n, "anchors and aliases are not used here: write the value out")
	}
	if n.Tag == "!!null" && path != "" {
		return Errorf(n, "%s has no value: give it one, or take it out", path)
	}
	if t == node || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	where := path
	if where == "" {
		where = "the file"
	}
	switch t.Kind() {
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			return Errorf(n, "%s should be a mapping of keys to values", where)
		}
		return checkStruct(n, t, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return Errorf(n, "%s should be a list", where)
		}
		for i, item := range n.Content {
			if err := check(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			return Errorf(n, "%s should be a mapping", where)
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i].Value
			if err := checkKey(n.Content[i]); err != nil {
				return err
			}
			if seen[k] {
				return Errorf(n.Content[i], "key %q is given twice in %s", k, where)
			}
			seen[k] = true
			if err := check(n.Content[i+1], t.Elem(), join(path, k)); err != nil {
				return err
			}
		}
	default:
		if n.Kind != yaml.ScalarNode {
			return Errorf(n, "%s should be a single value", where)
		}
		return checkScalar(n, t.Kind(), where)
	}
	return nil
}

// checkKey refuses keys that the decoder would read as something other than what they look like.
func checkKey(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return Errorf(n, "anchors and aliases are not used here: write the value out")
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		return Errorf(n, "a key should be a word")
	}
	return nil
}

func checkScalar(n *yaml.Node, kind reflect.Kind, where string) error {
	switch {
	case kind == reflect.Bool && n.Tag != "!!bool":
		return Errorf(n, "%s is %q and should be true or false", where, n.Value)
	case kind >= reflect.Int && kind <= reflect.Uint64 && n.Tag != "!!int":
		return Errorf(n, "%s is %q and should be a whole number", where, n.Value)
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func checkStruct(n *yaml.Node, t reflect.Type, path string) error {
	known, names := keys(t)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if err := checkKey(k); err != nil {
			return err
		}
		name := join(path, k.Value)
		if seen[k.Value] {
			return Errorf(k, "key %q is given twice", name)
		}
		seen[k.Value] = true
		f, ok := known[k.Value]
		if !ok {
			if near := Nearest(k.Value, names); near != "" {
				return Errorf(k, "unknown key %q: did you mean %q?", name, join(path, near))
			}
			slices.Sort(names)
			return Errorf(k, "unknown key %q: the keys here are %s", name, strings.Join(names, ", "))
		}
		if f.Tag.Get("planned") != "" {
			return Errorf(k, "key %q is not built yet: take it out", name)
		}
		if err := check(n.Content[i+1], f.Type, name); err != nil {
			return err
		}
	}
	return nil
}

// Nearest is the known word that looks most like the given one; "" where none is near.
func Nearest(word string, known []string) string {
	best, distance := "", len(word)/2+1
	for _, k := range known {
		if d := edits(word, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		previous := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			previous, row[j] = row[j], min(row[j]+1, row[j-1]+1, previous+cost)
		}
	}
	return row[len(b)]
}
