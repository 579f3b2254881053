package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
)

// Sign-in by SASL OAUTHBEARER (RFC 7628; PostgreSQL documentation, 54.3.2). PostgreSQL offers one way to sign in
// per session, and clients that do not know this one give up where it is offered. So a password is asked for
// unless the client chose this way when it connected: gatehouse.auth=oauthbearer, by itself or in `options`.

const mechanism = "OAUTHBEARER"

// Kinds of an AuthenticationRequest ('R').
const (
	authSASL         = 10
	authSASLContinue = 11
)

// kvsep ends each part of a client's response, and is all of its answer to an error.
const kvsep = 0x01

// ways are the values of gatehouse.auth.
var ways = []string{"password", "oauthbearer"}

// signInSetting takes one of the settings that choose how a client signs in; mine is false for any other.
func (c *client) signInSetting(name, value string) (mine bool, err error) {
	switch name {
	case "gatehouse.auth":
		if c.way = strings.ToLower(value); !slices.Contains(ways, c.way) {
			return true, startupRefusal(name, fmt.Sprintf("There is no way to sign in called %q.", shorten(value)), "Set gatehouse.auth to password or oauthbearer, or leave it out.")
		}
	case "gatehouse.issuer":
		c.issuer = value
	default:
		return false, nil
	}
	return true, nil
}

// identify finds out who a client is, in the way that it chose.
func (s *server) identify(ctx context.Context, c *client) (identity.Identity, error) {
	if c.known != nil {
		return *c.known, nil
	}
	if c.way == "oauthbearer" {
		return s.oauthBearer(ctx, c)
	}
	token, err := c.password()
	if err != nil {
		return identity.Identity{}, err
	}
	return s.verifier.Verify(ctx, token)
}

// oauthBearer takes a token by OAUTHBEARER. A client that sends none is told where to get one, and fails: it
// comes back with one.
func (s *server) oauthBearer(ctx context.Context, c *client) (identity.Identity, error) {
	issuer, err := s.issuerFor(c)
	if err != nil {
		return identity.Identity{}, err
	}
	out := c.negotiation()
	out = appendMessage(out, 'R', []byte{0, 0, 0, authSASL}, []byte(mechanism), []byte{0, 0})
	if _, err := c.conn.Write(out); err != nil {
		return identity.Identity{}, err
	}
	response, err := c.saslInitial()
	if err != nil {
		return identity.Identity{}, err
	}
	token, err := bearerToken(response)
	clear(response)
	if err != nil {
		return identity.Identity{}, err
	}
	err = &identity.Error{Reason: "No token was sent.", Remedy: "Give the client a token, or a flow to get one: oauth_issuer and oauth_client_id in the connection string."}
	if token != "" {
		var who identity.Identity
		if who, err = s.verifier.Verify(ctx, token); err == nil {
			return who, nil
		}
	}
	var rejected *identity.Error
	if !errors.As(err, &rejected) {
		return identity.Identity{}, err
	}
	if err := c.challenge(issuer); err != nil {
		return identity.Identity{}, err
	}
	return identity.Identity{}, rejected
}

// issuerFor is the issuer that a client is sent to: the one that it named, else the first.
func (s *server) issuerFor(c *client) (gate.Issuer, error) {
	if c.issuer == "" && len(s.issuers) > 0 {
		return s.issuers[0], nil
	}
	var names []string
	for _, one := range s.issuers {
		if one.Name == c.issuer {
			return one, nil
		}
		names = append(names, one.Name)
	}
	if c.issuer == "" {
		return gate.Issuer{}, nil
	}
	return gate.Issuer{}, startupRefusal("gatehouse.issuer", fmt.Sprintf("There is no issuer named %q.", shorten(c.issuer)), "Set gatehouse.issuer to one of: "+strings.Join(names, ", ")+".")
}

// saslInitial reads the client's first response; one who sends none with it is asked again.
func (c *client) saslInitial() ([]byte, error) {
	typ, body, err := c.in.next(maxPassword)
	if err != nil {
		return nil, err
	}
	response, asked, err := saslInitialResponse(typ, body)
	if err != nil || asked {
		return response, err
	}
	if _, err := c.conn.Write(appendMessage(nil, 'R', []byte{0, 0, 0, authSASLContinue})); err != nil {
		return nil, err
	}
	if typ, body, err = c.in.next(maxPassword); err != nil {
		return nil, err
	}
	if typ != 'p' {
		return nil, &errMessage{"08P01", "A SASLResponse message was expected."}
	}
	return body, nil
}

// saslInitialResponse reads a SASLInitialResponse; given is false where it carries no response.
func saslInitialResponse(typ byte, body []byte) (response []byte, given bool, err error) {
	if typ != 'p' {
		return nil, false, &errMessage{"08P01", "A SASLInitialResponse message was expected."}
	}
	f := fields{b: body}
	name := f.string()
	n := f.int32()
	if n >= 0 {
		response, given = f.take(int(n)), true
	} else if n != -1 {
		f.bad = true
	}
	if err := f.end("SASLInitialResponse"); err != nil {
		return nil, false, err
	}
	if name != mechanism {
		return nil, false, &errMessage{"08P01", "The client chose a SASL mechanism that was not offered."}
	}
	return response, given, nil
}

// bearerToken is the token of a client's response (RFC 7628, 3.1; its header is RFC 5801's); empty where the
// client only asks where to get one. An error quotes nothing of the response.
func bearerToken(response []byte) (string, error) {
	malformed := &errMessage{"08P01", "The OAUTHBEARER response is not well-formed."}
	header, rest, ok := bytes.Cut(response, []byte{kvsep})
	if !ok {
		return "", malformed
	}
	switch {
	case bytes.HasPrefix(header, []byte("p=")):
		return "", &errMessage{"08P01", "OAUTHBEARER has no channel binding."}
	case bytes.HasPrefix(header, []byte("n,a=")), bytes.HasPrefix(header, []byte("y,a=")):
		return "", &errMessage{"0A000", "An authorization identity is not supported: the token says who the client is."}
	case string(header) != "n,," && string(header) != "y,,":
		return "", malformed
	}
	value, found := "", false
	for len(rest) > 0 && rest[0] != kvsep {
		pair, after, ok := bytes.Cut(rest, []byte{kvsep})
		key, v, has := bytes.Cut(pair, []byte("="))
		if !ok || !has || !wellFormed(key, v) {
			return "", malformed
		}
		if string(key) == "auth" {
			if found {
				return "", malformed
			}
			value, found = string(v), true
		}
		rest = after
	}
	if !found || len(rest) != 1 {
		return "", malformed
	}
	if value == "" {
		return "", nil
	}
	scheme, token, ok := strings.Cut(value, " ")
	token = strings.TrimLeft(token, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || !isToken(token) {
		return "", malformed
	}
	return token, nil
}

// wellFormed: a key is letters, a value printable ASCII, tabs and line ends (RFC 7628, 3.1).
func wellFormed(key, value []byte) bool {
	if len(key) == 0 {
		return false
	}
	for _, b := range key {
		if b|0x20 < 'a' || b|0x20 > 'z' {
			return false
		}
	}
	return !slices.ContainsFunc(value, func(b byte) bool {
		return (b < ' ' || b > '~') && b != '\t' && b != '\r' && b != '\n'
	})
}

// isToken says whether a text can be a bearer token (RFC 6750, 2.1: b64token).
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	for i := range len(body) {
		b := body[i]
		if b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("-._~+/", b) >= 0 {
			continue
		}
		return false
	}
	return true
}

// challenge tells a client that its token is not good, and where to get another one (RFC 7628, 3.2.2), and
// waits for its answer, which says nothing.
func (c *client) challenge(issuer gate.Issuer) error {
	b, err := json.Marshal(struct {
		Status        string `json:"status"`
		Scope         string `json:"scope,omitempty"`
		Configuration string `json:"openid-configuration,omitempty"`
	}{"invalid_token", issuer.Scope, issuer.Configuration})
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(appendMessage(nil, 'R', []byte{0, 0, 0, authSASLContinue}, b)); err != nil {
		return err
	}
	typ, body, err := c.in.next(maxPassword)
	if err != nil {
		return err
	}
	if typ != 'p' || len(body) != 1 || body[0] != kvsep {
		return &errMessage{"08P01", "The answer to an OAUTHBEARER error should be a single byte 1."}
	}
	return nil
}
