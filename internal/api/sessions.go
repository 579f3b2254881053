package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

type killInput struct {
	ID   string `path:"id" pattern:"^s-[a-z0-9]{1,40}$" doc:"the session's id"`
	Body struct {
		Reason string `json:"reason" maxLength:"2000" doc:"recorded, and told to the client"`
	}
}

// Killed is what came of ending a session.
type Killed struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

func (s *service) registerSessions(api huma.API, operation func(id, method, path, summary string) huma.Operation) {
	huma.Register(api, operation("list-sessions", "GET", "/sessions", "Sessions that are open now, newest first"), func(ctx context.Context, _ *struct{}) (*output[[]gate.Live], error) {
		return answer(s, func() ([]gate.Live, error) { return s.sessions(person(ctx)), nil })
	})
	huma.Register(api, operation("kill-session", "POST", "/sessions/{id}/kill", "End a session at once"), func(ctx context.Context, in *killInput) (*output[Killed], error) {
		return answer(s, func() (Killed, error) { return s.kill(ctx, person(ctx), in.ID, in.Body.Reason) })
	})
}

// on says whether a person may do something on a connection.
func (s *service) on(p policy.Principal, action, connection string) bool {
	for _, c := range s.o.Connections {
		if c.Name == connection {
			return s.o.Policies().At(p, policy.Moment{Millis: time.Now().UnixMilli()}).Decide([]policy.Touch{{Action: action, Resource: c.Resource()}}).Effect == policy.Permit
		}
	}
	return false
}

// own says whether a session is a person's own, or of an agent that acts for them.
func own(p policy.Principal, l gate.Live) bool {
	for at := &l.Principal; at != nil; at = at.OnBehalfOf {
		if at.Kind == policy.User && at.ID == p.ID {
			return true
		}
	}
	return false
}

// sessions are those that a person may know of: their own, and those on connections that they review, or may kill sessions on.
func (s *service) sessions(who identity.Identity) []gate.Live {
	out := []gate.Live{}
	may := map[string]bool{}
	for _, l := range s.o.Gate.Live() {
		known, ok := may[l.Connection]
		if !ok {
			known = s.on(who.Principal, "review", l.Connection) || s.on(who.Principal, "kill", l.Connection)
			may[l.Connection] = known
		}
		if known || own(who.Principal, l) {
			out = append(out, l)
		}
	}
	return out
}

// kill ends a session. It is recorded before it is done.
func (s *service) kill(ctx context.Context, who identity.Identity, id, reason string) (Killed, error) {
	reason = strings.TrimSpace(reason)
	if reason == "" {
		return Killed{}, &approval.Error{Kind: approval.Invalid, Reason: "Ending a session needs a reason: it is recorded, and the client is told."}
	}
	none := &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no open session %q, or you may not see it.", id), Remedy: "List them with `gatehouse sessions live`."}
	var one *gate.Live
	for _, l := range s.sessions(who) {
		if l.ID == id {
			one = &l
			break
		}
	}
	if one == nil {
		return Killed{}, none
	}
	if !own(who.Principal, *one) && !s.on(who.Principal, "kill", one.Connection) {
		return Killed{}, &approval.Error{Kind: approval.NotAllowed, Reason: fmt.Sprintf("No policy lets you end sessions on connection %s.", one.Connection), Remedy: "Ask a policy owner for a permit of the action kill."}
	}
	name := who.Principal.Name
	if name == "" {
		name = who.Principal.ID
	}
	touch := policy.Touch{Action: "kill", Resource: gate.Connection{Name: one.Connection}.Resource()}
	act := gate.Act{Who: who, Settled: true, Intent: gate.Intent{Text: fmt.Sprintf("kill session %s of %s on %s: %s", id, one.Principal, one.Connection, reason), Durable: true}, Touches: []policy.Touch{touch}}
	err := s.o.Gate.Act(ctx, act, func(context.Context, policy.Decision) (string, error) {
		if !s.o.Gate.Kill(id, &gate.Refusal{Code: gate.Unavailable, Reason: fmt.Sprintf("The session was ended by %s: %s", name, reason), Remedy: "Ask them before you connect again."}) {
			return "", none
		}
		return id + " is killed", nil
	})
	if err != nil {
		return Killed{}, err
	}
	s.o.Log.Warn("a session was killed", "session", id, "person", who.Principal.ID, "principal", one.Principal.ID, "connection", one.Connection)
	return Killed{ID: id, At: time.Now().UTC()}, nil
}
