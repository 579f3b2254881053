package strict

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// Labels is one label or a list of them.
type Labels []string

// UnmarshalYAML reads a label or a list of labels.
func (l *Labels) UnmarshalYAML(n *yaml.Node) error {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for _, one := range list {
		if one.Kind != yaml.ScalarNode || one.Value == "" || strings.ContainsAny(one.Value, " \t\n\"") {
			return Errorf(one, "a label is a word such as pii.email, or a list of such")
		}
		*l = append(*l, one.Value)
	}
	if len(*l) == 0 {
		return Errorf(n, "a label is a word such as pii.email, or a list of such")
	}
	return nil
}
