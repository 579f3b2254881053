package gate

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// GatewayConnection stands where a recording names a connection, for what people do to the gateway itself. No
// connection can have that name.
const GatewayConnection = "(gateway)"

// Act is something that a person asks of the gateway itself.
type Act struct {
	Who     identity.Identity
	Intent  Intent // what will be done; recorded
	Touches []policy.Touch
	// Approval is the one that lets it happen, where somebody asked for it before and was held.
	Approval *ApprovalBody
	// Settled says that somebody else has found out whether the person may, and that do knows it.
	Settled bool
	// Protocol is "control" where it is empty.
	Protocol string
}

// Act decides and records what a person asks of the gateway itself, then does it: as a session of its own, with
// one request. Nothing is done unrecorded: the intent is on the disk before do is called. do is given a decision
// that permits or holds, and sees to what it asks for; its summary is recorded as the outcome.
//
// A *Refusal is for the person.
func (g *Gate) Act(ctx context.Context, a Act, do func(context.Context, policy.Decision) (summary string, err error)) error {
	set := g.cfg.Policies()
	slice := set.At(a.Who.Principal, policy.Moment{Millis: g.cfg.Now().UnixMilli()})
	d := slice.Decide(a.Touches)
	s := &Session{gate: g, id: newID("s-"), identity: a.Who, connection: Connection{Name: GatewayConnection}, slice: slice, version: set.Version()}
	if a.Settled {
		d = policy.Decision{Effect: policy.Permit}
	}
	var refusal *Refusal
	if d.Effect == policy.Refuse || d.Effect == policy.Hold && len(d.Approvals) == 0 {
		refusal = refusalOf(d)
		refusal.RequestID = s.requestID(1)
	}
	if err := s.begin(a, d, refusal); err != nil {
		return s.unrecorded(err)
	}
	if refusal != nil {
		return errors.Join(refusal, s.Close("done", "refused"))
	}
	summary, err := do(ctx, d)
	o := Outcome{Status: "ok", Summary: summary}
	if err != nil {
		o = Outcome{Status: "error", Summary: summary, Error: err.Error()}
	}
	end := s.recording.Append(true, Event{Kind: Responded, Request: 1, Body: o})
	if end = errors.Join(end, s.Close("done", "")); end != nil {
		g.cfg.Log.Error("how it ended could not be recorded", "session", s.id, "error", end)
	}
	return err
}

// begin records what is asked and decided, on the disk.
func (s *Session) begin(a Act, d policy.Decision, refusal *Refusal) error {
	protocol := a.Protocol
	if protocol == "" {
		protocol = "control"
	}
	var err error
	s.recording, err = s.gate.cfg.Recorder.Open(SessionInfo{
		ID: s.id, Opened: s.gate.cfg.Now(), Principal: s.identity.Principal, Connection: s.connection.Name,
		Protocol: protocol, PolicyVersion: s.version,
	})
	if err != nil {
		return err
	}
	s.requests = 1
	body := DecisionBody{Decision: d, Version: s.version, Refusal: refusal}
	body.state(a.Touches, s.slice)
	events := []Event{
		{Kind: Requested, Request: 1, Body: RequestBody{ID: s.requestID(1), Intent: a.Intent}},
		{Kind: Decided, Request: 1, Body: body},
	}
	if a.Approval != nil {
		events = append(events, Event{Kind: Approved, Request: 1, Body: *a.Approval})
	}
	if refusal != nil {
		events = append(events, Event{Kind: Responded, Request: 1, Body: Outcome{Status: "refused"}})
	}
	if err := s.recording.Append(true, events...); err != nil {
		return fmt.Errorf("record %s: %w", s.id, err)
	}
	return nil
}
