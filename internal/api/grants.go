package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"gatehouse/internal/approval"
	"gatehouse/internal/grant"
	"gatehouse/internal/store"
)

type grantsInput struct {
	State string `query:"state" enum:"pending,granted,denied,withdrawn,lapsed,expired,revoked" doc:"only grants in this state"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type grantInput struct {
	ID string `path:"id" pattern:"^gr-[a-z0-9]{1,40}$" doc:"the grant's id"`
}

type requestInput struct {
	Body struct {
		Connection string `json:"connection" maxLength:"63"`
		Group      string `json:"group" maxLength:"200" doc:"the group to be in"`
		Reason     string `json:"reason" maxLength:"2000" doc:"recorded, and read by whoever grants it"`
		Seconds    int64  `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"how long; half an hour by default"`
		Agent      string `json:"agent,omitempty" maxLength:"300" doc:"the id of an agent that is in the group in place of the person"`
	}
}

type answerGrantInput struct {
	ID   string `path:"id" pattern:"^gr-[a-z0-9]{1,40}$" doc:"the grant's id"`
	Body struct {
		Seconds int64  `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"how long, where that is less than was asked for"`
		Reason  string `json:"reason,omitempty" maxLength:"2000"`
	}
}

func (s *service) registerGrants(api huma.API, operation func(id, method, path, summary string) huma.Operation) {
	huma.Register(api, operation("list-grants", "GET", "/grants", "Groups that somebody has, or asks for, for a time, newest first"), func(ctx context.Context, in *grantsInput) (*output[[]grant.Grant], error) {
		return answer(s, func() ([]grant.Grant, error) {
			return s.o.Grants.List(ctx, person(ctx), store.GrantState(in.State), in.Limit)
		})
	})
	huma.Register(api, operation("get-grant", "GET", "/grants/{id}", "One grant"), func(ctx context.Context, in *grantInput) (*output[grant.Grant], error) {
		return answer(s, func() (grant.Grant, error) { return s.o.Grants.Get(ctx, person(ctx), in.ID) })
	})
	huma.Register(api, operation("request-access", "POST", "/grants", "Ask for a group on a connection"), func(ctx context.Context, in *requestInput) (*output[grant.Grant], error) {
		return answer(s, func() (grant.Grant, error) {
			b := in.Body
			return s.o.Grants.Request(ctx, person(ctx), grant.Ask{Connection: b.Connection, Group: b.Group, Reason: b.Reason, For: time.Duration(b.Seconds) * time.Second, Agent: b.Agent})
		})
	})
	for _, one := range []struct {
		verb, summary string
		do            func(context.Context, *answerGrantInput) (grant.Grant, error)
	}{
		{"give", "Grant what was asked for", func(ctx context.Context, in *answerGrantInput) (grant.Grant, error) {
			return s.o.Grants.Give(ctx, person(ctx), in.ID, time.Duration(in.Body.Seconds)*time.Second, in.Body.Reason)
		}},
		{"deny", "Deny what was asked for", func(ctx context.Context, in *answerGrantInput) (grant.Grant, error) {
			return s.o.Grants.Deny(ctx, person(ctx), in.ID, in.Body.Reason)
		}},
		{"revoke", "End a grant at once, or take back what was asked for", func(ctx context.Context, in *answerGrantInput) (grant.Grant, error) {
			return s.o.Grants.Revoke(ctx, person(ctx), in.ID, in.Body.Reason)
		}},
	} {
		huma.Register(api, operation(one.verb+"-grant", "POST", "/grants/{id}/"+one.verb, one.summary), func(ctx context.Context, in *answerGrantInput) (*output[grant.Grant], error) {
			return answer(s, func() (grant.Grant, error) { return one.do(ctx, in) })
		})
	}
}

// grantStates are the states of grants in a list of what waits for people.
var grantStates = map[string]store.GrantState{"": "", "pending": store.GrantPending, "denied": store.GrantDenied, "expired": store.GrantExpired, "withdrawn": store.GrantWithdrawn}

// grants are those in a list of what waits for people.
func (s *service) grants(ctx context.Context, state string, limit int) ([]approval.View, error) {
	kept, ok := grantStates[state]
	if !ok {
		return nil, nil
	}
	list, err := s.o.Grants.List(ctx, person(ctx), kept, limit)
	if err != nil {
		return nil, err
	}
	var out []approval.View
	for i := range list {
		out = append(out, list[i].View())
	}
	return out, nil
}
