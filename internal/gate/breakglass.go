package gate

import (
	"context"
	"slices"
	"time"

	"gatehouse/internal/policy"
)

// Window is a time in which a principal breaks the glass on a connection: it is in policy.BreakGlassGroup there. It
// is never changed; while it is open the same one is given.
type Window struct {
	ID         string
	Kind       policy.Kind // of the principal
	Principal  string      // its id
	Connection string
	Expires    time.Time
}

// BreakGlass says who breaks the glass.
type BreakGlass interface {
	// Windows are those that are open now on a connection for the principal, or for whom it acts for. It is asked
	// before every batch; where nobody breaks the glass it costs next to nothing.
	Windows(p *policy.Principal, connection string) []*Window
	// Used keeps that a session makes use of a window, for whoever reviews it. After an error it must not.
	Used(ctx context.Context, w *Window, session string) error
}

// Broken says of a decision that it was made while somebody broke the glass.
type Broken struct {
	Windows []string `json:"windows"`
	// Otherwise is what the decision would have been: "refuse", "hold", "permit"; where only its terms are others, with
	// ", showing less" (masks, rows, limits) and ", by other approvals" behind it.
	Otherwise string `json:"otherwise"`
}

// windows are those that a session makes use of now. One whose use cannot be kept is not used.
func (s *Session) windows() []*Window {
	if s.gate.cfg.BreakGlass == nil {
		return nil
	}
	open := s.gate.cfg.BreakGlass.Windows(&s.identity.Principal, s.connection.Name)
	if len(open) == 0 || slices.Equal(open, s.broken) {
		return open
	}
	return slices.DeleteFunc(slices.Clone(open), func(w *Window) bool {
		if slices.Contains(s.broken, w) {
			return false
		}
		if err := s.gate.cfg.BreakGlass.Used(context.Background(), w, s.id); err != nil {
			s.gate.cfg.Log.Error("break-glass: a window is not used, because that could not be kept", "session", s.id, "window", w.ID, "error", err)
			return true
		}
		s.gate.cfg.Log.Warn("break-glass: a session uses a window", "alert", "break-glass", "session", s.id, "connection", s.connection.Name, "principal", s.identity.Principal.ID, "window", w.ID)
		return false
	})
}

// breaking is a principal in the windows that are open.
func breaking(p policy.Principal, windows []*Window) policy.Principal {
	for _, w := range windows {
		p = p.Breaking(w.Kind, w.Principal)
	}
	return p
}

// without says what breaking the glass did to a decision; nil where no window is open.
func (s *Session) without(touches []policy.Touch, d policy.Decision) *Broken {
	if len(s.broken) == 0 {
		return nil
	}
	out := &Broken{}
	for _, w := range s.broken {
		out.Windows = append(out.Windows, w.ID)
	}
	otherwise := s.plain.Decide(touches)
	out.Otherwise = otherwise.Effect.String()
	less := func(t policy.Touch) bool {
		now, then := s.slice.Verdict(t), s.plain.Verdict(t)
		return now.Mask != then.Mask || !now.Rows.Within(then.Rows) || !then.Rows.Within(now.Rows)
	}
	if otherwise.Effect != d.Effect {
		return out
	}
	if otherwise.Limit != d.Limit || slices.ContainsFunc(touches, less) {
		out.Otherwise += ", showing less"
	}
	if !slices.Equal(otherwise.Approvals, d.Approvals) {
		out.Otherwise += ", by other approvals"
	}
	return out
}

// alarm says loudly, in the log, that a request runs only because somebody breaks the glass.
func (s *Session) alarm(batch []judged) {
	for i := range batch {
		b := batch[i].broken
		if b != nil && b.Otherwise != batch[i].decision.Effect.String() {
			s.gate.cfg.Log.Warn("break-glass: a request runs that would not otherwise", "alert", "break-glass", "session", s.id, "request", batch[i].id,
				"connection", s.connection.Name, "principal", s.identity.Principal.ID, "windows", b.Windows, "otherwise", b.Otherwise)
		}
	}
}
