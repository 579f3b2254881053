package http

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/credential"
	"gatehouse/internal/httpguard"
	"gatehouse/internal/mask"
	"gatehouse/internal/secret"
)

// Options are the keys of a connection that only this connector knows.
type Options struct {
	// URL is where the API is: https://api.internal/v1. Paths begin below it.
	URL string `yaml:"url"`
	// AllowPlaintext lets the credential, and everything else, go to another machine without TLS.
	AllowPlaintext bool `yaml:"allow_plaintext"`
	// Hosts are the names by which clients reach the connection without /http/NAME in front of paths.
	Hosts      []string           `yaml:"hosts"`
	Credential credential.Options `yaml:"credential"`
	// CA is the authority of the API's certificate, as PEM; the system's by default.
	CA                secret.Ref             `yaml:"ca"`
	ClientCertificate credential.Certificate `yaml:"client_certificate"`
	Paths             []Path                 `yaml:"paths"`
	// OpenAPI is a document (version 3) whose operations are the paths.
	OpenAPI secret.Path `yaml:"openapi"`
	// Labels are the data classes of fields in every answer: JSON path → label, or a list of labels.
	Labels map[string]strict.Labels `yaml:"labels"`
	// Headers are request headers that are forwarded besides the usual ones.
	Headers []string `yaml:"headers"`
	// ContentTypes are those that answers may have besides JSON, where the connection has no labels.
	ContentTypes []string `yaml:"content_types"`
	// TokenKey is the secret that pseudonyms (@mask("token")) are made with.
	TokenKey secret.Ref `yaml:"token_key"`

	GraphQL   any `yaml:"graphql" planned:"true"`
	WebSocket any `yaml:"websocket" planned:"true"`
	Limits    any `yaml:"limits" planned:"true"`

	url *url.URL
}

// Path is one path template and what may be asked of it.
type Path struct {
	Path string `yaml:"path"`
	// Methods are those that there are; GET and HEAD by default.
	Methods []string `yaml:"methods"`
	// Query are the parameters that may be given. Without the key any may, unless the path's answers have labels.
	Query []string `yaml:"query"`
	// Reveal are parameters, of the query or the template, that ask by the value of a labelled field: name → JSON path.
	Reveal map[string]string `yaml:"reveal"`
	// Labels are the data classes of fields in the answers: JSON path → label, or a list of labels.
	Labels map[string]strict.Labels `yaml:"labels"`

	id string // the operation's, of an OpenAPI document
}

// methods are those that the connector knows.
var methods = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

func decodeOptions(n *yaml.Node) (*Options, error) {
	o := &Options{}
	if err := strict.Decode(n, o); err != nil {
		return nil, err
	}
	at := func(path ...any) *yaml.Node { return strict.Find(n, path...) }
	if err := o.checkURL(at); err != nil {
		return nil, err
	}
	if err := o.Credential.Check(o.ClientCertificate, at); err != nil {
		return nil, err
	}
	for i, h := range o.Hosts {
		if h != strings.ToLower(h) || h == "" || strings.ContainsAny(h, "/:@ *") {
			return nil, strict.Errorf(at("hosts", i), "hosts: %q should be a name in small letters, without a port, such as crm.gateway.example.com", h)
		}
	}
	for i, h := range o.Headers {
		if !credential.HeaderName(h) || withheld(h) {
			return nil, strict.Errorf(at("headers", i), "headers: %q is not forwarded: it is no header's name, or one that says who asks, for what, or how it is sent", h)
		}
	}
	for i, c := range o.ContentTypes {
		if o.labelled() {
			return nil, strict.Errorf(at("content_types"), "content_types: a connection with labels answers in JSON only, since nothing else can be masked: take one of them out")
		}
		if major, minor, ok := strings.Cut(c, "/"); !ok || major == "" || minor == "" || strings.ContainsAny(c, "; ,") || c != strings.ToLower(c) {
			return nil, strict.Errorf(at("content_types", i), "content_types: %q should be a type such as text/csv, image/*, or */*", c)
		}
	}
	if len(o.Paths) == 0 && o.OpenAPI.IsZero() {
		return nil, strict.Errorf(n, "paths is missing, so nothing could be asked: list the path templates, such as {path: /customers/{id}}, or name an openapi document")
	}
	for i := range o.Paths {
		if err := o.Paths[i].check(func(path ...any) *yaml.Node { return at(append([]any{"paths", i}, path...)...) }); err != nil {
			return nil, err
		}
	}
	if _, err := mask.Compile(sortedKeys(o.Labels)); err != nil {
		return nil, strict.Errorf(at("labels"), "labels: %v", err)
	}
	if o.OpenAPI.IsZero() { // with a document its fields are known when it is read
		if _, err := newEndpoints(o, nil); err != nil {
			return nil, strict.Errorf(at("paths"), "paths: %v", err)
		}
	}
	return o, nil
}

func (o *Options) labelled() bool {
	return len(o.Labels) > 0 || slices.ContainsFunc(o.Paths, func(p Path) bool { return len(p.Labels) > 0 })
}

func (o *Options) checkURL(at func(...any) *yaml.Node) error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return strict.Errorf(at("url"), "url should be where the API is, such as https://api.internal/v1")
	}
	if u.User != nil {
		return strict.Errorf(at("url"), "a user or password is not written in url: use `credential: {basic: {user: NAME, password: {env: NAME}}}`")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = ""
	if u.Path != "" {
		if _, err := httpguard.ParseTarget(u.EscapedPath()); err != nil {
			return strict.Errorf(at("url"), "url: %v", err)
		}
	}
	if u.Scheme == "http" && !credential.Loopback(u.Hostname()) && !o.AllowPlaintext {
		return strict.Errorf(at("url"), "url goes to another machine without TLS: use https, or say `allow_plaintext: true`")
	}
	o.url = u
	return nil
}

func (p *Path) check(at func(...any) *yaml.Node) error {
	if _, err := httpguard.ParseTemplate(p.Path); err != nil {
		return strict.Errorf(at("path"), "the path %q: %v", p.Path, err)
	}
	for i, m := range p.Methods {
		if !slices.Contains(methods, m) {
			return strict.Errorf(at("methods", i), "the method %q is not one of %s", m, strings.Join(methods, ", "))
		}
	}
	if len(p.Methods) == 0 {
		p.Methods = []string{http.MethodGet, http.MethodHead}
	}
	if _, err := mask.Compile(sortedKeys(p.Labels)); err != nil {
		return strict.Errorf(at("labels"), "labels: %v", err)
	}
	for _, name := range sortedKeys(p.Reveal) {
		if slices.Contains(p.Query, name) {
			return strict.Errorf(at("reveal"), "the parameter %q is under query and under reveal: leave it in one", name)
		}
	}
	return nil
}
