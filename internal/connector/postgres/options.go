package postgres

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/secret"
	guard "gatehouse/internal/sqlguard/postgres"
)

// Options are the keys of a connection that only this connector knows.
type Options struct {
	// URL is where the database is: postgres://role@host:port/database?sslmode=verify-full. The password
	// is not in it.
	URL      string     `yaml:"url"`
	Password secret.Ref `yaml:"password"`
	// Labels are the data classes of columns: schema.table → column → label, or a list of labels.
	Labels map[string]map[string]Labels `yaml:"labels"`
	// TokenKey is the secret that pseudonyms (@mask("token")) are made with, at least 32 characters; without one
	// it is made of the gateway's own.
	TokenKey secret.Ref `yaml:"token_key"`
	// SearchPath are the schemas in which clients' unqualified names are looked up; [public] by default.
	SearchPath []string `yaml:"search_path"`
	// AllowPrivilegedRole lets a role in that could get around the gateway's rules by itself.
	AllowPrivilegedRole bool `yaml:"allow_privileged_role"`

	// Strict masks every column that has no label until somebody lists it as reviewed.
	Strict bool `yaml:"strict"`
	// Reviewed are, for a strict connection, the columns with nothing to mask: schema.table → columns.
	Reviewed map[string][]string `yaml:"reviewed"`

	Durability any `yaml:"durability" planned:"true"`
	Limits     any `yaml:"limits" planned:"true"`

	labels   map[guard.Name]map[string][]string
	reviewed map[guard.Name][]string // nil: the connection is not strict
	config   *pgx.ConnConfig
}

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
			return strict.Errorf(one, "a label is a word such as pii.email, or a list of such")
		}
		if one.Value == unreviewed {
			return strict.Errorf(one, "the label %s is given by `strict: true`: use another word", unreviewed)
		}
		*l = append(*l, one.Value)
	}
	if len(*l) == 0 {
		return strict.Errorf(n, "a label is a word such as pii.email, or a list of such")
	}
	return nil
}

func decodeOptions(n *yaml.Node) (*Options, error) {
	o := &Options{}
	if err := strict.Decode(n, o); err != nil {
		return nil, err
	}
	if err := o.parseURL(n); err != nil {
		return nil, err
	}
	if len(o.SearchPath) == 0 {
		o.SearchPath = []string{"public"}
	}
	for _, s := range o.SearchPath {
		if s == "" || s == "information_schema" || strings.HasPrefix(s, "pg_") {
			return nil, strict.Errorf(value(n, "search_path"), "search_path names the connection's own schemas, and %q is not one", s)
		}
	}
	o.labels = map[guard.Name]map[string][]string{}
	for table, columns := range o.Labels {
		name, err := tableName(table)
		if err != nil {
			return nil, strict.Errorf(value(n, "labels"), "labels: %v", err)
		}
		o.labels[name] = map[string][]string{}
		for c, labels := range columns {
			o.labels[name][c] = labels
		}
	}
	return o, o.decodeReviewed(n)
}

func (o *Options) decodeReviewed(n *yaml.Node) error {
	if !o.Strict {
		if o.Reviewed != nil {
			return strict.Errorf(value(n, "reviewed"), "reviewed means nothing without `strict: true`")
		}
		return nil
	}
	o.reviewed = map[guard.Name][]string{}
	for table, columns := range o.Reviewed {
		name, err := tableName(table)
		if err != nil {
			return strict.Errorf(value(n, "reviewed"), "reviewed: %v", err)
		}
		o.reviewed[name] = columns
	}
	return nil
}

// value is the node of a key; the mapping itself where it is missing.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return n
}

func tableName(s string) (guard.Name, error) {
	schema, table, ok := strings.Cut(s, ".")
	if !ok || schema == "" || table == "" {
		return guard.Name{}, fmt.Errorf("%q should be schema.table", s)
	}
	return guard.Name{Schema: schema, Name: table}, nil
}

func (o *Options) parseURL(n *yaml.Node) error {
	at := value(n, "url")
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" || strings.Trim(u.Path, "/") == "" || u.User.Username() == "" {
		return strict.Errorf(at, "url should be postgres://ROLE@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") || u.Query().Has("passfile") || u.Query().Has("service") {
		return strict.Errorf(at, "the password is not written in url: use `password: {env: NAME}` or `password: {file: PATH}`")
	}
	q := u.Query()
	mode := q.Get("sslmode")
	host := u.Hostname()
	loopback := host == "localhost" || net.ParseIP(host) != nil && net.ParseIP(host).IsLoopback()
	switch {
	case mode == "" && loopback:
		q.Set("sslmode", "disable")
	case mode == "":
		q.Set("sslmode", "verify-full")
	case mode != "disable" && mode != "require" && mode != "verify-ca" && mode != "verify-full":
		return strict.Errorf(at, "sslmode=%s does not say whether the connection is encrypted: use verify-full, verify-ca, require or disable", mode)
	}
	u.RawQuery = q.Encode()
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return strict.Errorf(at, "url is not understood: %v", err)
	}
	config.Password = ""
	config.Fallbacks = nil
	o.config = config
	return nil
}

// pgxConfig is how to sign in at the database; the password is read each time, so that it can be changed.
func (o *Options) pgxConfig() (*pgx.ConnConfig, error) {
	c := o.config.Copy()
	if !o.Password.IsZero() {
		p, err := o.Password.Resolve()
		if err != nil {
			return nil, err
		}
		c.Password = p
	}
	return c, nil
}

func (o *Options) connConfig() (*pgconn.Config, error) {
	c, err := o.pgxConfig()
	if err != nil {
		return nil, err
	}
	return &c.Config, nil
}
