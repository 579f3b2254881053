package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/notify"
	"gatehouse/internal/store"
)

// RunVersions runs the part of the suite that is about versions of the policies. open is as for Run.
func RunVersions(t *testing.T, open func(t *testing.T) *store.Store) {
	ctx := context.Background()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := open(t)
	draft := func(base int64, text string) store.PolicyVersion {
		return store.PolicyVersion{Base: base, Author: "test:ada", Name: "ada", Reason: "why", At: at, Files: []store.PolicyFile{{Name: "b.cedar", Text: text}, {Name: "a.cedar", Text: "a"}}}
	}
	publish := func(t *testing.T, base int64, text string) store.PolicyVersion {
		t.Helper()
		v, err := s.Publish(ctx, draft(base, text))
		if err != nil || v.Number != base+1 {
			t.Fatal(v.Number, err)
		}
		return v
	}
	t.Run("none", func(t *testing.T) {
		if _, err := s.Version(ctx, 0); !errors.Is(err, store.ErrNoVersion) {
			t.Fatal(err)
		}
		if list, err := s.Versions(ctx, 10); err != nil || len(list) != 0 {
			t.Fatal(list, err)
		}
		if _, err := s.Deciding(ctx, "x"); !errors.Is(err, store.ErrNoVersion) {
			t.Fatal(err)
		}
	})
	t.Run("publish", func(t *testing.T) {
		publish(t, 0, "one")
		publish(t, 1, "two")
		publish(t, 2, "one")
		one, err := s.Version(ctx, 1)
		head, err2 := s.Version(ctx, 0)
		if err != nil || err2 != nil || head.Number != 3 || head.Hash != one.Hash || head.Files[0].Text != "one" || head.Base != 2 ||
			head.Author != "test:ada" || head.Name != "ada" || head.Reason != "why" || !head.At.Equal(at) || head.Source != "person" {
			t.Fatalf("%+v %v %v", head, err, err2)
		}
		list, err := s.Versions(ctx, 2)
		if err != nil || len(list) != 2 || list[0].Number != 3 || list[1].Number != 2 || list[0].Files != nil {
			t.Fatalf("%+v %v", list, err)
		}
		if _, err := s.Version(ctx, 4); !errors.Is(err, store.ErrNoVersion) {
			t.Fatal(err)
		}
	})
	t.Run("stale", func(t *testing.T) {
		for base, since := range map[int64]int{0: 3, 1: 2, 2: 1, 4: 0} {
			_, err := s.Publish(ctx, draft(base, "late"))
			var stale *store.StaleError
			if !errors.As(err, &stale) || len(stale.Since) != since || since > 0 && stale.Since[0].Number != 3 {
				t.Fatalf("base %d: %v", base, err)
			}
		}
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := s.Publish(ctx, draft(3, fmt.Sprint("race ", i))); err == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		if head, err := s.Version(ctx, 0); won.Load() != 1 || err != nil || head.Number != 4 {
			t.Fatal(won.Load(), head.Number, err)
		}
	})
	t.Run("in force", func(t *testing.T) {
		for n, effective := range []string{1: "e1", 2: "e2", 3: "e1"} {
			if effective != "" {
				if err := s.InForce(ctx, effective, int64(n), at); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n, err := s.Deciding(ctx, "e1"); err != nil || n != 3 {
			t.Fatal(n, err)
		}
		if err := s.InForce(ctx, "e9", 99, at); err == nil {
			t.Fatal("a version that does not exist is in force")
		}
	})
	propose := func(t *testing.T, id string) {
		t.Helper()
		h := store.Hold{ID: id, Kind: store.HoldPublish, Principal: "p", Hash: "h-" + id, Body: []byte(`{}`), Created: at, Expires: at.Add(time.Hour)}
		if err := s.Create(ctx, h, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	approve := func(t *testing.T, id string) {
		t.Helper()
		if _, err := s.Answer(ctx, id, store.Answer{Person: "bob", Name: "bob", Approve: true, At: at.Add(time.Minute)}, func(store.Hold) (store.State, []notify.Message) { return store.Approved, nil }); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("approved", func(t *testing.T) {
		hash, err := s.KeepFiles(ctx, draft(4, "approved").Files)
		if err != nil {
			t.Fatal(err)
		}
		files, err := s.Files(ctx, hash)
		if err != nil || len(files) != 2 {
			t.Fatal(files, err)
		}
		propose(t, "one")
		propose(t, "two")
		propose(t, "waits")
		v := draft(4, "approved")
		v.Approval = "one"
		if _, err := s.PublishApproved(ctx, v, "h-one"); !errors.Is(err, store.ErrConflict) {
			t.Fatal("published before it was approved:", err)
		}
		approve(t, "one")
		approve(t, "two")
		if _, err := s.PublishApproved(ctx, v, "h-two"); !errors.Is(err, store.ErrConflict) {
			t.Fatal("published with another hash:", err)
		}
		done, err := s.PublishApproved(ctx, v, "h-one")
		if err != nil || done.Number != 5 || len(done.Approvers) != 1 || done.Approvers[0] != "bob" {
			t.Fatalf("%+v %v", done, err)
		}
		if _, err := s.PublishApproved(ctx, v, "h-one"); !errors.Is(err, store.ErrConflict) {
			t.Fatal("published twice:", err)
		}
		v.Approval = "two"
		if _, err := s.PublishApproved(ctx, v, "h-two"); !errors.As(err, new(*store.StaleError)) {
			t.Fatal("published over another one:", err)
		}
		for id, want := range map[string]store.State{"one": store.Done, "two": store.Withdrawn, "waits": store.Pending} {
			if h, err := s.Get(ctx, id); err != nil || h.State != want || h.Kind != store.HoldPublish {
				t.Errorf("%s is %s, want %s (%v)", id, h.State, want, err)
			}
		}
	})
	t.Run("restart", func(t *testing.T) {
		propose(t, "approved")
		approve(t, "approved")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t)
		defer s.Close()
		for id, want := range map[string]store.State{"waits": store.Pending, "approved": store.Withdrawn, "one": store.Done} {
			if h, err := s.Get(ctx, id); err != nil || h.State != want {
				t.Errorf("%s is %s after a restart, want %s (%v)", id, h.State, want, err)
			}
		}
		if head, err := s.Version(ctx, 0); err != nil || head.Number != 5 {
			t.Errorf("%d, %v", head.Number, err)
		}
	})
}
