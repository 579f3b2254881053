package gate

import (
	"context"
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
	if s.unattended {
		return nil, s.abandon(batch, &Refusal{Code: ApprovalRequired, Reason: "The request needs an approval, and nobody is there to wait for one.", Remedy: "Send it with a client of your own."})
	}
	h, number, err := s.describe(ctx, batch, needs)
	if err != nil {
		return nil, s.abandon(batch, err)
	}
	approvals := s.gate.cfg.Approvals
	ticket, err := approvals.Open(ctx, h)
	if err != nil {
		return nil, s.abandon(batch, asUnavailable(s, err))
	}
	defer approvals.Leave(ticket.ID)
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
		return nil, s.abandon(batch, s.unanswered(ctx, ticket, note))
	}
	by := strings.Join(answer.By, ", ")
	if err := note(false, ApprovalBody{State: answer.State, By: by, Reason: answer.Reason, MaxRows: answer.MaxRows}); err != nil {
		return nil, err
	}
	if answer.State != "approved" {
		return nil, s.abandon(batch, unapproved(ticket, answer, by))
	}
	if answer.MaxRows > 0 && !h.Countable() {
		return nil, s.abandon(batch, changed("The approver bounded the rows that change, and they are not counted for this request."))
	}
	if err := s.recheck(ctx, batch, h); err != nil {
		why := "something changed while it waited"
		return nil, s.abandon(batch, errors.Join(err, note(false, ApprovalBody{State: "void", Reason: why}), approvals.Void(context.WithoutCancel(ctx), ticket.ID, why)))
	}
	if err := approvals.Start(ctx, ticket.ID, h.Hash); err != nil {
		return nil, s.abandon(batch, asUnavailable(s, err))
	}
	if err := note(true, ApprovalBody{State: "running", By: by, Version: s.version, MaxRows: answer.MaxRows}); err != nil {
		return nil, errors.Join(err, approvals.Finish(context.WithoutCancel(ctx), ticket.ID, Outcome{Status: "error", Error: "not forwarded: the recording cannot be written"}))
	}
	return &held{id: ticket.ID, maxRows: answer.MaxRows}, nil
}

// unanswered ends a wait that the client ended: one that took its request back has withdrawn it, one that only stopped
// waiting has left it to be sent again.
func (s *Session) unanswered(ctx context.Context, t Ticket, note func(bool, ApprovalBody) error) error {
	if !errors.Is(context.Cause(ctx), ErrWithdrawn) {
		return errors.Join(left(t, context.Cause(ctx)), note(false, ApprovalBody{State: "left"}))
	}
	return errors.Join(withdrawn(t), note(false, ApprovalBody{State: "withdrawn"}),
		s.gate.cfg.Approvals.Void(context.WithoutCancel(ctx), t.ID, "cancelled by the client"))
}

// wait blocks until people have answered, while the connector keeps its client company.
func (s *Session) wait(ctx context.Context, t Ticket) (Answer, error) {
	defer s.gate.held.enter(s.gate.cfg.Now())()
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
func (s *Session) describe(ctx context.Context, batch []judged, needs []policy.Approval) (Hold, uint64, error) {
	h := Hold{Session: s.id, Principal: s.identity.Principal, Connection: s.connection.Name, Needs: needs}
	var number uint64
	for i := range batch {
		j := &batch[i]
		bound, err := j.request.Bound(ctx)
		if err != nil {
			return h, 0, s.unchecked(j, err)
		}
		h.Intents = append(h.Intents, bound)
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
	h.Hash = h.Digest()
	return h, number, nil
}

// unchecked is the refusal where a held request could not be looked at.
func (s *Session) unchecked(j *judged, err error) error {
	if r, ok := AsRefusal(err); ok {
		return r
	}
	s.gate.cfg.Log.Error("a held request could not be looked at", "session", s.id, "request", j.id, "error", err)
	return internalError()
}

// recheck looks again at all that can have changed while a batch was held.
func (s *Session) recheck(ctx context.Context, batch []judged, h Hold) error {
	if err := s.live(false); err != nil {
		return err
	}
	s.refresh()
	if s.barred != nil {
		return s.barred
	}
	var now Hold
	now.Principal, now.Connection = h.Principal, h.Connection
	for i := range batch {
		j := &batch[i]
		if err := j.request.Recheck(ctx); err != nil {
			return s.unchecked(j, err)
		}
		bound, err := j.request.Bound(ctx)
		if err != nil {
			return s.unchecked(j, err)
		}
		now.Intents = append(now.Intents, bound)
		d := s.slice.Decide(j.touches)
		if d.Effect == policy.Refuse || d.Effect == policy.Hold && !subset(d.Approvals, h.Needs) {
			return changed("The policies changed while the request waited, and it is not permitted as it was approved.")
		}
	}
	if h.Hash == "" || now.Digest() != h.Hash {
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

func left(t Ticket, cause error) *Refusal {
	why := "Nobody waits for it any more"
	if errors.Is(cause, ErrWaitedEnough) {
		why = "The client's own limit of time for a statement is over"
	}
	return &Refusal{
		Code:     ApprovalRequired,
		Reason:   fmt.Sprintf("%s: approval %s stays open until %s.", why, t.ID, t.Expires.UTC().Format("15:04:05 MST")),
		Remedy:   "Send exactly the same request again: once it is approved it runs, once.",
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
