package secret

import (
	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
)

// Path is where a file is that is no secret: its path is made absolute as that of a secret is.
type Path struct {
	File Ref
}

// IsZero says whether no file was configured.
func (p Path) IsZero() bool { return p.File.IsZero() }

// String is the path.
func (p Path) String() string { return p.File.File }

// UnmarshalYAML reads PATH, or {file: PATH}.
func (p *Path) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		p.File = Ref{File: n.Value}
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[0].Value != "file" || n.Content[1].Value == "" {
		return strict.Errorf(n, "it should be {file: PATH}")
	}
	p.File = Ref{File: n.Content[1].Value}
	return nil
}

// Place says where a secret is, for people: never the secret.
func (r Ref) Place() string {
	if r.Env != "" {
		return "from the environment variable " + r.Env
	}
	return "from the file " + r.File
}
