package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of what is fetched of an issuer, and how often.
const (
	maxDocument  = 1 << 20
	keyLife      = 10 * time.Minute // then the keys are fetched again
	fetchPause   = 10 * time.Second // between two fetches, at least
	failurePause = 2 * time.Second  // after a fetch that failed
	fetchTime    = 10 * time.Second
)

// keys are an issuer's signing keys, fetched when they are first needed.
type keys struct {
	issuer string
	http   *http.Client
	now    func() time.Time

	fetching sync.Mutex // one fetch at a time; who waits for it shares its result

	mu         sync.RWMutex
	set        map[string][]jose.JSONWebKey
	fetched    time.Time
	tried      time.Time
	failure    error
	generation uint64 // grows when a key disappears: what was verified before counts no more
	refreshing bool
}

// Discovery is what is used of an issuer's discovery document (OpenID Connect Discovery 1.0, section 3).
type Discovery struct {
	Issuer        string `json:"issuer"`
	JWKS          string `json:"jwks_uri"`
	Token         string `json:"token_endpoint"`
	DeviceCode    string `json:"device_authorization_endpoint"`
	Authorization string `json:"authorization_endpoint"`
}

// Discover fetches an issuer's discovery document.
func Discover(ctx context.Context, client *http.Client, issuer string) (Discovery, error) {
	var d Discovery
	if err := fetch(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &d); err != nil {
		return d, err
	}
	if d.Issuer != issuer {
		return d, fmt.Errorf("the discovery document at %s is for another issuer", issuer)
	}
	return d, nil
}

// fetch gets a JSON document over https, or over http on loopback.
func fetch(ctx context.Context, client *http.Client, where string, into any) error {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return fmt.Errorf("%q is not an https URL", where)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", where, answer.Status)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	if err != nil {
		return err
	}
	if len(b) > maxDocument {
		return fmt.Errorf("%s answered more than %d bytes", where, maxDocument)
	}
	return json.Unmarshal(b, into)
}

// find gives the keys of an id. An unknown id fetches the keys again, at a bounded rate.
func (k *keys) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	k.mu.RLock()
	found, fetched := k.set[id], k.fetched
	k.mu.RUnlock()
	if found != nil {
		if k.now().Sub(fetched) > keyLife {
			k.refresh()
		}
		return found, nil
	}
	if err := k.fetch(ctx); err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.set[id], nil
}

// refresh fetches in the background; a failure keeps the keys that there are.
func (k *keys) refresh() {
	k.mu.Lock()
	busy := k.refreshing
	k.refreshing = true
	k.mu.Unlock()
	if busy {
		return
	}
	go func() {
		k.fetch(context.Background())
		k.mu.Lock()
		k.refreshing = false
		k.mu.Unlock()
	}()
}

var errUnreachable = errors.New("the issuer's keys cannot be fetched")

func (k *keys) fetch(ctx context.Context) error {
	asked := k.now()
	k.fetching.Lock()
	defer k.fetching.Unlock()
	k.mu.RLock()
	tried, failure := k.tried, k.failure
	k.mu.RUnlock()
	pause := fetchPause
	if failure != nil {
		pause = failurePause
	}
	if !tried.IsZero() && (tried.After(asked) || k.now().Sub(tried) < pause) {
		return failure
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	defer cancel()
	set, err := k.get(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried = k.now()
	if err != nil {
		k.failure = fmt.Errorf("%w: %w", errUnreachable, err)
		return k.failure
	}
	k.failure = nil
	for id := range k.set {
		if set[id] == nil {
			k.generation++
			break
		}
	}
	k.set, k.fetched = set, k.tried
	return nil
}

func (k *keys) get(ctx context.Context) (map[string][]jose.JSONWebKey, error) {
	d, err := Discover(ctx, k.http, k.issuer)
	if err != nil {
		return nil, err
	}
	var list jose.JSONWebKeySet
	if err := fetch(ctx, k.http, d.JWKS, &list); err != nil {
		return nil, err
	}
	set := map[string][]jose.JSONWebKey{}
	for _, key := range list.Keys {
		if key.KeyID == "" || key.Use == "enc" || !key.IsPublic() || !key.Valid() {
			continue
		}
		set[key.KeyID] = append(set[key.KeyID], key)
	}
	return set, nil
}

// current is the generation of the keys: a token verified under another one is verified again.
func (k *keys) current() uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.now().Sub(k.fetched) > keyLife {
		go k.refresh()
	}
	return k.generation
}
