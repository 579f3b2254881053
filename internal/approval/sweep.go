package approval

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/internal/notify"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// sweep is how often Run looks for holds whose time is over.
const sweep = 5 * time.Second

// Run ends holds that nobody waits for when their time is over, until ctx ends.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	if err := b.resume(ctx); err != nil && ctx.Err() == nil {
		b.o.Log.Error("holds that wait were not looked at: no other group is told of them", "error", err)
	}
	for {
		select {
		case <-tick.C:
			if err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
				b.o.Log.Error("holds whose time is over cannot be ended", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// escalateLater notes when the next of the groups that a hold's needs escalate to has to be told.
func (b *Book) escalateLater(id string, needs []policy.Approval, created time.Time) {
	var next time.Time
	for _, n := range needs {
		at := created.Add(time.Duration(n.After) * time.Second)
		if n.Escalate != "" && b.o.Now().Before(at) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if next.IsZero() {
		delete(b.escalating, id)
	} else {
		b.escalating[id] = next
	}
}

// resume notes which of the holds that wait since before a restart escalate.
func (b *Book) resume(ctx context.Context) error {
	list, err := b.o.Store.List(ctx, store.Pending, maxPending, maxListed)
	if err != nil {
		return err
	}
	for _, h := range list {
		v, err := b.view(h)
		if err != nil {
			return err
		}
		b.escalateLater(v.ID, v.Hold.Needs, v.Created)
	}
	return nil
}

// escalate tells other groups of holds that have waited for long.
func (b *Book) escalate(ctx context.Context) error {
	now := b.o.Now()
	var due []string
	b.mu.Lock()
	for id, at := range b.escalating {
		if !now.Before(at) {
			due = append(due, id)
		}
	}
	b.mu.Unlock()
	for _, id := range due {
		v, err := b.whole(ctx, id)
		if err != nil {
			return err
		}
		if v.State == string(store.Pending) {
			e := b.event(notify.Pending, store.Hold{ID: v.ID, Created: now, Expires: v.Expires}, v.Hold)
			e.Groups = nil
			for _, n := range v.Hold.Needs {
				if b.escalated(n, v.Created) && !slices.Contains(e.Groups, n.Escalate) {
					e.Groups = append(e.Groups, n.Escalate)
				}
			}
			if err := b.o.Store.Tell(ctx, b.o.Notify.Messages(e)...); err != nil {
				return err
			}
			b.o.Notify.Wake()
			b.o.Log.Info("an approval is escalated", "approval", id, "groups", e.Groups)
		}
		b.escalateLater(id, v.Hold.Needs, v.Created)
	}
	return nil
}

// Sweep ends the holds whose time is over: pending ones that nobody answered, approved ones that nobody used. It tells others
// of those that wait for long.
func (b *Book) Sweep(ctx context.Context) error {
	now := b.o.Now()
	return errors.Join(b.expireLate(ctx, now), b.escalate(ctx))
}

func (b *Book) expireLate(ctx context.Context, now time.Time) error {
	late, err := b.o.Store.Late(ctx, now, now.Add(-b.o.Valid), maxPending)
	if err != nil {
		return err
	}
	for _, h := range late {
		if h.State == store.Pending {
			err = b.expire(ctx, h)
		} else if err = b.o.Store.Move(ctx, h.ID, []store.State{store.Approved}, store.Expired, "approved, and not used in time", now); errors.Is(err, store.ErrConflict) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expire ends a hold that nobody answered in time.
func (b *Book) expire(ctx context.Context, h store.Hold) error {
	v, err := b.view(h)
	if err != nil {
		return err
	}
	now := b.o.Now()
	h.Changed = now
	err = b.o.Store.Move(ctx, h.ID, []store.State{store.Pending}, store.Expired, "", now, b.o.Notify.Messages(b.event(notify.Expired, h, v.Hold))...)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	b.changed(h.ID)
	b.o.Notify.Wake()
	return err
}
