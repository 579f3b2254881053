package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ownKey is the gateway's own secret, 32 bytes, kept beside the store (gateway.key) and made at the first start.
// Pseudonyms are made with keys derived from it: with another key they are others.
func ownKey(dir string) ([]byte, error) {
	return keptKey(filepath.Join(dir, "gateway.key"), "the gateway's own key", "every pseudonym becomes another")
}

// signingKey is what the heads of recordings are signed with, kept beside the store (signing.key) and made at the first start.
func signingKey(dir string) (ed25519.PrivateKey, error) {
	seed, err := keptKey(filepath.Join(dir, signingName), "the key that signs recordings", "what is recorded from then on is signed with another")
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

const signingName = "signing.key"

// keptKey reads 32 secret bytes from a file, which it makes where there is none; without says what comes of removing it.
func keptKey(path, what, without string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		rand.Read(key)
		text = []byte(hex.EncodeToString(key) + "\n")
		err = writeNew(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: make the folder of the store writable", what, err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s: %s does not hold 32 bytes in hex: put it back from a copy, or remove it and %s", what, path, without)
	}
	return key, nil
}

// writeNew writes a file that does not exist yet, whole or not at all, for its owner alone.
func writeNew(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
