package approval

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/store"
)

// Propose asks people for something that nobody waits for: it stays, also over a restart, until it is answered or
// too old, and is then done by the option Approved. The hold is one of the gateway itself: it has no connection.
func (b *Book) Propose(ctx context.Context, h gate.Hold, patience time.Duration) (gate.Ticket, error) {
	if b.o.Approved == nil || len(h.Needs) == 0 || h.Connection != "" {
		return gate.Ticket{}, errors.New("approval: nothing can be proposed, or it needs nobody")
	}
	h.Hash = h.Digest()
	return b.open(ctx, store.HoldPublish, h, patience)
}

// carryOut does what was proposed. The store sees to it that it is done once; what cannot be done is withdrawn.
func (b *Book) carryOut(ctx context.Context, h store.Hold) (View, error) {
	ctx = context.WithoutCancel(ctx)
	v, err := b.view(h)
	if err != nil {
		return v, err
	}
	if err := b.o.Approved(ctx, v, h.Hash); err != nil {
		b.o.Log.Error("what was approved could not be done", "approval", h.ID, "error", err)
		why := "it was approved, and could not be done"
		var e *Error
		if errors.As(err, &e) {
			why += ": " + e.Text()
		}
		moved := b.o.Store.Move(ctx, h.ID, []store.State{store.Approved}, store.Withdrawn, why, b.o.Now())
		if e == nil || moved != nil && !errors.Is(moved, store.ErrConflict) {
			return v, errors.Join(err, moved)
		}
	}
	if h, err = b.o.Store.Get(ctx, h.ID); err != nil {
		return v, err
	}
	return b.view(h)
}

// where names a connection, or the gateway itself.
func where(connection string) string {
	if connection == "" {
		return "the gateway itself"
	}
	return "connection " + connection
}
