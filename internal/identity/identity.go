// Package identity turns a bearer token into a principal, or into an error that says what is wrong with it.
//
// It never logs a token and never puts one, or a claim's value beyond issuer, audience and client ids, into an error.
package identity

import (
	"time"

	"gatehouse/internal/policy"
)

// Identity is what a verified token proves.
type Identity struct {
	Principal policy.Principal
	// Expires is the token's exp: no request starts after it.
	Expires time.Time
}

// Error says why a token was not accepted: one sentence why, one what to do next.
type Error struct {
	Reason string
	Remedy string
}

func (e *Error) Error() string { return e.Reason }
