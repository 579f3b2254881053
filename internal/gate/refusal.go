package gate

import (
	"errors"

	"gatehouse/internal/policy"
)

// Code is the class of a refusal, the same on every protocol.
type Code string

// The codes of refusals.
const (
	PolicyDenied     Code = "policy_denied"
	ApprovalRequired Code = "approval_required"
	ApprovalDenied   Code = "approval_denied"
	NotUnderstood    Code = "not_understood"
	IdentityRejected Code = "identity_rejected"
	LimitExceeded    Code = "limit_exceeded"
	Unavailable      Code = "unavailable"
)

// Refusal is an error for the client: one sentence why, one what to do next. It never carries a
// secret or an unmasked value. Every other error is for the log; the client sees an internal error
// with the request's id.
type Refusal struct {
	Code      Code           `json:"code"`
	Reason    string         `json:"reason"`
	Policies  []string       `json:"policies,omitempty"`
	Missing   []policy.Touch `json:"missing,omitempty"`
	Remedy    string         `json:"remedy,omitempty"`
	RequestID string         `json:"request_id,omitempty"`
	// SQLState overrides the state that SQL protocols send: a name that does not exist stays 42P01.
	SQLState string `json:"sqlstate,omitempty"`
	// Position is the 1-based character of the client's text that is meant; 0 where there is none.
	Position int `json:"position,omitempty"`
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Reason }

// AsRefusal finds the refusal in an error chain.
func AsRefusal(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}
