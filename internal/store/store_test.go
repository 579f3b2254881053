package store_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	path := t.TempDir() + "/sub/gate house?.db"
	storetest.Run(t, func(t *testing.T) *store.Store {
		s, err := store.Open(context.Background(), "sqlite:"+path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	first, err := store.Open(context.Background(), "sqlite:"+dir+"/a.db")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	os.WriteFile(dir+"/file", nil, 0o600)
	for where, want := range map[string]string{
		"sqlite:" + dir + "/a.db":      "used by another process",
		"postgres://x/y":               "not built yet",
		"mysql:x":                      "is not a store",
		"sqlite:":                      "is not a store",
		"sqlite:" + dir + "/file/b.db": "not a directory",
	} {
		if _, err := store.Open(context.Background(), where); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", where, err, want)
		}
	}
}

// TestVersionsSQLite runs the suite about versions, and reads the head of a store that is open elsewhere.
func TestVersionsSQLite(t *testing.T) {
	where := "sqlite:" + t.TempDir() + "/gate house?.db"
	if _, err := store.Head(t.Context(), where); !errors.Is(err, store.ErrNoVersion) {
		t.Fatal("a store that is not there:", err)
	}
	open := func(t *testing.T) *store.Store {
		s, err := store.Open(context.Background(), where)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storetest.RunVersions(t, open)
	s := open(t)
	defer s.Close()
	if v, err := store.Head(t.Context(), where); err != nil || v.Number != 5 || len(v.Files) != 2 {
		t.Errorf("%+v %v", v, err)
	}
}
