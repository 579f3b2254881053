package notify

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/secret"
)

// Target is where notifications go, as the configuration names it.
type Target struct {
	// Name is a word for logs and for `gatehouse notifications test`.
	Name string `yaml:"name"`
	// Kind is webhook, slack, teams or email.
	Kind string `yaml:"kind"`
	// Events are the kinds of events that are sent; what asks people for something where none is given: approval.pending,
	// breakglass.opened and breakglass.ended.
	Events []string `yaml:"events"`
	// Connections and Groups, where given, choose what is told: holds on these connections, holds that ask
	// these groups.
	Connections []string `yaml:"connections"`
	Groups      []string `yaml:"groups"`

	// URL is where a webhook is called; it is a secret, since Slack's and Teams' let everyone in who knows
	// them.
	URL secret.Ref `yaml:"url"`
	// Secret signs a webhook's calls; required for the kind webhook.
	Secret secret.Ref `yaml:"secret"`

	// SMTP is HOST:PORT of a mail server; TLS is starttls (the default), tls, or none, which only a server on
	// this machine may have.
	SMTP     string     `yaml:"smtp"`
	TLS      string     `yaml:"tls"`
	Username string     `yaml:"username"`
	Password secret.Ref `yaml:"password"`
	From     string     `yaml:"from"`
	To       []string   `yaml:"to"`
}

var word = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

var events = []string{Pending, Approved, Denied, Expired, BreakGlass, Review, AccessAsked, AccessGranted, AccessEnded}

// Check says what is wrong with a target.
func (t *Target) Check() error {
	if !word.MatchString(t.Name) {
		return fmt.Errorf("name: %q should be a word of small letters, digits, - and _, at most 63", t.Name)
	}
	for _, e := range t.Events {
		if !slices.Contains(events, e) {
			return fmt.Errorf("events: %q is not an event: there are %s", e, strings.Join(events, ", "))
		}
	}
	switch t.Kind {
	case "webhook", "slack", "teams":
		return t.checkWebhook()
	case "email":
		return t.checkMail()
	case "":
		return errors.New("kind is missing: there are webhook, slack, teams, email")
	}
	return fmt.Errorf("kind: %q is not a kind of notification: there are webhook, slack, teams, email", t.Kind)
}

func (t *Target) checkWebhook() error {
	switch {
	case t.URL.IsZero():
		return errors.New("url is missing: add `url: {env: NAME}`, naming an environment variable that holds it")
	case t.Kind == "webhook" && t.Secret.IsZero():
		return errors.New("secret is missing: a webhook's receiver tells by the signature who calls: add `secret: {env: NAME}`")
	case t.SMTP != "" || t.TLS != "" || t.Username != "" || !t.Password.IsZero() || t.From != "" || len(t.To) > 0:
		return fmt.Errorf("smtp, tls, username, password, from and to belong to the kind email, not to %s", t.Kind)
	}
	return nil
}

func (t *Target) checkMail() error {
	host, _, err := net.SplitHostPort(t.SMTP)
	switch {
	case err != nil || host == "":
		return fmt.Errorf("smtp: %q should be HOST:PORT of a mail server, such as mail.example.com:587", t.SMTP)
	case !t.URL.IsZero() || !t.Secret.IsZero():
		return errors.New("url and secret belong to webhooks, not to the kind email")
	case t.TLS == "none" && !loopback(host):
		return errors.New("tls: none is for a mail server on this machine only: use starttls or tls")
	case t.TLS != "" && t.TLS != "none" && t.TLS != "starttls" && t.TLS != "tls":
		return fmt.Errorf("tls: %q should be starttls, tls or none", t.TLS)
	case (t.Username == "") != t.Password.IsZero():
		return errors.New("username and password are given together")
	case len(t.To) == 0:
		return errors.New("to is missing: name the addresses that get mail")
	}
	for _, a := range append([]string{t.From}, t.To...) {
		if _, err := mail.ParseAddress(a); err != nil {
			return fmt.Errorf("%q is not a mail address", a)
		}
	}
	return nil
}

// Secrets says what secret of the target is not there, or cannot be one.
func (t *Target) Secrets() error {
	if t.Kind == "email" {
		if t.Password.IsZero() {
			return nil
		}
		_, err := t.Password.Resolve()
		return err
	}
	if _, err := t.address(); err != nil || t.Secret.IsZero() {
		return err
	}
	_, err := t.Secret.Resolve()
	return err
}

// wants says whether the target is told of an event.
func (t *Target) wants(e Event) bool {
	kinds := t.Events
	if len(kinds) == 0 {
		kinds = []string{Pending, BreakGlass, Review, AccessAsked}
	}
	if !slices.Contains(kinds, e.Kind) {
		return false
	}
	if len(t.Connections) > 0 && !slices.Contains(t.Connections, e.Connection) {
		return false
	}
	return len(t.Groups) == 0 || slices.ContainsFunc(e.Groups, func(g string) bool { return slices.Contains(t.Groups, g) })
}

func (t *Target) channel(now func() time.Time) channel {
	if t.Kind == "email" {
		return &mailer{*t}
	}
	return &webhook{target: *t, now: now, client: httpClient()}
}

// address reads the URL of a webhook: https, or http on this machine.
func (t *Target) address() (string, error) {
	text, err := t.URL.Resolve()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return "", errors.New("the url should be https://HOST/PATH, or http:// on this machine")
	}
	return text, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
