// Package storetest is the suite that every store runs.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/notify"
	"gatehouse/internal/store"
)

// Run runs the suite; open gives the same store again each time it is called, after the last was closed.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	ctx := context.Background()
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := open(t)
	hold := func(id string) store.Hold {
		return store.Hold{ID: id, Connection: "orders", Principal: "p", Hash: "h", Body: []byte(`{"a":1}`), Created: base, Expires: base.Add(time.Minute)}
	}
	create := func(t *testing.T, id string) {
		t.Helper()
		if err := s.Create(ctx, hold(id), 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	approve := func(id, person string) (store.Hold, error) {
		return s.Answer(ctx, id, store.Answer{Person: person, Name: person, Approve: true, Groups: []string{"dba"}, At: base.Add(time.Second)}, func(h store.Hold) (store.State, []notify.Message) {
			if len(h.Answers) == 2 {
				return store.Approved, []notify.Message{{ID: "of-" + id, Target: "answers", Event: []byte("{}"), Due: base, Until: base.Add(time.Hour)}}
			}
			return store.Pending, nil
		})
	}
	t.Run("outbox", func(t *testing.T) {
		due := func(target string, at time.Time) (ids []string) {
			t.Helper()
			list, err := s.Due(ctx, target, at, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				ids = append(ids, m.ID)
			}
			return ids
		}
		same := func(got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		message := func(id, target string) notify.Message {
			return notify.Message{ID: id, Target: target, Event: []byte(`{"kind":"test"}`), Due: base, Until: base.Add(time.Minute)}
		}
		if err := s.Create(ctx, hold("told"), 1000, 1000, message("m1", "ops"), message("m2", "mail")); err != nil {
			t.Fatal(err)
		}
		if err := s.Create(ctx, hold("full"), 0, 0, message("m3", "ops")); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		same(due("ops", base.Add(-time.Second)))
		same(due("ops", base), "m1")
		if err := s.Postpone(ctx, "m1", base.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		same(due("ops", base))
		if next, err := s.Next(ctx, "ops"); err != nil || !next.Equal(base.Add(time.Second)) {
			t.Fatal(next, err)
		}
		if next, err := s.Next(ctx, "nobody"); err != nil || !next.IsZero() {
			t.Fatal(next, err)
		}
		list, err := s.Due(ctx, "ops", base.Add(time.Second), 1)
		if err != nil || len(list) != 1 || list[0].Tries != 1 || string(list[0].Event) != `{"kind":"test"}` || !list[0].Until.Equal(base.Add(time.Minute)) {
			t.Fatalf("%+v %v", list, err)
		}
		if err := s.Remove(ctx, "m1"); err != nil {
			t.Fatal(err)
		}
		same(due("ops", base.Add(time.Hour)))
		same(due("mail", base), "m2")
		if err := s.Move(ctx, "told", []store.State{store.Approved}, store.Expired, "", base, message("m4", "ops")); !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
		same(due("ops", base))
		if err := s.Move(ctx, "told", []store.State{store.Pending}, store.Expired, "", base, message("m5", "ops")); err != nil {
			t.Fatal(err)
		}
		same(due("ops", base), "m5")
		create(t, "answered")
		approve("answered", "ada")
		same(due("answers", base))
		approve("answered", "bob")
		same(due("answers", base), "of-answered")
	})
	t.Run("quorum", func(t *testing.T) {
		create(t, "a")
		if h, err := approve("a", "ada"); err != nil || h.State != store.Pending {
			t.Fatal(h.State, err)
		}
		if _, err := approve("a", "ada"); !errors.Is(err, store.ErrAnswered) {
			t.Fatal(err)
		}
		if h, err := approve("a", "bob"); err != nil || h.State != store.Approved || len(h.Answers) != 2 {
			t.Fatal(h.State, err)
		}
		if _, err := approve("a", "cy"); !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
		h, err := s.Get(ctx, "a")
		if err != nil || h.State != store.Approved || h.Answers[0].Groups[0] != "dba" || string(h.Body) != `{"a":1}` || !h.Expires.Equal(base.Add(time.Minute)) {
			t.Fatalf("%+v %v", h, err)
		}
	})
	t.Run("start once", func(t *testing.T) {
		for _, wrong := range []struct {
			hash  string
			after time.Time
		}{{"other", base}, {"", base}, {"h", base.Add(time.Hour)}} {
			if err := s.Start(ctx, "a", wrong.hash, wrong.after, base); !errors.Is(err, store.ErrConflict) {
				t.Fatal(wrong, err)
			}
		}
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if s.Start(ctx, "a", "h", base, base.Add(2*time.Second)) == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("started %d times", won.Load())
		}
		if err := s.Move(ctx, "a", []store.State{store.Running}, store.Done, "ok", base); err != nil {
			t.Fatal(err)
		}
		if err := s.Move(ctx, "a", []store.State{store.Running}, store.Done, "ok", base); !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
	})
	t.Run("late", func(t *testing.T) {
		create(t, "late")
		_, err := s.Answer(ctx, "late", store.Answer{Person: "ada", At: base.Add(time.Minute)}, func(store.Hold) (store.State, []notify.Message) { return store.Approved, nil })
		if !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		if _, err := s.Get(ctx, "nothere"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		if err := s.Move(ctx, "nothere", []store.State{store.Pending}, store.Expired, "", base); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := approve("nothere", "ada"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	})
	t.Run("limits", func(t *testing.T) {
		h := hold("limit")
		if err := s.Create(ctx, h, 1, 1000); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		if err := s.Create(ctx, h, 1000, 1); !errors.Is(err, store.ErrFullOne) {
			t.Fatal(err)
		}
	})
	t.Run("left behind", func(t *testing.T) {
		h := hold("behind")
		h.Principal = "left"
		if err := s.Create(ctx, h, 1000, 1000); err != nil {
			t.Fatal(err)
		}
		is := func(when string, list []store.Hold, err error, want bool) {
			t.Helper()
			if got := slices.ContainsFunc(list, func(h store.Hold) bool { return h.ID == "behind" }); err != nil || got != want {
				t.Errorf("%s: %v %v", when, got, err)
			}
		}
		left := func() ([]store.Hold, error) { return s.Left(ctx, "orders", "left", 10) }
		list, err := left()
		is("pending", list, err, true)
		list, err = s.Left(ctx, "orders", "another", 10)
		is("of another", list, err, false)
		list, err = s.Left(ctx, "other", "left", 10)
		is("elsewhere", list, err, false)
		list, err = s.Late(ctx, base, base, 100)
		is("in time", list, err, false)
		list, err = s.Late(ctx, base.Add(time.Minute), base, 100)
		is("late", list, err, true)
		approve("behind", "ada")
		approve("behind", "bob")
		list, err = left()
		is("approved", list, err, true)
		list, err = s.Late(ctx, base.Add(time.Hour), base.Add(time.Second), 100)
		is("approved in time", list, err, false)
		list, err = s.Late(ctx, base.Add(time.Hour), base.Add(2*time.Second), 100)
		is("approved and late", list, err, true)
		if err := s.Move(ctx, "behind", []store.State{store.Approved}, store.Expired, "", base); err != nil {
			t.Fatal(err)
		}
		list, err = left()
		is("expired", list, err, false)
		list, err = s.Late(ctx, base.Add(time.Hour), base.Add(time.Hour), 100)
		is("expired and late", list, err, false)
	})
	t.Run("list", func(t *testing.T) {
		already, err := s.List(ctx, "", 100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		before := len(already)
		for i := range 3 {
			create(t, fmt.Sprint("list-", i))
		}
		all, err := s.List(ctx, "", 100, 1<<20)
		pending, err2 := s.List(ctx, store.Pending, 2, 1<<20)
		if err != nil || err2 != nil || len(all) != before+3 || len(pending) != 2 {
			t.Fatal(len(all), len(pending), err, err2)
		}
		if short, err := s.List(ctx, "", 100, len(all[0].Body)+1); err != nil || len(short) != 2 {
			t.Fatal(len(short), err)
		}
	})
	t.Run("restart", func(t *testing.T) {
		create(t, "ran")
		approve("ran", "ada")
		approve("ran", "bob")
		if err := s.Start(ctx, "ran", "h", base, base); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t)
		for id, want := range map[string]store.State{"ran": store.Unknown, "late": store.Pending, "a": store.Done} {
			if h, err := s.Get(ctx, id); err != nil || h.State != want {
				t.Errorf("%s is %s after a restart, want %s (%v)", id, h.State, want, err)
			}
		}
		s.Close()
	})
}
