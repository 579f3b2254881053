package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"gatehouse/internal/approval"
	"gatehouse/internal/breakglass"
	"gatehouse/internal/store"
)

type windowsInput struct {
	State string `query:"state" enum:"open,ended,reviewed" doc:"only windows in this state; ended ones wait for a review"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
}

type windowInput struct {
	ID string `path:"id" pattern:"^bg-[a-z0-9]{1,40}$" doc:"the window's id"`
}

type breakGlassInput struct {
	Body struct {
		Connection string `json:"connection" maxLength:"63"`
		Reason     string `json:"reason" maxLength:"2000" doc:"recorded, and read by whoever reviews"`
		Seconds    int64  `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"how long; 15 minutes by default, or what the policy allows"`
		Agent      string `json:"agent,omitempty" maxLength:"300" doc:"the id of an agent that is in the window in place of the person"`
	}
}

type revokeInput struct {
	ID   string `path:"id" pattern:"^bg-[a-z0-9]{1,40}$" doc:"the window's id"`
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"2000"`
	}
}

type reviewInput struct {
	ID   string `path:"id" pattern:"^bg-[a-z0-9]{1,40}$" doc:"the window's id"`
	Body struct {
		Finding string `json:"finding" maxLength:"2000" doc:"what was looked at, and whether it was right"`
	}
}

func (s *service) registerBreakGlass(api huma.API, operation func(id, method, path, summary string) huma.Operation) {
	huma.Register(api, operation("list-windows", "GET", "/breakglass", "Windows in which somebody breaks the glass, newest first"), func(ctx context.Context, in *windowsInput) (*output[[]breakglass.Window], error) {
		return answer(s, func() ([]breakglass.Window, error) {
			return s.o.Glass.List(ctx, person(ctx), store.WindowState(in.State), in.Limit)
		})
	})
	huma.Register(api, operation("get-window", "GET", "/breakglass/{id}", "One window"), func(ctx context.Context, in *windowInput) (*output[breakglass.Window], error) {
		return answer(s, func() (breakglass.Window, error) { return s.o.Glass.Get(ctx, person(ctx), in.ID) })
	})
	huma.Register(api, operation("break-glass", "POST", "/breakglass", "Break the glass on a connection"), func(ctx context.Context, in *breakGlassInput) (*output[breakglass.Window], error) {
		return answer(s, func() (breakglass.Window, error) {
			b := in.Body
			return s.o.Glass.Open(ctx, person(ctx), breakglass.Ask{Connection: b.Connection, Reason: b.Reason, For: time.Duration(b.Seconds) * time.Second, Agent: b.Agent})
		})
	})
	huma.Register(api, operation("revoke-window", "POST", "/breakglass/{id}/revoke", "End a window at once"), func(ctx context.Context, in *revokeInput) (*output[breakglass.Window], error) {
		return answer(s, func() (breakglass.Window, error) {
			return s.o.Glass.Revoke(ctx, person(ctx), in.ID, in.Body.Reason)
		})
	})
	huma.Register(api, operation("review-window", "POST", "/breakglass/{id}/review", "Mark a window that ended as reviewed"), func(ctx context.Context, in *reviewInput) (*output[breakglass.Window], error) {
		return answer(s, func() (breakglass.Window, error) {
			return s.o.Glass.Review(ctx, person(ctx), in.ID, in.Body.Finding)
		})
	})
}

// windowStates are the states of windows in a list of what waits for people.
var windowStates = map[string]store.WindowState{"open": store.WindowOpen, breakglass.AwaitingReview: store.WindowEnded, "reviewed": store.WindowReviewed}

// list gives what waits for people, held requests and windows, the newest first.
func (s *service) list(ctx context.Context, state string, limit int) ([]approval.View, error) {
	var holds, windows []approval.View
	if kept, ofWindow := windowStates[state]; ofWindow || state == "" {
		list, err := s.o.Glass.List(ctx, person(ctx), kept, limit)
		if err != nil {
			return nil, err
		}
		for i := range list {
			windows = append(windows, list[i].View())
		}
		if ofWindow {
			return append([]approval.View{}, windows...), nil
		}
	}
	holds, err := s.o.Book.List(ctx, person(ctx), state, limit)
	if err != nil {
		return nil, err
	}
	granted, err := s.grants(ctx, state, limit)
	if err != nil {
		return nil, err
	}
	all := slices.Concat([]approval.View{}, holds, windows, granted)
	slices.SortStableFunc(all, func(a, b approval.View) int { return b.Created.Compare(a.Created) })
	return all[:min(limit, len(all))], nil
}

// get gives one of what waits for people.
func (s *service) get(ctx context.Context, id string) (approval.View, error) {
	if strings.HasPrefix(id, "bg-") {
		w, err := s.o.Glass.Get(ctx, person(ctx), id)
		return w.View(), err
	}
	if strings.HasPrefix(id, "gr-") {
		g, err := s.o.Grants.Get(ctx, person(ctx), id)
		return g.View(), err
	}
	return s.o.Book.Get(ctx, person(ctx), id)
}
