package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/yaml.v3"

	"gatehouse/internal/config"
	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/secret"
)

var update = flag.Bool("update", false, "write the expected errors anew")

// kind is a connector as far as a configuration knows it.
type kind struct{ gate.Connector }

type options struct {
	URL      string     `yaml:"url"`
	Ports    int        `yaml:"ports"`
	Password secret.Ref `yaml:"password"`
	// Labels have a type of their own, as the connectors' do.
	Labels map[string]map[string]labels `yaml:"labels"`
	Keys   []struct {
		Key secret.Ref `yaml:"key"`
	} `yaml:"keys"`
}

type labels []string

func (l *labels) UnmarshalYAML(n *yaml.Node) error {
	*l = labels{n.Value}
	return nil
}

func (kind) Kind() string { return "postgres" }

func (kind) Decode(n *yaml.Node) (any, error) {
	o := &options{}
	if err := strict.Decode(n, o); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(o.URL, "postgres://") {
		return nil, errors.New("url should be postgres://")
	}
	return o, nil
}

var kinds = []gate.Connector{kind{}}

const good = `
listen: {https: ":8443", postgres: "127.0.0.1:6432"}
store: sqlite:state/gatehouse.db
recordings: file:recordings
tls: {cert: tls.crt, key: /etc/tls.key}
issuers:
  - {name: dev, kind: oidc, issuer: "https://id.example.com", audiences: [gatehouse]}
policies: [b.cedar, "*.cedar"]
approvals: {hold: 5m, valid: 1h30m}
connections:
  - name: orders
    url: postgres://gate@db/orders
    kind: postgres
    tags: [env:prod]
    groups: [staff]
    password: {file: pw}
    keys: [{key: {file: /run/key}}, {key: {env: KEY}}, {key: {file: keys/b}}]
  - {name: plain, kind: postgres, url: "postgres://gate@db/plain"}
`

// write puts a configuration into a folder of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), config.Default)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Load(write(t, text), kinds)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBad holds every refusal to its exact text: the file, the line, what is wrong, what to do.
func TestBad(t *testing.T) {
	const golden = "testdata/bad.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	placed := regexp.MustCompile(`^gatehouse\.yaml: line \d+: `)
	for i := 0; i+1 < len(archive.Files); i += 2 {
		in, want := archive.Files[i], &archive.Files[i+1]
		name := strings.TrimSuffix(in.Name, ".yaml")
		if want.Name != name+".err" {
			t.Fatalf("%s is not followed by its .err but by %s", in.Name, want.Name)
		}
		t.Run(name, func(t *testing.T) {
			path := write(t, string(in.Data))
			_, err := config.Load(path, kinds)
			var e *config.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a *config.Error", err)
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "")
			if !strings.HasPrefix(name, "missing-") && !placed.MatchString(got) {
				t.Errorf("names no file and line: %s", got)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("repeats a secret: %s", got)
			}
			if *update {
				want.Data = []byte(got + "\n")
			} else if got+"\n" != string(want.Data) {
				t.Errorf("\n got %s\nwant %s", got, want.Data)
			}
		})
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, []byte(good+strings.Repeat("#\n", 2<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed.yaml")
	if err := os.WriteFile(closed, []byte(good), 0); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		dir + "/none.yaml":    "there is no such file: name the configuration with --config, or start with `gatehouse demo`",
		dir + "/none/at.yaml": "there is no such file: name the configuration with --config, or start with `gatehouse demo`",
		dir:                   "the file cannot be read: is a directory",
		large:                 "the file is larger than 4 MiB: is it the configuration?",
		large + "/a":          "the file cannot be read: not a directory",
	}
	if os.Getuid() != 0 { // root reads every file
		cases[closed] = "the file cannot be read: permission denied"
	}
	for path, want := range cases {
		if _, err := config.Load(path, kinds); err == nil || err.Error() != path+": "+want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

// TestLarge: the bound is on the file, not short of it.
func TestLarge(t *testing.T) {
	load(t, good+strings.Repeat("#", 4<<20-len(good)))
}

func TestGood(t *testing.T) {
	c := load(t, good)
	dir := filepath.Dir(c.Path)
	for what, pair := range map[string][2]string{
		"store":         {c.Store, "sqlite:" + dir + "/state/gatehouse.db"},
		"state":         {c.StateDir(), dir + "/state"},
		"recordings":    {c.RecordingsDir(), dir + "/recordings"},
		"cert":          {c.TLS.Cert, dir + "/tls.crt"},
		"absolute key":  {c.TLS.Key, "/etc/tls.key"},
		"policy":        {c.Policies.Files[1], dir + "/*.cedar"},
		"password":      {c.Connections[0].Options.(*options).Password.File, dir + "/pw"},
		"absolute file": {c.Connections[0].Options.(*options).Keys[0].Key.File, "/run/key"},
		"no file":       {c.Connections[0].Options.(*options).Keys[1].Key.File, ""},
		"file in list":  {c.Connections[0].Options.(*options).Keys[2].Key.File, dir + "/keys/b"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %s, want %s", what, pair[0], pair[1])
		}
	}
	if time.Duration(c.Approvals.Hold) != 5*time.Minute || time.Duration(c.Approvals.Valid) != 90*time.Minute {
		t.Errorf("approvals: %+v", c.Approvals)
	}
	got := c.Gate()
	if len(got) != 2 || got[0].Options != c.Connections[0].Options {
		t.Fatalf("connections: %+v", got)
	}
	got[0].Options = nil
	if want := (gate.Connection{Name: "orders", Kind: "postgres", Tags: []string{"env:prod"}, Groups: []string{"staff"}}); !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
}

// TestRelativePath: what counts is the file's folder, not where the command runs.
func TestRelativePath(t *testing.T) {
	path := write(t, good)
	t.Chdir(filepath.Dir(filepath.Dir(path)))
	c, err := config.Load(filepath.Join(filepath.Base(filepath.Dir(path)), config.Default), kinds)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{c.Path, c.RecordingsDir(), c.StateDir(), c.TLS.Cert, c.Policies.Files[0]} {
		if !strings.HasPrefix(p, filepath.Dir(path)+"/") {
			t.Errorf("%s is not in %s", p, filepath.Dir(path))
		}
	}
}

func TestPolicyFiles(t *testing.T) {
	c := load(t, good)
	dir := filepath.Dir(c.Path)
	expect := func(want string) {
		t.Helper()
		_, err := c.PolicyFiles()
		if want = c.Path + ": line 8: policies: " + want; err == nil || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
	expect("no file matches " + dir + "/b.cedar: correct the path, which is relative to the folder of this file")
	for _, name := range []string{"c.cedar", "a.cedar", "b.cedar", "d.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.PolicyFiles()
	if want := []string{dir + "/b.cedar", dir + "/a.cedar", dir + "/c.cedar"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if err := os.Mkdir(filepath.Join(dir, "e.cedar"), 0o700); err != nil {
		t.Fatal(err)
	}
	expect(dir + "/e.cedar is a folder: name the files in it, such as " + dir + "/e.cedar/*.cedar")
}

func TestBaseURL(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ listen, url, want string }{
		{"127.0.0.1:8443", "", "https://127.0.0.1:8443"},
		{"[::1]:8443", "", "https://[::1]:8443"},
		{"gate.example.com:443", "", "https://gate.example.com:443"},
		{":8443", "", "https://" + host + ":8443"},
		{"0.0.0.0:8443", "", "https://" + host + ":8443"},
		{"[::]:8443", "", "https://" + host + ":8443"},
		{":8443", "https://gate.example.com/", "https://gate.example.com"},
		{":8443", "https://example.com/gate", "https://example.com/gate"},
	} {
		one := &config.Config{Listen: map[string]string{"https": c.listen}, URL: c.url}
		if got := one.BaseURL(); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.listen, c.url, got, c.want)
		}
	}
}
