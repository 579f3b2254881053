package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"gatehouse/internal/policy"
)

// judged is a request with the decision that was made for it.
type judged struct {
	request Request
	number  uint64
	id      string
	intent  Intent
	touches []policy.Touch
	*decided
	refused bool // this request is why the batch was refused
}

// decided is what the policies say to a list of touches.
type decided struct {
	decision policy.Decision
	count    int             // of the touches
	broken   *Broken         // nil: nobody breaks the glass
	body     json.RawMessage // the DecisionBody as it is recorded, where nothing was refused
}

// undecided is what was not decided: the zero value refuses.
var undecided = &decided{}

// maxDecided bounds what a session remembers.
const maxDecided = 256

// decide decides a list of touches, which is remembered by its identity.
func (s *Session) decide(touches []policy.Touch) *decided {
	key := &touches[0]
	if d := s.decided[key]; d != nil && d.count == len(touches) {
		return d
	}
	d := &decided{decision: s.slice.Decide(touches), count: len(touches)}
	d.broken = s.without(touches, d.decision)
	body := DecisionBody{Decision: d.decision, Version: s.version, BreakGlass: d.broken, Grants: s.grantIDs()}
	body.state(touches, s.slice)
	var err error
	if d.body, err = json.Marshal(body); err != nil {
		d.body = nil
	}
	if s.decided == nil || len(s.decided) >= maxDecided {
		s.decided = map[*policy.Touch]*decided{}
	}
	s.decided[key] = d
	return d
}

func lines(touches []policy.Touch) []string {
	out := make([]string, len(touches))
	for i, t := range touches {
		out[i] = t.String()
	}
	return out
}

// judge understands and decides every request of a batch. The refusal is that of the first request that
// is refused; nil where all are permitted or held.
func (s *Session) judge(ctx context.Context, batch []Request) ([]judged, *Refusal) {
	out := make([]judged, len(batch))
	var first *Refusal
	for i, r := range batch {
		s.requests++
		j := &out[i]
		j.request, j.number, j.id, j.decided = r, s.requests, s.requestID(s.requests), undecided
		refusal := s.judgeOne(ctx, j)
		j.refused = refusal != nil && first == nil
		if j.refused {
			refusal.RequestID = j.id
			s.suggestGrant(refusal)
			first = refusal
		}
	}
	if len(batch) == 0 {
		return nil, &Refusal{Code: NotUnderstood, Reason: "There is nothing to run.", Remedy: "Send a request."}
	}
	return out, first
}

func (s *Session) judgeOne(ctx context.Context, j *judged) *Refusal {
	touches, err := j.request.Touches(ctx)
	j.intent = j.request.Intent()
	j.touches = touches
	if err != nil {
		if r, ok := AsRefusal(err); ok {
			own := *r
			return &own
		}
		s.gate.cfg.Log.Error("a request could not be judged", "session", s.id, "request", j.id, "connection", s.connection.Name, "error", err)
		return internalError()
	}
	if len(touches) == 0 {
		return &Refusal{Code: NotUnderstood, Reason: "What the request does was not understood.", Remedy: "Send a simpler request."}
	}
	j.decided = s.decide(touches)
	if s.barred != nil && !concludes([]Request{j.request}) {
		own := *s.barred
		return &own
	}
	if j.decision.Effect == policy.Permit || j.decision.Effect == policy.Hold && len(j.decision.Approvals) > 0 {
		return nil
	}
	return refusalOf(j.decision)
}

func internalError() *Refusal {
	return &Refusal{
		Code:   Unavailable,
		Reason: "The gateway could not judge this request because of an error of its own.",
		Remedy: "Tell the operator of this gateway the request's id; its log names the cause.",
	}
}

// refusalOf says why a decision refuses.
func refusalOf(d policy.Decision) *Refusal {
	r := &Refusal{Code: PolicyDenied, Policies: d.Policies, Missing: d.Missing}
	switch {
	case len(d.Errors) > 0:
		r.Reason = "A policy could not be evaluated, so nothing is permitted."
		r.Remedy = "Tell the owner of the policies: " + strings.Join(d.Errors, "; ")
	case len(d.Forbidden) > 0:
		r.Policies = d.Forbidden
		r.Reason = fmt.Sprintf("It is forbidden by %s: %s.", list("policy", "policies", d.Forbidden), few(d.Barred))
		r.Remedy = "Leave that out of the request, or ask the owner of the policy."
	default:
		r.Reason = "No policy permits it."
		if len(d.Missing) > 0 {
			r.Reason = "No policy permits: " + few(d.Missing) + "."
		}
		r.Remedy = "Leave that out of the request, or ask a policy owner for a permit."
	}
	return r
}

// few names the first touches.
func few(touches []policy.Touch) string {
	names := lines(touches[:min(3, len(touches))])
	if more := len(touches) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

func list(one, many string, ids []string) string {
	if len(ids) == 1 {
		return one + " " + ids[0]
	}
	return many + " " + strings.Join(ids, ", ")
}

// recordIntent writes what was asked and decided, in one append, before anything is forwarded. The
// requests of a refused batch are closed at once. unsynced says that it has to be on the disk before the batch is
// forwarded, and may not be yet.
func (s *Session) recordIntent(batch []judged, refusal *Refusal) (unsynced bool, err error) {
	events := make([]Event, 0, 3*len(batch))
	durable := false
	for i := range batch {
		j := &batch[i]
		var body any = j.body
		if j.refused || j.body == nil {
			body = j.refusedBody(s, refusal)
		}
		durable = durable || refusal == nil && (j.intent.Durable || j.broken != nil)
		events = append(events,
			Event{Kind: Requested, Request: j.number, Body: RequestBody{ID: j.id, Intent: j.intent.bounded()}},
			Event{Kind: Decided, Request: j.number, Body: body})
		if refusal != nil {
			o := Outcome{Status: "refused"}
			if !j.refused {
				o.Summary = "not forwarded: another request of its batch was refused"
			}
			events = append(events, Event{Kind: Responded, Request: j.number, Body: o})
		}
	}
	held := durable && len(needsOf(batch)) > 0
	if err := s.recording.Append(held, events...); err != nil {
		return false, err
	}
	if refusal == nil {
		s.alarm(batch)
	}
	return durable && !held, nil
}

// refusedBody is the decision as it is recorded where it is not remembered. What was refused for another
// reason than the policies has no decision of theirs.
func (j *judged) refusedBody(s *Session, refusal *Refusal) DecisionBody {
	body := DecisionBody{Version: s.version}
	switch {
	case len(j.touches) > 0:
		body.state(j.touches, s.slice)
	case j.refused && len(refusal.Missing) > 0:
		body.Partial = true
		body.state(refusal.Missing, s.slice)
	}
	if j.decided != nil {
		body.Decision, body.BreakGlass, body.Grants = j.decision, j.broken, s.grantIDs()
	}
	if j.refused {
		body.Refusal = refusal
		if body.Decision.Effect != policy.Refuse {
			body.Decision = policy.Decision{}
		}
	}
	return body
}

// maxRefusedText bounds what is kept of a text that was not understood; one that will run is kept whole.
const maxRefusedText = 64 << 10

func (i Intent) bounded() Intent {
	if i.Text == "" && len(i.Received) > maxRefusedText {
		i.Received = strings.ToValidUTF8(i.Received[:maxRefusedText], "") + "…"
	}
	return i
}
