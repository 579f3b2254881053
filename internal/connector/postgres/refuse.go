package postgres

import (
	"errors"
	"fmt"
	"strings"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	guard "gatehouse/internal/sqlguard/postgres"
)

// sqlStates are the states that refusals are sent with (PostgreSQL documentation, appendix A).
var sqlStates = map[gate.Code]string{
	gate.PolicyDenied:     "42501",
	gate.ApprovalRequired: "42501",
	gate.ApprovalDenied:   "42501",
	gate.NotUnderstood:    "0A000",
	gate.IdentityRejected: "28000",
	gate.LimitExceeded:    "54000",
	gate.Unavailable:      "58000",
}

// errorFields are a refusal's fields on the wire: why, the details for a program, what to do next.
func errorFields(severity string, r *gate.Refusal) map[byte]string {
	state := r.SQLState
	if state == "" {
		state = sqlStates[r.Code]
	}
	if state == "" {
		state = "XX000"
	}
	detail := "code: " + string(r.Code)
	if r.RequestID != "" {
		detail += "; request: " + r.RequestID
	}
	if len(r.Policies) > 0 {
		detail += "; policies: " + strings.Join(r.Policies, ", ")
	}
	for i, t := range r.Missing {
		if i == 0 {
			detail += "; missing: "
		} else {
			detail += ", "
		}
		detail += t.String()
	}
	m := map[byte]string{'S': severity, 'V': severity, 'C': state, 'M': clean(r.Reason), 'D': clean(detail), 'H': clean(r.Remedy)}
	if r.Position > 0 {
		m['P'] = fmt.Sprint(r.Position)
	}
	return m
}

// clean makes a text fit for a field that ends at a NUL.
func clean(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "") }

// refusalFrom turns any error into what the client is told. Errors that are not meant for the client
// become an internal error; the caller logs them.
func refusalFrom(err error) (r *gate.Refusal, internal bool) {
	if r, ok := gate.AsRefusal(err); ok {
		return r, false
	}
	var m *errMessage
	if errors.As(err, &m) {
		code := gate.NotUnderstood
		if m.state == "54000" {
			code = gate.LimitExceeded
		}
		return &gate.Refusal{Code: code, Reason: m.text, SQLState: m.state, Remedy: "Send a well-formed message within the limits."}, false
	}
	var id *identity.Error
	if errors.As(err, &id) {
		return &gate.Refusal{Code: gate.IdentityRejected, Reason: id.Reason, Remedy: id.Remedy}, false
	}
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "XX000",
		Reason:   "The gateway had an error of its own.",
		Remedy:   "Tell the operator of this gateway; its log names the cause.",
	}, true
}

// refusalOfGuard turns the guard's error into a refusal.
func refusalOfGuard(e *guard.Error) *gate.Refusal {
	r := &gate.Refusal{
		Code:     gate.NotUnderstood,
		Reason:   e.Message,
		Remedy:   e.Remedy,
		SQLState: e.SQLState,
		Position: e.Position,
		Missing:  e.Missing,
	}
	if e.Reason == guard.Denied {
		r.Code = gate.PolicyDenied
	}
	return r
}

func upstreamDown(connection string) *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "08006",
		Reason:   fmt.Sprintf("The database behind connection %s cannot be reached.", connection),
		Remedy:   "Try again; if it stays, tell the operator of this gateway: its log names the cause.",
	}
}

func connectionLost(connection string) *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "08006",
		Reason:   fmt.Sprintf("The connection to the database behind %s was lost; whether the statement took effect is unknown.", connection),
		Remedy:   "Connect again and look before you repeat a write.",
	}
}

// answerTooLarge ends a session whose database sends a row, or another message, that is larger than is forwarded.
func answerTooLarge() *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.LimitExceeded,
		SQLState: "54000",
		Reason:   fmt.Sprintf("A row of the answer is larger than %d MiB, so the session ends; what the statement did before is done.", maxMessage>>20),
		Remedy:   "Connect again and select less: fewer columns, or a part of the value.",
	}
}
