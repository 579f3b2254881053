package gate

import (
	"time"

	"gatehouse/internal/policy"
)

// EventKind names what an event of a recording is.
type EventKind string

// The kinds of events, in the order in which they come in a session.
const (
	SessionOpened EventKind = "session.open"
	Requested     EventKind = "request"
	Decided       EventKind = "decision"
	Approved      EventKind = "approval"
	ResultSchema  EventKind = "result.schema"
	ResultRows    EventKind = "result.rows"
	LeftOut       EventKind = "result.left_out"
	StreamBytes   EventKind = "stream.bytes"
	Alerted       EventKind = "alert"
	Notified      EventKind = "notification"
	Responded     EventKind = "response"
	SessionClosed EventKind = "session.close"
)

// AlertBody is the body of an alert: an answer that did not fit what was asked, so that the session ended.
type AlertBody struct {
	Reason string `json:"reason"`
}

// Event is one thing that happened in a session.
type Event struct {
	Kind EventKind
	// Request is the number of the request in its session, from 1; 0 for the session's own events.
	Request uint64
	// Body is written as JSON, a json.RawMessage as it is. Its shape belongs to the kind.
	Body any
	// Data are raw bytes as the client saw them (wire frames); the connector's reader decodes them.
	// It may be reused by the caller after the append returned.
	Data []byte
}

// Recorder opens the recording of a session.
type Recorder interface {
	Open(info SessionInfo) (Recording, error)
}

// Recording is the append side of one session's recording. Safe for concurrent use.
type Recording interface {
	// Append writes the events, in order and together. When it returns nil they are in the journal
	// file; with durable they are on the disk as well. After an error nothing may be forwarded.
	Append(durable bool, events ...Event) error
	// Sync is back when everything that was appended before is on the disk.
	Sync() error
	// Close writes the last event, a SessionClosed. Appending after it fails.
	Close(SessionEnd) error
}

// SessionInfo is the body of SessionOpened.
type SessionInfo struct {
	ID         string           `json:"id"`
	Opened     time.Time        `json:"opened"`
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	Protocol   string           `json:"protocol"`
	Client     string           `json:"client,omitempty"` // address of the client
	// Attributes are what the client said of itself (application_name); they decide nothing.
	Attributes    map[string]string `json:"attributes,omitempty"`
	PolicyVersion string            `json:"policy_version"`
	// Connect is the decision on connecting. Where it refuses, it is the session's first request too.
	Connect *DecisionBody `json:"connect,omitempty"`
}

// SessionEnd is the body of SessionClosed.
type SessionEnd struct {
	Closed   time.Time `json:"closed"`
	Reason   string    `json:"reason"` // "client", "expired", "killed", "shutdown", "error", "interrupted"
	Detail   string    `json:"detail,omitempty"`
	Requests uint64    `json:"requests"`
}

// RequestBody is the body of Requested.
type RequestBody struct {
	ID     string `json:"id"`
	Intent Intent `json:"intent"`
}

// DecisionBody is the body of Decided.
type DecisionBody struct {
	Decision policy.Decision `json:"decision"`
	Touches  []string        `json:"touches,omitempty"`
	// Facts are those of each touch, in the same order. Judged reads them.
	Facts []Fact `json:"facts,omitempty"`
	// Places are where the things are that were touched: all that each is part of, nearest first.
	Places [][]policy.Entity `json:"places,omitempty"`
	// Partial is set where the request was refused before all of its touches were known.
	Partial bool   `json:"partial,omitempty"`
	Version string `json:"policy_version"`
	// BreakGlass is set where the decision was made while somebody broke the glass.
	BreakGlass *Broken `json:"break_glass,omitempty"`
	// Grants are the ids of those that it was made with.
	Grants []string `json:"grants,omitempty"`
	// Refusal is what the client was told, where the request was refused.
	Refusal *Refusal `json:"refusal,omitempty"`
}

// ApprovalBody is the body of Approved: each change of a hold's state.
type ApprovalBody struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	Hash   string `json:"hash,omitempty"`
	// MaxRows is the approvers' bound on the rows that change; 0: none.
	MaxRows int64 `json:"max_rows,omitempty"`
	// Version names, where the request runs now, the policies by which it was looked at again.
	Version string `json:"policy_version,omitempty"`
}

// StreamBody is the body of StreamBytes: what a client sent into an open request. It is not kept whole; the
// hash proves what it was.
type StreamBody struct {
	// Ended is how the stream ended: "done", or "failed" where the client or the server gave it up.
	Ended  string `json:"ended"`
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256"` // of the bytes without the protocol's framing, in hex
}

// NotificationBody is the body of Notified: what came to the client without a request.
type NotificationBody struct {
	Channel string `json:"channel"`
	Payload string `json:"payload,omitempty"`
}

// Outcome is the body of Responded: how a forwarded request ended.
type Outcome struct {
	// Status is "ok", "error", or "unknown" where the connection was lost before the answer.
	Status string `json:"status"`
	// Summary is the protocol's own word for it: a command tag, an HTTP status.
	Summary string `json:"summary,omitempty"`
	// Error is the error as the client saw it.
	Error string `json:"error,omitempty"`
	Rows  uint64 `json:"rows,omitempty"`
	Bytes uint64 `json:"bytes,omitempty"`
}
