package store_test

import (
	"context"
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
