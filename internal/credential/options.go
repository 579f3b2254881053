// Package credential is how the gateway signs in at a service that it forwards requests to: what the configuration says
// of it, the credential itself, and the certificates of the connection.
//
// No error of it holds a secret. It is for protocols that carry a credential with each request.
package credential

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/secret"
)

// Options is how the gateway signs in: at most one of its kinds.
type Options struct {
	Bearer secret.Ref `yaml:"bearer"`
	Basic  Basic      `yaml:"basic"`
	Header Named      `yaml:"header"`
	Query  Named      `yaml:"query"`
	OAuth  OAuth      `yaml:"oauth"`
}

// Basic is a user's name and password.
type Basic struct {
	User     string     `yaml:"user"`
	Password secret.Ref `yaml:"password"`
}

// Named is an API key in a header or a parameter.
type Named struct {
	Name  string     `yaml:"name"`
	Value secret.Ref `yaml:"value"`
}

// OAuth are client credentials (RFC 6749 section 4.4).
type OAuth struct {
	TokenURL string     `yaml:"token_url"`
	ClientID string     `yaml:"client_id"`
	Secret   secret.Ref `yaml:"client_secret"`
	Scopes   []string   `yaml:"scopes"`
}

// Certificate is a client certificate with its key, as PEM.
type Certificate struct {
	Cert secret.Ref `yaml:"cert"`
	Key  secret.Ref `yaml:"key"`
}

var headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// HeaderName says whether a text can be the name of a header that the configuration chooses.
func HeaderName(s string) bool { return headerName.MatchString(s) && !HopByHop(s) }

// HopByHop are headers of one connection, which say nothing of the request itself (RFC 9110 section 7.6.1).
func HopByHop(name string) bool {
	return slices.Contains([]string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host", "Expect"},
		textproto.CanonicalMIMEHeaderKey(name))
}

// Loopback says whether a host's name means this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Check says what is wrong with the credential and the client certificate of a connection; at finds the node of a key.
func (c *Options) Check(certificate Certificate, at func(...any) *yaml.Node) error {
	n := 0
	bad := func(key, message string) error { return strict.Errorf(at("credential", key), "%s", message) }
	if !c.Bearer.IsZero() {
		n++
	}
	if b := c.Basic; b.User != "" || !b.Password.IsZero() {
		if n++; b.User == "" || b.Password.IsZero() || strings.Contains(b.User, ":") {
			return bad("basic", "credential.basic is {user: NAME, password: {env: NAME}}")
		}
	}
	if h := c.Header; h.Name != "" || !h.Value.IsZero() {
		if n++; !HeaderName(h.Name) || h.Value.IsZero() {
			return bad("header", "credential.header is {name: X-Api-Key, value: {env: NAME}}")
		}
	}
	if q := c.Query; q.Name != "" || !q.Value.IsZero() {
		if n++; q.Name == "" || q.Value.IsZero() {
			return bad("query", "credential.query is {name: key, value: {env: NAME}}")
		}
	}
	if a := c.OAuth; a.TokenURL != "" || a.ClientID != "" || !a.Secret.IsZero() {
		u, err := url.Parse(a.TokenURL)
		if n++; err != nil || u.Host == "" || u.User != nil || a.ClientID == "" || a.Secret.IsZero() {
			return bad("oauth", "credential.oauth is {token_url: URL, client_id: NAME, client_secret: {env: NAME}, scopes: [NAME]}")
		}
		if u.Scheme != "https" && !(u.Scheme == "http" && Loopback(u.Hostname())) {
			return bad("oauth", "credential.oauth.token_url must be https, except on loopback")
		}
	}
	if n > 1 {
		return strict.Errorf(at("credential"), "credential is one of bearer, basic, header, query, oauth")
	}
	if certificate.Cert.IsZero() != certificate.Key.IsZero() {
		return strict.Errorf(at("client_certificate"), "client_certificate is {cert: {file: PATH}, key: {file: PATH}}")
	}
	return nil
}

// Kind is the word for how the gateway signs in; "none" where it does not.
func (c *Options) Kind() string {
	switch {
	case !c.Bearer.IsZero():
		return "bearer"
	case c.Basic.User != "":
		return "basic " + c.Basic.User
	case c.Header.Name != "":
		return "header " + c.Header.Name
	case c.Query.Name != "":
		return "query " + c.Query.Name
	case c.OAuth.ClientID != "":
		return "oauth " + c.OAuth.ClientID
	}
	return "none"
}

// Ref is where the credential's secret is; zero where there is none.
func (c *Options) Ref() secret.Ref {
	for _, ref := range []secret.Ref{c.Bearer, c.Basic.Password, c.Header.Value, c.Query.Value, c.OAuth.Secret} {
		if !ref.IsZero() {
			return ref
		}
	}
	return secret.Ref{}
}

// TLS is how a service's certificate is looked at, by an authority of the connection's own where ca names one, and how the
// gateway's own certificate is shown.
func TLS(ca secret.Ref, certificate Certificate) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if !ca.IsZero() {
		pem, err := ca.Resolve()
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(pem)) {
			return nil, errors.New("ca holds no certificate as PEM")
		}
	}
	if certificate.Cert.IsZero() {
		return c, nil
	}
	pair := func() (*tls.Certificate, error) {
		cert, err := certificate.Cert.Resolve()
		if err != nil {
			return nil, err
		}
		key, err := certificate.Key.Resolve()
		if err != nil {
			return nil, err
		}
		p, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return nil, errors.New("client_certificate is not a certificate with its key, as PEM")
		}
		return &p, nil
	}
	if _, err := pair(); err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() }
	return c, nil
}
