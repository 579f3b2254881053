package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"gatehouse/internal/config"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// compilePolicies are the policies that a gateway with this configuration has in force: those of the files, or
// the newest version in its store.
func compilePolicies(c *config.Config) (*policy.Set, error) {
	texts, err := policyTexts(c)
	if err != nil {
		return nil, err
	}
	return compileTexts(c, texts)
}

// policyTexts are what compilePolicies compiles.
func policyTexts(c *config.Config) ([]policy.Source, error) {
	if c.Policies.Source == config.FromStore {
		head, err := store.Head(context.Background(), c.Store)
		if err == nil {
			var texts []policy.Source
			for _, f := range head.Files {
				texts = append(texts, policy.Source{Name: f.Name, Text: []byte(f.Text)})
			}
			return texts, nil
		}
		if !errors.Is(err, store.ErrNoVersion) {
			return nil, err
		}
	}
	return fileTexts(c)
}

// fileTexts are what the configured policy files say.
func fileTexts(c *config.Config) ([]policy.Source, error) {
	files, err := c.PolicyFiles()
	if err != nil {
		return nil, err
	}
	var texts []policy.Source
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read a policy: %w: make the file readable, or take it out of policies in %s", err, c.Path)
		}
		texts = append(texts, policy.Source{Name: filepath.Base(f), Text: text})
	}
	return texts, nil
}

// compileTexts makes a set of policies with all that the configuration says.
func compileTexts(c *config.Config, texts []policy.Source) (*policy.Set, error) {
	in := policy.Input{Schemas: schemas(), Policies: texts, Rows: checkRows, Known: known(c)}
	for _, one := range c.Connections {
		in.Access = append(in.Access, policy.Access{Connection: one.Name, Groups: one.Groups})
	}
	set, err := policy.Compile(in)
	if err != nil {
		return nil, fmt.Errorf("the policies are not valid:\n%w", err)
	}
	return set, nil
}

// knownGroup says whether an issuer of the configuration can put a person into a group.
func knownGroup(c *config.Config) func(string) bool {
	return func(g string) bool {
		return slices.ContainsFunc(c.Issuers, func(is identity.Issuer) bool { return is.Gives(g) })
	}
}

// known is what the configuration says that policies can be held against.
func known(c *config.Config) policy.Known {
	people := knownGroup(c)
	k := policy.Known{Connections: []policy.KnownConnection{}, Groups: func(g string) bool {
		return people(g) || slices.ContainsFunc(c.Issuers, func(is identity.Issuer) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(is.Agents)), func(groups []string) bool { return slices.Contains(groups, g) })
		})
	}}
	for _, one := range c.Gate() {
		connection := policy.KnownConnection{Name: one.Name, Tags: one.Tags}
		if i, err := inspector(one); err == nil {
			for _, l := range i.Describe().Labels {
				connection.Labels = append(connection.Labels, l.Labels...)
			}
		}
		k.Connections = append(k.Connections, connection)
	}
	return k
}
