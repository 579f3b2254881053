package grpc

import (
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gatehouse/internal/gate"
)

// domain is that of every google.rpc.ErrorInfo.
const domain = "gatehouse"

// slow is how often a service that cannot be reached is dialled again: calls fail at once in between.
var slow = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}

// statuses are those that refusals are sent with.
var statuses = map[gate.Code]codes.Code{
	gate.PolicyDenied: codes.PermissionDenied, gate.ApprovalDenied: codes.PermissionDenied, gate.ApprovalRequired: codes.FailedPrecondition, gate.NotUnderstood: codes.InvalidArgument,
	gate.IdentityRejected: codes.Unauthenticated, gate.LimitExceeded: codes.ResourceExhausted, gate.Unavailable: codes.Unavailable,
}

// refusal is a refusal as a status: its message says why and what to do next, its google.rpc.ErrorInfo the same for a
// program. code OK is that of its class.
func refusal(r *gate.Refusal, code codes.Code, approval string) error {
	if code == codes.OK {
		code = statuses[r.Code]
	}
	if code == codes.OK {
		code = codes.Internal
	}
	info := &errdetails.ErrorInfo{Reason: strings.ToUpper(string(r.Code)), Domain: domain, Metadata: map[string]string{"code": string(r.Code)}}
	add := func(name, value string) {
		if value != "" {
			info.Metadata[name] = strings.ToValidUTF8(value, "?")
		}
	}
	add("remedy", r.Remedy)
	add("policies", strings.Join(r.Policies, ","))
	var missing []string
	for _, t := range r.Missing {
		missing = append(missing, t.String())
	}
	add("missing", strings.Join(missing, "; "))
	add("request_id", r.RequestID)
	add("approval", approval)
	message := strings.ToValidUTF8(r.Reason+" "+r.Remedy, "?")
	if approval != "" {
		message += " " + approval
	}
	s, err := status.New(code, message).WithDetails(info)
	if err != nil { // the detail is a message of a known type
		return status.Error(code, message)
	}
	return s.Err()
}

// withheldError is an answer that is not given to the client, and why.
type withheldError struct{ reason, remedy string }

func (e *withheldError) Error() string { return e.reason }

func ownError(r string) *gate.Refusal {
	return &gate.Refusal{Code: gate.Unavailable, Reason: "The gateway had an error of its own.", Remedy: "Tell the operator of this gateway; its log names the cause.", RequestID: r}
}

// asRefusal is the refusal of an error on the way to an admitted call; nil where it is none.
func asRefusal(err error) *gate.Refusal {
	if r, ok := gate.AsRefusal(err); ok {
		return r
	}
	switch {
	case errors.Is(err, gate.ErrStopped):
		return stopping()
	case errors.Is(err, gate.ErrCrowded):
		return &gate.Refusal{Code: gate.LimitExceeded, Reason: "Too many calls with this token wait to be decided.", Remedy: "Send fewer at a time."}
	}
	return nil
}

func stopping() *gate.Refusal {
	return &gate.Refusal{Code: gate.Unavailable, Reason: "The gateway is stopping.", Remedy: "Send the call again."}
}

func expired() *gate.Refusal {
	return &gate.Refusal{Code: gate.IdentityRejected, Reason: "The token that this call was made with has expired.", Remedy: "Get a fresh token (`gatehouse token`) and call again."}
}
