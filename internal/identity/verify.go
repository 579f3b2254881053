package identity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/internal/policy"
)

// Bounds of tokens and of the memory of them.
const (
	maxToken  = 16 << 10
	maxCached = 10000
)

// Verifier turns bearer tokens into identities. Safe for concurrent use.
type Verifier struct {
	issuers []*trusted
	people  People
	now     func() time.Time

	mu    sync.RWMutex
	cache map[[32]byte]verified
}

// trusted is an issuer with its keys.
type trusted struct {
	Issuer
	keys       *keys
	algorithms []jose.SignatureAlgorithm
}

// verified is what is remembered of a token.
type verified struct {
	identity   Identity
	scopes     []string
	issuer     *trusted
	generation uint64
}

// New makes a verifier. It reaches no issuer yet.
func New(c Config) (*Verifier, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: fetchTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	v := &Verifier{people: c.People, now: c.Now, cache: map[[32]byte]verified{}}
	for _, is := range c.Issuers {
		t := &trusted{Issuer: is, keys: &keys{issuer: is.Issuer, http: c.HTTP, now: c.Now}}
		names := is.Algorithms
		if len(names) == 0 {
			names = algorithms
		}
		for _, a := range names {
			t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
		}
		v.issuers = append(v.issuers, t)
	}
	return v, nil
}

// Verify says who a token on the data path belongs to. Its errors are *Error.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	k, err := v.verify(ctx, token)
	return k.identity, err
}

// VerifyPerson says which person a token of the control API belongs to: one that was issued to a client for
// people, with the scope for people's actions. Its errors are *Error.
func (v *Verifier) VerifyPerson(ctx context.Context, token string) (Identity, error) {
	k, err := v.verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	p := k.identity.Principal
	switch {
	case p.Kind != policy.User || !k.issuer.signsIn(v.people, p.Client):
		return Identity{}, &Error{Reason: "Only people act here, signed in with a client that is listed for people (people.clients, or people at the issuer); an agent's token is not accepted.", Remedy: "Sign in yourself with `gatehouse login`."}
	case v.people.Scope != "" && !slices.Contains(k.scopes, v.people.Scope):
		return Identity{}, &Error{Reason: "The token lacks the scope for people's actions.", Remedy: "Sign in with the scope " + v.people.Scope + "."}
	case !k.identity.Expires.After(v.now()):
		return Identity{}, &Error{Reason: "The token has expired.", Remedy: "Sign in again with `gatehouse login`."}
	}
	return k.identity, nil
}

func (v *Verifier) verify(ctx context.Context, token string) (verified, error) {
	token = strings.TrimSpace(token)
	switch {
	case token == "":
		return verified{}, &Error{Reason: "There is no token.", Remedy: "Give a token in place of the password: `gatehouse token` prints one."}
	case len(token) > maxToken:
		return verified{}, &Error{Reason: "The token is too long.", Remedy: "Ask the issuer for a smaller one: fewer groups."}
	}
	sum := sha256.Sum256([]byte(token))
	v.mu.RLock()
	k, ok := v.cache[sum]
	v.mu.RUnlock()
	if ok && v.now().Before(k.identity.Expires) && k.generation == k.issuer.keys.current() {
		return k, nil
	}
	k, err := v.check(ctx, token)
	if err != nil {
		return verified{}, err
	}
	v.mu.Lock()
	if len(v.cache) >= maxCached {
		clear(v.cache)
	}
	v.cache[sum] = k
	v.mu.Unlock()
	return k, nil
}

var errMalformed = &Error{Reason: "That is not a token of a configured issuer.", Remedy: "Give an access token in place of the password: `gatehouse token` prints one."}

// check verifies a token from its first byte.
func (v *Verifier) check(ctx context.Context, token string) (verified, error) {
	is, err := v.issuerOf(token)
	if err != nil {
		return verified{}, err
	}
	signed, err := jose.ParseSignedCompact(token, is.algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return verified{}, &Error{Reason: "The token is malformed, or signed with an algorithm that is not accepted.", Remedy: errMalformed.Remedy}
	}
	header := signed.Signatures[0].Protected
	if typ, ok := header.ExtraHeaders[jose.HeaderType].(string); ok && !slices.Contains([]string{"jwt", "at+jwt", "application/at+jwt"}, strings.ToLower(typ)) {
		return verified{}, &Error{Reason: "That is not an access token.", Remedy: errMalformed.Remedy}
	}
	generation := is.keys.current()
	found, err := is.keys.find(ctx, header.KeyID)
	if errors.Is(err, errUnreachable) {
		return verified{}, &Error{Reason: "The issuer " + is.Name + " cannot be reached to verify the token.", Remedy: "Try again; if it stays, tell the operator of this gateway."}
	}
	if err != nil {
		return verified{}, err
	}
	var payload []byte
	for _, key := range found {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err = signed.Verify(key); err == nil {
			break
		}
		payload = nil
	}
	if payload == nil {
		return verified{}, &Error{Reason: "The token's signature is not valid.", Remedy: "Get a fresh token from the configured issuer."}
	}
	var c claims
	if json.Unmarshal(payload, &c) != nil {
		return verified{}, errMalformed
	}
	if iss, err := c.text("iss"); err != nil || !is.accepts(iss) {
		return verified{}, errMalformed
	}
	return v.identify(is, c, generation)
}

// identify reads the claims of a token whose signature is good.
func (v *Verifier) identify(is *trusted, c claims, generation uint64) (verified, error) {
	expires, err := is.standard(c, v.now())
	if err != nil {
		return verified{}, err
	}
	w, err := is.read(c, v.people)
	if err != nil {
		return verified{}, err
	}
	if err := is.permitted(w); err != nil {
		return verified{}, err
	}
	for p := &w.principal; p != nil; p = p.OnBehalfOf {
		if p.Kind == policy.User {
			p.Person = v.people.person(p.ID)
		}
	}
	return verified{Identity{Principal: w.principal, Expires: expires}, w.scopes, is, generation}, nil
}

// issuerOf reads, unverified, who a token says that it is from: only to find the keys.
func (v *Verifier) issuerOf(token string) (*trusted, error) {
	all := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, a := range algorithms {
		all[i] = jose.SignatureAlgorithm(a)
	}
	signed, err := jose.ParseSignedCompact(token, all)
	if err != nil {
		return nil, errMalformed
	}
	var c claims
	if json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &c) != nil {
		return nil, errMalformed
	}
	iss, err := c.text("iss")
	if err != nil {
		return nil, errMalformed
	}
	for _, is := range v.issuers {
		if is.accepts(iss) {
			return is, nil
		}
	}
	return nil, &Error{Reason: "The token is from an issuer that this gateway does not trust.", Remedy: "Get a token from a configured issuer: `gatehouse token` does."}
}
