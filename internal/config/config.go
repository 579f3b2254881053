// Package config reads gatehouse.yaml: strictly, with the line of everything that is wrong.
//
// It opens nothing but the configuration file and reads no secret; what the keys mean is the business of
// the rooms that they are for.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/notify"
	"gatehouse/internal/secret"
	"gatehouse/internal/ship"
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
	Store       string       `yaml:"store"`
	Recordings  Recordings   `yaml:"recordings"`
	Policies    Policies     `yaml:"policies"`
	Approvals   Approvals    `yaml:"approvals"`
	Connections []Connection `yaml:"connections"`
	Limits      Limits       `yaml:"limits"`

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
	Hold  Duration `yaml:"hold"`
	Valid Duration `yaml:"valid"`
	// Notify are the places that are told of held requests.
	Notify []notify.Target `yaml:"notify"`
}

// Limits bound what all sessions together may take.
type Limits struct {
	// Memory is for the large messages of all PostgreSQL sessions together; 0: the connector's own default.
	Memory Size `yaml:"memory"`
}

// Size is a number of bytes as the file writes it: 512MiB, 2GiB.
type Size int64

var sizeWord = regexp.MustCompile(`^([1-9][0-9]{0,5})(MiB|GiB)$`)

// UnmarshalYAML reads 512MiB.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	m := sizeWord.FindStringSubmatch(n.Value)
	if n.Kind != yaml.ScalarNode || m == nil {
		return strict.Errorf(n, "a size should be a single value such as 512MiB or 2GiB")
	}
	v, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return strict.Errorf(n, "%q should be a size such as 512MiB or 2GiB", n.Value)
	}
	*s = Size(v << map[string]uint{"MiB": 20, "GiB": 30}[m[2]])
	return nil
}

// Duration is a time.Duration as the file writes it: 5m, 90s, 1h30m.
type Duration time.Duration

// UnmarshalYAML reads 5m.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return strict.Errorf(n, "a length of time should be a single value such as 5m or 90s")
	}
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
	// Observe lets through what the policies would refuse or hold, and records what they say.
	Observe bool
	// Retention is how long its recordings are kept; 0: as the recordings say.
	Retention ship.Days
	// Recording says what of its results is recorded; results reads them.
	Recording gate.Capture
	results   gate.ResultDecoder
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
		if slices.Contains([]string{"name", "kind", "tags", "groups", "observe", "recording", "retention"}, n.Content[i].Value) {
			to = common
		}
		to.Content = append(to.Content, n.Content[i], n.Content[i+1])
	}
	var v struct {
		Name    string   `yaml:"name"`
		Kind    string   `yaml:"kind"`
		Tags    []string `yaml:"tags"`
		Groups  []string `yaml:"groups"`
		Observe bool     `yaml:"observe"`

		Recording gate.Capture `yaml:"recording"`
		Retention ship.Days    `yaml:"retention"`
	}
	if err := strict.Decode(common, &v); err != nil {
		return err
	}
	if !nameWord.MatchString(v.Name) {
		return strict.Errorf(strict.Find(common, "name"), "the connection's name %q should be a word of small letters, digits, - and _, at most 63", v.Name)
	}
	c.Name, c.Kind, c.Tags, c.Groups, c.Observe, c.Recording, c.Retention = v.Name, v.Kind, v.Tags, v.Groups, v.Observe, v.Recording, v.Retention
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
var planned = []string{"metrics", "kubernetes", "http", "mcp", "mysql", "ssh", "mongodb"}

// Load reads the file. kinds are the connectors that there are.
func Load(path string, kinds []gate.Connector) (*Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{path, errors.New("there is no such file: name the configuration with --config, or start with `gatehouse demo`")}
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(b) > maxSize {
		return nil, &Error{path, fmt.Errorf("the file is larger than %d MiB: is it the configuration?", maxSize>>20)}
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

func unreadable(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &Error{path, fmt.Errorf("the file cannot be read: %w", err)}
}

func parse(b []byte, kinds []gate.Connector) (*Config, error) {
	n, err := document(b)
	if err != nil {
		return nil, err
	}
	c := &Config{}
	if err := strict.Decode(n, c); err != nil {
		return nil, err
	}
	if err := c.check(n, kinds); err != nil {
		return nil, err
	}
	return c, nil
}

// syntax is how the YAML library says where it stopped. Its lines are sometimes one too small.
var syntax = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document is the one document in the file.
func document(b []byte) (*yaml.Node, error) {
	var n, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	err := d.Decode(&n)
	switch {
	case err == io.EOF, err == nil && len(n.Content) == 0, err == nil && n.Content[0].Tag == "!!null":
		return nil, errors.New("the file is empty: `gatehouse demo` writes one to start from")
	case err == nil:
		err = d.Decode(&more)
	}
	switch {
	case err == io.EOF:
		return &n, nil
	case err == nil:
		return nil, strict.Errorf(&more, "a second document begins here: put everything into one, without ---")
	}
	m := syntax.FindStringSubmatch(err.Error())
	if m == nil {
		return nil, err
	}
	line, _ := strconv.Atoi(m[1]) // none: 0, which shows as none
	return nil, &strict.Error{Line: line, Message: "this is not YAML, here or in the next line: " + strings.TrimPrefix(err.Error(), m[0])}
}

func (c *Config) check(n *yaml.Node, kinds []gate.Connector) error {
	at := func(path ...any) *yaml.Node { return strict.Find(n, path...) }
	byKind := map[string]gate.Connector{}
	var words []string
	for _, k := range kinds {
		byKind[k.Kind()] = k
		words = append(words, k.Kind())
	}
	slices.Sort(words)
	for _, name := range slices.Sorted(maps.Keys(c.Listen)) {
		key := keyOf(at("listen"), name)
		if slices.Contains(planned, name) && byKind[name] == nil {
			return strict.Errorf(key, "listen.%s is not built yet: take it out", name)
		}
		if name != "https" && byKind[name] == nil {
			return strict.Errorf(key, "listen.%s is not a listener: there are https, %s", name, strings.Join(words, ", "))
		}
		if !isAddress(c.Listen[name]) {
			return strict.Errorf(at("listen", name), "listen.%s: %q should be HOST:PORT, such as 127.0.0.1:8443", name, c.Listen[name])
		}
	}
	for _, key := range []struct{ name, value, example string }{
		{"listen.https", c.Listen["https"], "listen: {https: \"127.0.0.1:8443\"}"},
		{"store", c.Store, "store: sqlite:gatehouse.db"},
		{"recordings", c.Recordings.Keep, "recordings: file:recordings"},
	} {
		if key.value == "" {
			return fmt.Errorf("%s is missing: add `%s`", key.name, key.example)
		}
	}
	if path, ok := strings.CutPrefix(c.Store, "sqlite:"); !ok || path == "" {
		if strings.HasPrefix(c.Store, "postgres:") || strings.HasPrefix(c.Store, "postgresql:") {
			return strict.Errorf(at("store"), "store: postgres is not built yet: use sqlite:PATH")
		}
		return strict.Errorf(at("store"), "store: %q should be sqlite:PATH", c.Store)
	}
	if err := c.checkRecordings(n); err != nil {
		return err
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		return strict.Errorf(at("url"), "url: %q should be where the https listener is reached, such as https://gatehouse.example.com", c.URL)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") || c.TLS.SelfSigned && c.TLS.Cert != "" {
		return strict.Errorf(at("tls"), "tls: use {cert: FILE, key: FILE}, or {self_signed: true}")
	}
	if err := c.checkIssuers(n); err != nil {
		return err
	}
	if err := c.checkNotify(n); err != nil {
		return err
	}
	return c.checkConnections(n, byKind, words)
}

func (c *Config) checkIssuers(n *yaml.Node) error {
	if len(c.Issuers) == 0 {
		return errors.New("issuers is missing: nobody could sign in: add `issuers: [{name: NAME, kind: oidc, issuer: URL, audiences: [NAME]}]`")
	}
	for i := range c.Issuers {
		is := &c.Issuers[i]
		at := strict.Find(n, "issuers", i)
		if err := is.Check(); err != nil {
			return strict.Errorf(at, "issuers[%d] (%s): %v", i, is.Name, err)
		}
		for j, other := range c.Issuers[:i] {
			if is.Name == other.Name || is.Issuer == other.Issuer {
				return strict.Errorf(at, "issuers[%d] (%s): its name or its issuer is that of issuers[%d]: each is given once", i, is.Name, j)
			}
		}
	}
	names := map[string]bool{}
	for i := range c.Issuers {
		names[c.Issuers[i].Name] = true
	}
	if err := c.People.Check(names); err != nil {
		return strict.Errorf(strict.Find(n, "people"), "%v", err)
	}
	return nil
}

func (c *Config) checkNotify(n *yaml.Node) error {
	seen := map[string]bool{}
	for i := range c.Approvals.Notify {
		t := &c.Approvals.Notify[i]
		at := strict.Find(n, "approvals", "notify", i)
		if err := t.Check(); err != nil {
			return strict.Errorf(at, "approvals.notify[%d] (%s): %v", i, t.Name, err)
		}
		if seen[t.Name] {
			return strict.Errorf(at, "approvals.notify[%d] (%s): that name is taken: rename one", i, t.Name)
		}
		seen[t.Name] = true
		for _, name := range t.Connections {
			if !slices.ContainsFunc(c.Connections, func(one Connection) bool { return one.Name == name }) {
				return strict.Errorf(at, "approvals.notify[%d] (%s): there is no connection %q", i, t.Name, name)
			}
		}
	}
	return nil
}

func (c *Config) checkConnections(n *yaml.Node, byKind map[string]gate.Connector, words []string) error {
	seen := map[string]int{}
	for i := range c.Connections {
		one := &c.Connections[i]
		at := strict.Find(n, "connections", i)
		if line := seen[one.Name]; line != 0 {
			return strict.Errorf(at, "connection %q is named twice, first in line %d: rename one", one.Name, line)
		}
		seen[one.Name] = one.Line
		kind := byKind[one.Kind]
		switch {
		case one.Kind == "":
			return strict.Errorf(at, "connection %q: kind is missing: there is %s", one.Name, strings.Join(words, ", "))
		case kind == nil && slices.Contains(planned, one.Kind):
			return strict.Errorf(strict.Find(at, "kind"), "connection %q: kind %s is not built yet: take the connection out", one.Name, one.Kind)
		case kind == nil:
			return strict.Errorf(strict.Find(at, "kind"), "connection %q: unknown kind %q: there is %s", one.Name, one.Kind, strings.Join(words, ", "))
		case c.Listen[one.Kind] == "" && !onHTTPS(kind):
			return strict.Errorf(at, "connection %q needs listen.%s: add `listen: {%s: HOST:PORT}`", one.Name, one.Kind, one.Kind)
		}
		if one.Recording != (gate.Capture{}) {
			one.results = kind.Decoder()
			if err := one.Recording.Check(one.results); err != nil {
				return strict.Errorf(strict.Find(at, "recording"), "connection %q: %v", one.Name, err)
			}
		}
		var err error
		if one.Options, err = kind.Decode(one.own); err != nil {
			line, message := at.Line, err.Error()
			var placed *strict.Error
			if errors.As(err, &placed) {
				line, message = placed.Line, placed.Message
			}
			return &strict.Error{Line: line, Message: fmt.Sprintf("connection %q: %s", one.Name, message)}
		}
	}
	return nil
}

// onHTTPS says whether connections of a kind are reached on the https listener.
func onHTTPS(c gate.Connector) bool { _, ok := c.(gate.OnHTTPS); return ok }

// keyOf is the node of a mapping's key itself.
func keyOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i]
		}
	}
	return n
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// resolve makes paths absolute, those of secrets in connections' options too.
func (c *Config) resolve(dir string) {
	abs := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	c.Store = "sqlite:" + abs(strings.TrimPrefix(c.Store, "sqlite:"))
	c.Recordings.resolve(abs)
	c.TLS.Cert, c.TLS.Key = abs(c.TLS.Cert), abs(c.TLS.Key)
	for i := range c.Policies.Files {
		c.Policies.Files[i] = abs(c.Policies.Files[i])
	}
	resolveSecrets(reflect.ValueOf(&c.Approvals), abs)
	for i := range c.Connections {
		resolveSecrets(reflect.ValueOf(c.Connections[i].Options), abs)
	}
}

// resolveSecrets looks for secrets in the exported fields of what a connector decoded, in structs and lists.
func resolveSecrets(v reflect.Value, abs func(string) string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			resolveSecrets(v.Elem(), abs)
		}
	case reflect.Slice:
		for i := range v.Len() {
			resolveSecrets(v.Index(i), abs)
		}
	case reflect.Struct:
		if !v.CanSet() {
			return
		}
		if r, ok := v.Addr().Interface().(*secret.Ref); ok {
			r.File = abs(r.File)
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				resolveSecrets(v.Field(i), abs)
			}
		}
	}
}

// RecordingsDir is the folder of the recordings.
func (c *Config) RecordingsDir() string { return strings.TrimPrefix(c.Recordings.Keep, "file:") }

// StateDir is the folder beside the store, where the gateway keeps what it makes itself.
func (c *Config) StateDir() string {
	if path, ok := strings.CutPrefix(c.Store, "sqlite:"); ok {
		return filepath.Dir(path)
	}
	return filepath.Dir(c.Path)
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
		out[i] = gate.Connection{Name: one.Name, Kind: one.Kind, Tags: one.Tags, Groups: one.Groups, Options: one.Options, Observe: one.Observe, Recording: one.Recording, Results: one.results}
	}
	return out
}
