package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first, err := ownKey(dir)
	if err != nil || len(first) != 32 || bytes.Equal(first, make([]byte, 32)) {
		t.Fatal(first, err)
	}
	if again, err := ownKey(dir); err != nil || !bytes.Equal(first, again) {
		t.Error("the key is another one at the next start", err)
	}
	path := filepath.Join(dir, "gateway.key")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ownKey(dir); err == nil {
		t.Error("a damaged key is taken")
	}
}
