package gate

import (
	"cmp"
	"slices"
	"time"

	"gatehouse/internal/policy"
)

// Live is a session that is open now.
type Live struct {
	ID         string           `json:"id"`
	Opened     time.Time        `json:"opened"`
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	Protocol   string           `json:"protocol"`
	Client     string           `json:"client,omitempty"`

	kill func(reason string, r *Refusal)
}

// Live are the sessions that are open now, the newest first.
func (g *Gate) Live() []Live {
	var out []Live
	g.live.Range(func(_, v any) bool {
		out = append(out, *v.(*Live))
		return true
	})
	slices.SortFunc(out, func(a, b Live) int { return cmp.Or(b.Opened.Compare(a.Opened), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Kill ends a session from outside: nothing starts in it any more, what runs is stopped, who waits for an approval waits no
// more. The client is told the refusal. false where no such session is open.
func (g *Gate) Kill(id string, r *Refusal) bool {
	v, ok := g.live.Load(id)
	if !ok || v.(*Live).kill == nil {
		return false
	}
	v.(*Live).kill("killed", r)
	return true
}
