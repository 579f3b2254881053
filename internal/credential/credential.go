package credential

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"gatehouse/internal/secret"
)

// secretTurn is how long a secret that was read is used, so that it can be changed while the gateway runs.
const secretTurn = 10 * time.Second

// kept is a secret that is read again now and then.
type kept struct {
	ref secret.Ref

	mu    sync.Mutex
	value string
	until time.Time
}

func (k *kept) get() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); !now.Before(k.until) {
		v, err := k.ref.Resolve()
		if err != nil {
			return "", err
		}
		k.value, k.until = v, now.Add(secretTurn)
	}
	return k.value, nil
}

// Credential is the gateway's own credential at a service. Safe for concurrent use.
type Credential struct {
	options Options
	secret  kept
	client  *http.Client // for the token endpoint

	mu     sync.Mutex
	source oauth2.TokenSource
	made   string // the secret that source was made with
}

// maxHeaders bounds what a token endpoint answers, in bytes of headers.
const maxHeaders = 64 << 10

// New reads nothing yet. handshake bounds the TLS handshake with a token endpoint.
func New(o Options, handshake time.Duration) *Credential {
	return &Credential{options: o, secret: kept{ref: o.Ref()}, client: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{TLSHandshakeTimeout: handshake, MaxResponseHeaderBytes: maxHeaders},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Parameter is the name of the query's parameter that carries the credential; "" where none does.
func (c *Credential) Parameter() string { return c.options.Query.Name }

// Get is the header, or the parameter where there is one, that the credential is sent in. name is empty where there is no
// credential.
func (c *Credential) Get() (name, value string, err error) {
	if c.secret.ref.IsZero() {
		return "", "", nil
	}
	v, err := c.secret.get()
	if err != nil {
		return "", "", err
	}
	switch o := &c.options; {
	case !o.Bearer.IsZero():
		return "Authorization", "Bearer " + v, nil
	case o.Basic.User != "":
		return "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(o.Basic.User+":"+v)), nil
	case o.Header.Name != "":
		return o.Header.Name, v, nil
	case o.Query.Name != "":
		return o.Query.Name, v, nil
	}
	t, err := c.token(v)
	return "Authorization", "Bearer " + t, err
}

// token is the service's access token: kept until it ends, then asked for again.
func (c *Credential) token(clientSecret string) (string, error) {
	o := &c.options.OAuth
	c.mu.Lock()
	if c.source == nil || c.made != clientSecret {
		config := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: clientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes}
		c.source, c.made = config.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, c.client)), clientSecret
	}
	source := c.source
	c.mu.Unlock()
	t, err := source.Token()
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer):
		return "", fmt.Errorf("the token endpoint answered %d (%s)", answer.Response.StatusCode, answer.ErrorCode)
	case err != nil:
		return "", fmt.Errorf("the token endpoint cannot be reached: %w", err)
	}
	return t.AccessToken, nil
}
