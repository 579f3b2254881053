package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

// minKey is how long a configured token_key is at least, in bytes.
const minKey = 32

// TokenKey is the key of a connection's pseudonyms, derived from its token_key, else from the gateway's own secret, for a
// purpose; nil where there is neither.
func TokenKey(configured Ref, own []byte, purpose string) ([]byte, error) {
	if !configured.IsZero() {
		text, err := configured.Resolve()
		if err != nil {
			return nil, fmt.Errorf("token_key: %w", err)
		}
		if len(text) < minKey {
			return nil, errors.New("token_key is shorter than 32 characters: use a long random one")
		}
		own = []byte(text)
	}
	if len(own) == 0 {
		return nil, nil
	}
	m := hmac.New(sha256.New, own)
	m.Write([]byte(purpose))
	return m.Sum(nil), nil
}
