package grpc

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/credential"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/secret"
)

// Options are the keys of a connection that only this connector knows.
type Options struct {
	// URL is where the service is: https://shop.internal:443.
	URL string `yaml:"url"`
	// AllowPlaintext lets the credential, and everything else, go to another machine without TLS.
	AllowPlaintext bool `yaml:"allow_plaintext"`
	// PlaintextClients takes clients without TLS, from this machine only.
	PlaintextClients bool `yaml:"plaintext_clients"`
	// Hosts are the names by which clients reach the connection.
	Hosts      []string           `yaml:"hosts"`
	Credential credential.Options `yaml:"credential"`
	// CA is the authority of the service's certificate, as PEM; the system's by default.
	CA                secret.Ref             `yaml:"ca"`
	ClientCertificate credential.Certificate `yaml:"client_certificate"`

	// One of these says what the service's methods and messages are: its own reflection, a FileDescriptorSet, or .proto
	// files with the folders that they import from.
	Reflection    bool          `yaml:"reflection"`
	DescriptorSet secret.Path   `yaml:"descriptor_set"`
	Protos        []secret.Path `yaml:"protos"`
	ProtoPaths    []secret.Path `yaml:"proto_paths"`

	// Labels are the data classes of fields: the full name of a message's field → label, or a list of labels.
	Labels map[string]strict.Labels `yaml:"labels"`
	// Reads are the methods that change nothing, besides those whose descriptor says so; Writes are those that are for
	// changing something. Each is SERVICE/METHOD, or SERVICE/*.
	Reads  []string `yaml:"reads"`
	Writes []string `yaml:"writes"`
	// Metadata are names that are forwarded besides the usual ones, in both directions.
	Metadata []string `yaml:"metadata"`
	// MaxMessage is the most bytes that a message may have; 4 MiB by default.
	MaxMessage int `yaml:"max_message"`
	// TokenKey is the secret that pseudonyms (@mask("token")) are made with.
	TokenKey secret.Ref `yaml:"token_key"`

	url *url.URL
}

// Bounds of messages, in bytes.
const (
	defaultMessage = 4 << 20
	mostMessage    = 64 << 20
)

var (
	methodPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*/([A-Za-z_][A-Za-z0-9_]*|\*)$`)
	fieldName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
	metadataName  = regexp.MustCompile(`^[a-z0-9_.-]+$`)
)

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
	if o.Credential.Query.Name != "" {
		return nil, strict.Errorf(at("credential", "query"), "credential.query: a gRPC call has no query: use bearer, basic, header or oauth")
	}
	for i, h := range o.Hosts {
		if h != strings.ToLower(h) || h == "" || strings.ContainsAny(h, "/:@ *") {
			return nil, strict.Errorf(at("hosts", i), "hosts: %q should be a name in small letters, without a port, such as shop.gateway.example.com", h)
		}
	}
	if err := o.checkSource(n, at); err != nil {
		return nil, err
	}
	for name := range o.Labels {
		if !fieldName.MatchString(name) {
			return nil, strict.Errorf(at("labels", name), "labels: %q should be the full name of a message's field, such as shop.v1.Customer.email", name)
		}
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"reads", o.Reads}, {"writes", o.Writes}} {
		for i, m := range list.names {
			if !methodPattern.MatchString(m) {
				return nil, strict.Errorf(at(list.key, i), "%s: %q should be SERVICE/METHOD, such as shop.v1.Customers/Get, or SERVICE/*", list.key, m)
			}
		}
	}
	for i, m := range o.Writes {
		if slices.Contains(o.Reads, m) {
			return nil, strict.Errorf(at("writes", i), "writes: %q is under reads too: leave it in one", m)
		}
	}
	for i, name := range o.Metadata {
		if !metadataName.MatchString(name) || withheld(name) {
			return nil, strict.Errorf(at("metadata", i), "metadata: %q is not forwarded: it is no name in small letters, or one that says who asks, for what, or how it is sent", name)
		}
	}
	switch {
	case o.MaxMessage == 0:
		o.MaxMessage = defaultMessage
	case o.MaxMessage < 1024 || o.MaxMessage > mostMessage:
		return nil, strict.Errorf(at("max_message"), "max_message: %d should be a number of bytes from 1024 to %d", o.MaxMessage, mostMessage)
	}
	return o, nil
}

func (o *Options) checkURL(at func(...any) *yaml.Node) error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.Path != "" && u.Path != "/" {
		return strict.Errorf(at("url"), "url should be where the service is, without a path, such as https://shop.internal:443")
	}
	if u.User != nil {
		return strict.Errorf(at("url"), "a user or password is not written in url: use `credential: {basic: {user: NAME, password: {env: NAME}}}`")
	}
	if u.Scheme == "http" && !credential.Loopback(u.Hostname()) && !o.AllowPlaintext {
		return strict.Errorf(at("url"), "url goes to another machine without TLS: use https, or say `allow_plaintext: true`")
	}
	o.url = u
	return nil
}

func (o *Options) checkSource(n *yaml.Node, at func(...any) *yaml.Node) error {
	sources := 0
	for _, there := range []bool{o.Reflection, !o.DescriptorSet.IsZero(), len(o.Protos) > 0} {
		if there {
			sources++
		}
	}
	switch {
	case sources == 0:
		return strict.Errorf(n, "nothing says what the service's methods are: say `reflection: true`, or name a descriptor_set or protos")
	case sources > 1:
		return strict.Errorf(n, "the service's methods are said in several ways: leave one of reflection, descriptor_set and protos")
	case len(o.ProtoPaths) > 0 && len(o.Protos) == 0:
		return strict.Errorf(at("proto_paths"), "proto_paths says where protos import from, and there are no protos")
	}
	return nil
}

// host is the service's address, with its port.
func (o *Options) host() string {
	if o.url.Port() != "" {
		return o.url.Host
	}
	if o.url.Scheme == "http" {
		return o.url.Host + ":80"
	}
	return o.url.Host + ":443"
}

func (o *Options) labels() grpcguard.Labels {
	out := grpcguard.Labels{}
	for name, l := range o.Labels {
		out[name] = l
	}
	return out
}

// listed says whether a list of methods has one in it.
func listed(list []string, m *grpcguard.Method) bool {
	return slices.Contains(list, m.String()) || slices.Contains(list, m.Service+"/*")
}
