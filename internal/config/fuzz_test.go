package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/secret"
)

type fuzzKind struct{ gate.Connector }

func (fuzzKind) Kind() string { return "postgres" }

func (fuzzKind) Decode(n *yaml.Node) (any, error) {
	o := &struct {
		URL      string     `yaml:"url"`
		Password secret.Ref `yaml:"password"`
	}{}
	return o, strict.Decode(n, o)
}

// FuzzParse: whatever the file holds, it is refused, or what a command relies on is there.
func FuzzParse(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/bad.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, one := range archive.Files {
		if strings.HasSuffix(one.Name, ".yaml") {
			f.Add(one.Data)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse(text, []gate.Connector{fuzzKind{}})
		if err != nil {
			if err.Error() == "" || c != nil {
				t.Fatalf("refused with %q and %v", err, c)
			}
			return
		}
		c.resolve("/etc/gatehouse")
		if !filepath.IsAbs(c.RecordingsDir()) || !filepath.IsAbs(c.StateDir()) || len(c.Issuers) == 0 || !strings.HasPrefix(c.BaseURL(), "https://") {
			t.Fatalf("accepted without what is needed: %+v", c)
		}
		for _, p := range c.Policies.Files {
			if !filepath.IsAbs(p) {
				t.Fatalf("policy %q is not absolute", p)
			}
		}
		names := map[string]bool{}
		for _, one := range c.Gate() {
			if one.Name == "" || one.Options == nil || c.Listen[one.Kind] == "" || names[one.Name] {
				t.Fatalf("accepted connection %+v", one)
			}
			names[one.Name] = true
		}
	})
}
