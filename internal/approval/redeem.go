package approval

import (
	"context"
	"slices"

	"gatehouse/internal/gate"
	"gatehouse/internal/store"
)

// redeem attaches the client to the hold that it left behind, where there is one that nobody else waits for.
func (b *Book) redeem(ctx context.Context, h *gate.Hold, behind []store.Hold) (gate.Ticket, bool, error) {
	for i := range behind {
		kept := &behind[i]
		if kept.Hash != h.Hash || !b.usable(kept) {
			continue
		}
		v, err := b.whole(ctx, kept.ID)
		if err != nil {
			return gate.Ticket{}, false, err
		}
		// Who has to answer must be the same too: the policies may ask for others by now.
		if !slices.Equal(v.Hold.Needs, h.Needs) || !b.attach(kept.ID) {
			continue
		}
		b.o.Log.Info("a request comes again for its approval", "approval", kept.ID, "session", h.Session, "request", h.RequestID, "state", kept.State)
		return gate.Ticket{ID: kept.ID, URL: v.URL, Expires: kept.Expires, Approved: kept.State == store.Approved}, true, nil
	}
	return gate.Ticket{}, false, nil
}

// maxCompared is how many holds are looked at to say why none of them fits.
const maxCompared = 5

// nearest is an approval that looks like a hold and does not fit, and in what: the approved ones before the pending
// ones, the newest first.
func (b *Book) nearest(ctx context.Context, h *gate.Hold, behind []store.Hold) (id string, differs []string, err error) {
	compared := 0
	for _, state := range []store.State{store.Approved, store.Pending} {
		for i := range behind {
			kept := &behind[i]
			if kept.State != state || kept.Hash == h.Hash || !b.usable(kept) || b.attached(kept.ID) || compared == maxCompared {
				continue
			}
			compared++
			v, err := b.whole(ctx, kept.ID)
			if err != nil {
				return "", nil, err
			}
			if what, alike := h.Differs(&v.Hold); alike {
				return kept.ID, what, nil
			}
		}
	}
	return "", nil, nil
}
