package postgres

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

// minTokenKey is how long a configured token_key is at least, in bytes.
const minTokenKey = 32

// tokenKey is the key of a connection's pseudonyms, derived from its token_key, else from the gateway's own
// secret; nil where there is neither.
func tokenKey(o *Options, own []byte, connection string) ([]byte, error) {
	secret := own
	if !o.TokenKey.IsZero() {
		text, err := o.TokenKey.Resolve()
		if err != nil {
			return nil, fmt.Errorf("token_key: %w", err)
		}
		if len(text) < minTokenKey {
			return nil, errors.New("token_key is shorter than 32 characters: use a long random one")
		}
		secret = []byte(text)
	}
	if len(secret) == 0 {
		return nil, nil
	}
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("gatehouse postgres token\x00" + connection))
	return m.Sum(nil), nil
}

// tokens says whether pseudonyms can be made: there is a key, and texts are bytes of UTF-8, so that making them
// never fails.
func (t *target) tokens() bool {
	t.catalogs.state.RLock()
	defer t.catalogs.state.RUnlock()
	return t.tokenKey != nil && t.catalogs.facts != nil && t.catalogs.facts.ServerEncoding == "UTF8"
}
