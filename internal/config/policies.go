package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
)

// Where policies come from.
const (
	FromFiles = "files"
	FromStore = "store"
)

// Policies say where the policies come from. A list of files, or of patterns of files, is short for
// {source: files, files: LIST}.
type Policies struct {
	// Source is FromFiles: what the files say is in force, and nothing can be published; or FromStore: the newest
	// version that was published is, and the files are only what the first version is made of.
	Source string
	Files  []string

	lines []int // of Files
}

// UnmarshalYAML reads [a.cedar] or {source: store, files: [a.cedar]}.
func (p *Policies) UnmarshalYAML(n *yaml.Node) error {
	var v struct {
		Source string   `yaml:"source"`
		Files  []string `yaml:"files"`
	}
	list := n
	switch n.Kind {
	case yaml.SequenceNode:
		v.Source = FromFiles
		around := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column, Content: []*yaml.Node{
			{Kind: yaml.ScalarNode, Tag: "!!str", Value: "files", Line: n.Line, Column: n.Column}, n}}
		if err := strict.Decode(around, &v); err != nil {
			return err
		}
	case yaml.MappingNode:
		if err := strict.Decode(n, &v); err != nil {
			return err
		}
		list = strict.Find(n, "files")
	default:
		return strict.Errorf(n, "policies should be a list of files, or {source: store, files: [FILE]}")
	}
	if v.Source == "" {
		return strict.Errorf(n, "policies.source is missing: files, or store")
	}
	if v.Source != FromFiles && v.Source != FromStore {
		return strict.Errorf(strict.Find(n, "source"), "policies.source: %q should be files (what the files say is in force) or store (what was published is)", v.Source)
	}
	p.Source, p.Files, p.lines = v.Source, v.Files, nil
	for i, f := range v.Files {
		at := strict.Find(list, i)
		p.lines = append(p.lines, at.Line)
		if _, err := filepath.Match(f, ""); f == "" || err != nil {
			return strict.Errorf(at, "policies: %q should be a file, or a pattern such as policies/*.cedar", f)
		}
	}
	return nil
}

// PolicyFiles are the files that the patterns match, each once, in order. A pattern that matches nothing
// is an error.
func (c *Config) PolicyFiles() ([]string, error) {
	var out []string
	for i, p := range c.Policies.Files {
		wrong := func(format string, args ...any) error {
			e := &strict.Error{Message: "policies: " + fmt.Sprintf(format, args...)}
			if i < len(c.Policies.lines) {
				e.Line = c.Policies.lines[i]
			}
			return &Error{c.Path, e}
		}
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, wrong("%q is not a pattern: %v", p, err)
		}
		if len(found) == 0 {
			return nil, wrong("no file matches %s: correct the path, which is relative to the folder of this file", p)
		}
		slices.Sort(found)
		for _, f := range found {
			if info, err := os.Stat(f); err == nil && info.IsDir() {
				return nil, wrong("%s is a folder: name the files in it, such as %s", f, filepath.Join(f, "*.cedar"))
			}
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}
