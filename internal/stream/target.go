// Package stream sends the events of recordings elsewhere as they are recorded: to a file of JSON lines, by syslog, by OTLP.
//
// It reads the journal, behind the gateway, and holds no request up. Each sink has a cursor of its own on the disk: every event is
// sent at least once, in order, and one that could not be sent is sent again. An event says what its recording says, so what
// the client saw masked is masked here.
package stream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"gatehouse/internal/secret"
)

// Target is where events go, as the configuration names it.
type Target struct {
	// Name is a word for logs, for the cursor's file and for commands.
	Name string `yaml:"name"`
	// Kind is jsonl, syslog or otlp.
	Kind string `yaml:"kind"`
	// To is file:PATH for jsonl; tls://HOST:PORT, or tcp:// on this machine, for syslog; https://HOST/PATH, or http:// on this
	// machine, for otlp.
	To string `yaml:"to"`
	// CA has the certificates, PEM, that the receiver's must come from, where those of the system do not know it; Cert and Key
	// are what the gateway shows of itself.
	CA   secret.Path `yaml:"ca"`
	Cert secret.Path `yaml:"cert"`
	Key  secret.Path `yaml:"key"`
	// Headers go with each request of otlp.
	Headers []Header `yaml:"headers"`
	// Results sends what came back too, row by row.
	Results bool `yaml:"results"`
	// MaxMessage is how long an event may be, in bytes; what is longer is cut, and says so. 8192 for syslog, else 1 MiB.
	MaxMessage int `yaml:"max_message"`
}

// Header is a header of an HTTP request; its value is a secret.
type Header struct {
	Name  string     `yaml:"name"`
	Value secret.Ref `yaml:"value"`
}

const (
	minMessage    = 1 << 10
	syslogMessage = 8 << 10
	otherMessage  = 1 << 20
	maxMessage    = 64 << 20
)

var (
	word   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	header = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
)

// Check says what is wrong with a target.
func (t *Target) Check() error {
	if !word.MatchString(t.Name) {
		return fmt.Errorf("name: %q should be a word of small letters, digits, - and _, at most 63", t.Name)
	}
	switch {
	case t.Cert.IsZero() != t.Key.IsZero():
		return errors.New("cert and key are given together")
	case t.MaxMessage != 0 && (t.MaxMessage < minMessage || t.MaxMessage > maxMessage):
		return fmt.Errorf("max_message: %d should be a number of bytes from %d to %d", t.MaxMessage, minMessage, maxMessage)
	case t.Kind != "otlp" && len(t.Headers) > 0:
		return errors.New("headers belong to the kind otlp")
	}
	for _, h := range t.Headers {
		if !header.MatchString(h.Name) || h.Value.IsZero() {
			return fmt.Errorf("headers: %q should be {name: NAME, value: {env: NAME}}", h.Name)
		}
	}
	switch t.Kind {
	case "jsonl":
		if path, ok := strings.CutPrefix(t.To, "file:"); !ok || path == "" {
			return fmt.Errorf("to: %q should be file:PATH", t.To)
		}
		if !t.CA.IsZero() || !t.Cert.IsZero() {
			return errors.New("ca, cert and key belong to syslog and otlp")
		}
		return nil
	case "syslog":
		_, _, err := t.address()
		return err
	case "otlp":
		u, err := url.Parse(t.To)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			return fmt.Errorf("to: %q should be https://HOST/v1/logs, or http:// on this machine", t.To)
		}
		return nil
	case "":
		return errors.New("kind is missing: there are jsonl, syslog, otlp")
	}
	return fmt.Errorf("kind: %q is not a kind of stream: there are jsonl, syslog, otlp", t.Kind)
}

// address is where syslog goes.
func (t *Target) address() (address string, encrypted bool, err error) {
	u, err := url.Parse(t.To)
	if err != nil || u.Scheme != "tls" && u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		return "", false, fmt.Errorf("to: %q should be tls://HOST:PORT, or tcp://HOST:PORT on this machine", t.To)
	}
	if u.Scheme == "tcp" && !loopback(u.Hostname()) {
		return "", false, fmt.Errorf("to: %q is read by everyone on the way: use tls://, or tcp:// to a receiver on this machine", t.To)
	}
	if u.Scheme == "tcp" && (!t.CA.IsZero() || !t.Cert.IsZero()) {
		return "", false, errors.New("ca, cert and key belong to tls://")
	}
	return u.Host, u.Scheme == "tls", nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Resolve makes a path absolute.
func (t *Target) Resolve(abs func(string) string) {
	if path, ok := strings.CutPrefix(t.To, "file:"); ok {
		t.To = "file:" + filepath.Clean(abs(path))
	}
}

// Secrets says what secret of the target is not there.
func (t *Target) Secrets() error {
	_, err := t.headers()
	return err
}

func (t *Target) headers() (http.Header, error) {
	out := http.Header{}
	for _, h := range t.Headers {
		v, err := h.Value.Resolve()
		if err != nil {
			return nil, err
		}
		out.Set(h.Name, v)
	}
	return out, nil
}

func (t *Target) max() int {
	switch {
	case t.MaxMessage > 0:
		return t.MaxMessage
	case t.Kind == "syslog":
		return syslogMessage
	}
	return otherMessage
}
