// Package config reads gatehouse.yaml: strictly, with the line of everything that is wrong.
//
// It opens nothing but the configuration file and reads no secret; what the keys mean is the business of
// the rooms that they are for.
package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
)

// Default is the file that commands read where none is named.
const Default = "gatehouse.yaml"

// maxSize bounds the file, in bytes.
const maxSize = 4 << 20

// Config is what the file says. Paths are relative to the folder that the file is in, and absolute here.
type Config struct {
	// Listen are the listeners: https for people and the API, and one for each kind of connection.
	Listen map[string]string `yaml:"listen"`
	TLS    TLS               `yaml:"tls"`
	// URL is where people and agents reach the https listener, where that differs from its address.
	URL     string            `yaml:"url"`
	Issuers []identity.Issuer `yaml:"issuers"`
	People  identity.People   `yaml:"people"`
	// Store is sqlite:PATH.
	Store string `yaml:"store"`
	// Recordings is file:FOLDER.
	Recordings string `yaml:"recordings"`
	// Policies are files, or patterns of files.
	Policies    []string     `yaml:"policies"`
	Approvals   Approvals    `yaml:"approvals"`
	Connections []Connection `yaml:"connections"`

	Limits  any `yaml:"limits" planned:"true"`
	Replica any `yaml:"replica" planned:"true"`
	Secrets any `yaml:"secrets" planned:"true"`
	Log     any `yaml:"log" planned:"true"`

	// Path is the file itself.
	Path string `yaml:"-"`
}

// TLS says which certificate the listeners show. Without one, a self-signed one is made at the first start.
type TLS struct {
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
	SelfSigned bool   `yaml:"self_signed"`
}

// Approvals say how long a held request waits, and how long an approval may be used.
type Approvals struct {
	Hold   Duration `yaml:"hold"`
	Valid  Duration `yaml:"valid"`
	Notify any      `yaml:"notify" planned:"true"`
}

// Duration is a time.Duration as the file writes it: 5m, 90s, 1h30m.
type Duration time.Duration

// UnmarshalYAML reads 5m.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v <= 0 {
		return strict.Errorf(n, "%q should be a length of time such as 5m or 90s", n.Value)
	}
	*d = Duration(v)
	return nil
}

// Connection is a registered target. The keys that are not here belong to its connector.
type Connection struct {
	Name   string
	Kind   string
	Tags   []string
	Groups []string
	// Options are what the connector read from the other keys.
	Options any
	Line    int

	own *yaml.Node
}

var nameWord = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// UnmarshalYAML takes the keys that every connection has, and keeps the others for its connector.
func (c *Connection) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return strict.Errorf(n, "a connection should be a mapping of keys to values")
	}
	c.Line = n.Line
	common := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column, Tag: "!!map"}
	c.own = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column, Tag: "!!map"}
	for i := 0; i+1 < len(n.Content); i += 2 {
		to := c.own
		if slices.Contains([]string{"name", "kind", "tags", "groups"}, n.Content[i].Value) {
			to = common
		}
		to.Content = append(to.Content, n.Content[i], n.Content[i+1])
	}
	var v struct {
		Name   string   `yaml:"name"`
		Kind   string   `yaml:"kind"`
		Tags   []string `yaml:"tags"`
		Groups []string `yaml:"groups"`
	}
	if err := strict.Decode(common, &v); err != nil {
		return err
	}
	if !nameWord.MatchString(v.Name) {
		return strict.Errorf(n, "the connection's name %q should be a word of small letters, digits, - and _, at most 63", v.Name)
	}
	c.Name, c.Kind, c.Tags, c.Groups = v.Name, v.Kind, v.Tags, v.Groups
	return nil
}

// Error is what is wrong with a file.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// planned are the listeners and kinds of connections of the design that are not built yet.
var planned = []string{"metrics", "kubernetes", "http", "grpc", "mcp", "mysql", "ssh", "mongodb"}

// Load reads the file. kinds are the connectors that there are.
func Load(path string, kinds []gate.Connector) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: name the configuration with --config, or start with `gatehouse demo`", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, &Error{path, err}
	}
	if len(b) > maxSize {
		return nil, &Error{path, fmt.Errorf("the file is larger than %d MiB", maxSize>>20)}
	}
	c, err := parse(b, kinds)
	if err != nil {
		return nil, &Error{path, err}
	}
	if c.Path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	c.resolve(filepath.Dir(c.Path))
	return c, nil
}

func parse(b []byte, kinds []gate.Connector) (*Config, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return nil, err
	}
	if len(n.Content) == 0 {
		return nil, errors.New("the file is empty")
	}
	c := &Config{}
	if err := strict.Decode(&n, c); err != nil {
		return nil, err
	}
	if err := c.check(kinds); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) check(kinds []gate.Connector) error {
	byKind := map[string]gate.Connector{}
	var words []string
	for _, k := range kinds {
		byKind[k.Kind()] = k
		words = append(words, k.Kind())
	}
	slices.Sort(words)
	for name, address := range c.Listen {
		if slices.Contains(planned, name) && byKind[name] == nil {
			return fmt.Errorf("listen.%s is not built yet: take it out", name)
		}
		if name != "https" && byKind[name] == nil {
			return fmt.Errorf("listen.%s is not a listener: there are https, %s", name, strings.Join(words, ", "))
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("listen.%s: %q should be HOST:PORT", name, address)
		}
	}
	for key, value := range map[string]string{"listen.https": c.Listen["https"], "store": c.Store, "recordings": c.Recordings} {
		if value == "" {
			return fmt.Errorf("%s is missing", key)
		}
	}
	if !strings.HasPrefix(c.Recordings, "file:") {
		if strings.HasPrefix(c.Recordings, "s3:") {
			return errors.New("recordings: s3 is not built yet: use file:FOLDER")
		}
		return fmt.Errorf("recordings: %q should be file:FOLDER", c.Recordings)
	}
	if len(c.Issuers) == 0 {
		return errors.New("issuers is missing: nobody could sign in")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") || c.TLS.SelfSigned && c.TLS.Cert != "" {
		return errors.New("tls: use {cert: FILE, key: FILE}, or {self_signed: true}")
	}
	seen := map[string]int{}
	for i := range c.Connections {
		one := &c.Connections[i]
		if line := seen[one.Name]; line != 0 {
			return &strict.Error{Line: one.Line, Message: fmt.Sprintf("connection %q is named twice, first in line %d", one.Name, line)}
		}
		seen[one.Name] = one.Line
		kind := byKind[one.Kind]
		switch {
		case kind == nil && slices.Contains(planned, one.Kind):
			return &strict.Error{Line: one.Line, Message: fmt.Sprintf("connection %q: kind %s is not built yet", one.Name, one.Kind)}
		case kind == nil:
			return &strict.Error{Line: one.Line, Message: fmt.Sprintf("connection %q: unknown kind %q: there is %s", one.Name, one.Kind, strings.Join(words, ", "))}
		case c.Listen[one.Kind] == "":
			return &strict.Error{Line: one.Line, Message: fmt.Sprintf("connection %q needs listen.%s", one.Name, one.Kind)}
		}
		var err error
		if one.Options, err = kind.Decode(one.own); err != nil {
			return fmt.Errorf("connection %q: %w", one.Name, err)
		}
	}
	return nil
}

// resolve makes paths absolute.
func (c *Config) resolve(dir string) {
	abs := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	if path, ok := strings.CutPrefix(c.Store, "sqlite:"); ok && path != "" {
		c.Store = "sqlite:" + abs(path)
	}
	c.Recordings = "file:" + abs(strings.TrimPrefix(c.Recordings, "file:"))
	c.TLS.Cert, c.TLS.Key = abs(c.TLS.Cert), abs(c.TLS.Key)
	for i := range c.Policies {
		c.Policies[i] = abs(c.Policies[i])
	}
}

// RecordingsDir is the folder of the recordings.
func (c *Config) RecordingsDir() string { return strings.TrimPrefix(c.Recordings, "file:") }

// StateDir is the folder beside the store, where the gateway keeps what it makes itself.
func (c *Config) StateDir() string {
	if path, ok := strings.CutPrefix(c.Store, "sqlite:"); ok {
		return filepath.Dir(path)
	}
	return filepath.Dir(c.Path)
}

// PolicyFiles are the files that the patterns match, each once, in order. A pattern that matches nothing
// is an error.
func (c *Config) PolicyFiles() ([]string, error) {
	var out []string
	for _, p := range c.Policies {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, &Error{c.Path, fmt.Errorf("policies: %q is not a pattern: %w", p, err)}
		}
		if len(found) == 0 {
			return nil, &Error{c.Path, fmt.Errorf("policies: no file matches %s", p)}
		}
		slices.Sort(found)
		for _, f := range found {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// BaseURL is where the https listener is reached.
func (c *Config) BaseURL() string {
	if c.URL != "" {
		return strings.TrimSuffix(c.URL, "/")
	}
	host, port, err := net.SplitHostPort(c.Listen["https"])
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return "https://" + net.JoinHostPort(host, port)
}

// Gate are the connections as connectors and policies know them.
func (c *Config) Gate() []gate.Connection {
	out := make([]gate.Connection, len(c.Connections))
	for i, one := range c.Connections {
		out[i] = gate.Connection{Name: one.Name, Kind: one.Kind, Tags: one.Tags, Groups: one.Groups, Options: one.Options}
	}
	return out
}
