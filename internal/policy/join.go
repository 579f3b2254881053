package policy

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/ast"
)

func parseSchema(f Source) (*ast.Schema, error) {
	var s schema.Schema
	s.SetFilename(f.Name)
	if err := s.UnmarshalCedar(f.Text); err != nil {
		return nil, Problems{{Source: "schema", Message: err.Error()}}
	}
	return s.AST(), nil
}

// join adds a fragment of the schema. An action that is there already applies to what the fragment says of it as well, and
// an entity that is there already, with the same attributes, is in what the fragment says as well.
func join(all, more *ast.Schema, name string) error {
	twice := func(what string) error {
		return Problems{{Source: "schema", Message: fmt.Sprintf("%s: %s is declared by another fragment too", name, what)}}
	}
	if len(more.Namespaces) > 0 {
		return Problems{{Source: "schema", Message: name + ": a fragment has no namespaces"}}
	}
	if all.Entities == nil {
		all.Entities = ast.Entities{}
	}
	for k, v := range more.Entities {
		was, taken := all.Entities[k]
		if !taken {
			all.Entities[k] = v
			continue
		}
		if !reflect.DeepEqual(was.Shape, v.Shape) || !reflect.DeepEqual(was.Tags, v.Tags) || len(v.ParentTypes) == 0 || len(was.ParentTypes) == 0 {
			return twice("the entity " + string(k) + ", with other attributes or in nothing,")
		}
		for _, p := range v.ParentTypes {
			if !slices.Contains(was.ParentTypes, p) {
				was.ParentTypes = append(slices.Clip(was.ParentTypes), p)
			}
		}
		all.Entities[k] = was
	}
	if len(more.Enums)+len(more.CommonTypes) > 0 {
		return Problems{{Source: "schema", Message: name + ": a fragment has entities and actions only"}}
	}
	if all.Actions == nil {
		all.Actions = ast.Actions{}
	}
	for k, v := range more.Actions {
		was, taken := all.Actions[k]
		if !taken {
			all.Actions[k] = v
			continue
		}
		for _, p := range v.Parents {
			if !slices.Contains(was.Parents, p) {
				was.Parents = append(slices.Clip(was.Parents), p)
			}
		}
		switch {
		case was.AppliesTo == nil:
			was.AppliesTo = v.AppliesTo
		case v.AppliesTo != nil:
			if !slices.Equal(was.AppliesTo.Principals, v.AppliesTo.Principals) {
				return twice("who may do the action " + string(k))
			}
			both := *was.AppliesTo
			for _, r := range v.AppliesTo.Resources {
				if !slices.Contains(both.Resources, r) {
					both.Resources = append(slices.Clip(both.Resources), r)
				}
			}
			was.AppliesTo = &both
		}
		all.Actions[k] = was
	}
	return nil
}
