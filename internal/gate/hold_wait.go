package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/policy"
)

// hold waits for people where the decisions ask for it: nil where none does. All held requests of a
// batch wait as one. When it returns without an error the hold is running, and that is on the disk.
func (s *Session) hold(ctx context.Context, batch []judged) (*held, error) {
	needs := needsOf(batch)
	if len(needs) == 0 {
		return nil, nil
	}
	h, number := s.describe(ctx, batch, needs)
	approvals := s.gate.cfg.Approvals
	ticket, err := approvals.Open(ctx, h)
	if err != nil {
		return nil, s.abandon(batch, asUnavailable(s, err))
	}
	note := func(durable bool, a ApprovalBody) error {
		a.ID, a.Hash = ticket.ID, h.Hash
		if err := s.recording.Append(durable, Event{Kind: Approved, Request: number, Body: a}); err != nil {
			return s.unrecorded(err)
		}
		return nil
	}
	if err := note(false, ApprovalBody{State: "pending"}); err != nil {
		return nil, err
	}
	answer, err := s.wait(ctx, ticket)
	if err != nil {
		return nil, s.abandon(batch, errors.Join(withdrawn(ticket), note(false, ApprovalBody{State: "withdrawn"})))
	}
	by := strings.Join(answer.By, ", ")
	if err := note(false, ApprovalBody{State: answer.State, By: by, Reason: answer.Reason}); err != nil {
		return nil, err
	}
	if answer.State != "approved" {
		return nil, s.abandon(batch, unapproved(ticket, answer, by))
	}
	if err := s.recheck(ctx, batch, h); err != nil {
		return nil, s.abandon(batch, errors.Join(err, note(false, ApprovalBody{State: "void", Reason: "something changed while it waited"})))
	}
	if err := approvals.Start(ctx, ticket.ID, h.Hash); err != nil {
		return nil, s.abandon(batch, asUnavailable(s, err))
	}
	if err := note(true, ApprovalBody{State: "running", By: by}); err != nil {
		return nil, errors.Join(err, approvals.Finish(context.WithoutCancel(ctx), ticket.ID, Outcome{Status: "error", Error: "not forwarded: the recording cannot be written"}))
	}
	return &held{id: ticket.ID}, nil
}

// wait blocks until people have answered, while the connector keeps its client company.
func (s *Session) wait(ctx context.Context, t Ticket) (Answer, error) {
	if s.waiting != nil {
		defer s.waiting(t)()
	}
	return s.gate.cfg.Approvals.Wait(ctx, t.ID)
}

// needsOf joins what the requests of a batch ask people for.
func needsOf(batch []judged) []policy.Approval {
	var needs []policy.Approval
	for i := range batch {
		if batch[i].decision.Effect != policy.Hold || batch[i].intent.Prepare {
			continue
		}
		for _, a := range batch[i].decision.Approvals {
			if !slices.Contains(needs, a) {
				needs = append(needs, a)
			}
		}
	}
	return needs
}

// describe puts a hold together as its approvers will see it, and says which request it is recorded with.
func (s *Session) describe(ctx context.Context, batch []judged, needs []policy.Approval) (Hold, uint64) {
	h := Hold{Session: s.id, Principal: s.identity.Principal, Connection: s.connection.Name, Needs: needs}
	var number uint64
	for i := range batch {
		j := &batch[i]
		h.Intents = append(h.Intents, j.intent)
		if j.decision.Effect == policy.Hold && number == 0 {
			number, h.RequestID = j.number, j.id
		}
		for _, t := range j.touches {
			if line := t.String(); !slices.Contains(h.Touches, line) {
				h.Touches = append(h.Touches, line)
			}
		}
		for _, p := range j.decision.Policies {
			if !slices.Contains(h.Policies, p) {
				h.Policies = append(h.Policies, p)
			}
		}
		preview, err := j.request.Preview(ctx)
		if err != nil {
			preview = Preview{Summary: "The effect could not be estimated."}
			s.gate.cfg.Log.Warn("no preview", "session", s.id, "request", j.id, "error", err)
		}
		h.Previews = append(h.Previews, preview)
	}
	h.Hash = h.digest()
	return h, number
}

// digest is the hash that binds an approval: over who asks, where, and all that will run.
func (h *Hold) digest() string {
	b, err := json.Marshal(struct {
		Principal  policy.Principal
		Connection string
		Intents    []Intent
	}{h.Principal, h.Connection, h.Intents})
	if err != nil { // none of these types can fail to marshal
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// recheck looks again at all that can have changed while a batch was held.
func (s *Session) recheck(ctx context.Context, batch []judged, h Hold) error {
	if err := s.live(false); err != nil {
		return err
	}
	s.refresh()
	var now Hold
	now.Principal, now.Connection = h.Principal, h.Connection
	for i := range batch {
		j := &batch[i]
		if err := j.request.Recheck(ctx); err != nil {
			if r, ok := AsRefusal(err); ok {
				return r
			}
			s.gate.cfg.Log.Error("a held request could not be checked again", "session", s.id, "request", j.id, "error", err)
			return internalError()
		}
		now.Intents = append(now.Intents, j.request.Intent())
		d := s.slice.Decide(j.touches)
		if d.Effect == policy.Refuse || d.Effect == policy.Hold && !subset(d.Approvals, h.Needs) {
			return changed("The policies changed while the request waited, and it is not permitted as it was approved.")
		}
	}
	if h.Hash == "" || now.digest() != h.Hash {
		return changed("What the request stands on changed while it waited, so its approval does not fit any more.")
	}
	return nil
}

func subset(now, then []policy.Approval) bool {
	for _, a := range now {
		if !slices.Contains(then, a) {
			return false
		}
	}
	return true
}

// abandon closes the requests of a batch that was held and will not run.
func (s *Session) abandon(batch []judged, why error) error {
	events := make([]Event, len(batch))
	for i := range batch {
		events[i] = Event{Kind: Responded, Request: batch[i].number, Body: Outcome{Status: "refused", Summary: "not approved"}}
	}
	if err := s.recording.Append(false, events...); err != nil {
		return s.unrecorded(err)
	}
	if r, ok := AsRefusal(why); ok && r.RequestID == "" && len(batch) > 0 {
		own := *r
		own.RequestID = batch[0].id
		return &own
	}
	return why
}

func asUnavailable(s *Session, err error) error {
	if r, ok := AsRefusal(err); ok {
		return r
	}
	s.gate.cfg.Log.Error("the approval store failed", "session", s.id, "error", err)
	return &Refusal{
		Code:   Unavailable,
		Reason: "The request needs an approval, and approvals cannot be kept right now.",
		Remedy: "Try again later; the gateway's log names the cause.",
	}
}

func changed(reason string) *Refusal {
	return &Refusal{Code: ApprovalRequired, Reason: reason, Remedy: "Send the request again; it will ask for a new approval."}
}

func withdrawn(t Ticket) *Refusal {
	return &Refusal{
		Code:     ApprovalRequired,
		Reason:   fmt.Sprintf("The request was cancelled while it waited for approval %s, which is withdrawn.", t.ID),
		Remedy:   "Send the request again when it is wanted.",
		SQLState: "57014",
	}
}

func unapproved(t Ticket, a Answer, by string) *Refusal {
	if a.State == "denied" {
		reason := fmt.Sprintf("Approval %s was denied by %s", t.ID, by)
		if a.Reason != "" {
			reason += ": " + a.Reason
		}
		return &Refusal{Code: ApprovalDenied, Reason: strings.TrimSuffix(reason, ".") + ".", Remedy: "Change the request as the answer asks, or talk to the approver."}
	}
	return &Refusal{
		Code:   ApprovalRequired,
		Reason: fmt.Sprintf("Nobody answered approval %s in time.", t.ID),
		Remedy: "Send the request again when an approver is there; " + t.URL + " shows it.",
	}
}
