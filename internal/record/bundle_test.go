package record_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/record"
)

// signedSessions records sessions side by side, in a journal with a signed head, and gives the folder and the public key.
func signedSessions(t *testing.T, ids ...string) (dir, public string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	dir = t.TempDir()
	j := open(t, record.Options{Dir: dir, Signer: key, SignInterval: time.Hour})
	var all []gate.Recording
	for _, id := range ids {
		r := session(t, j, id)
		must(t, r.Append(false, asked(1, "SELECT 'of "+id+"'")))
		all = append(all, r)
	}
	for _, r := range all {
		must(t, r.Append(false, answered(1)))
		must(t, r.Close(gate.SessionEnd{Reason: "client"}))
	}
	must(t, j.Close())
	return dir, hex.EncodeToString(key.Public().(ed25519.PublicKey))
}

func export(t *testing.T, dir, id string, sealed, signed bool) []byte {
	t.Helper()
	var b bytes.Buffer
	got, err := record.Export(t.Context(), dir, id, sealed, &b)
	must(t, err)
	if got != signed {
		t.Fatalf("signed: %v, want %v", got, signed)
	}
	return b.Bytes()
}

// bundlePart is one part of a bundle as it stands.
type bundlePart []byte

func bundleOf(b []byte) (parts []bundlePart) {
	for at := 8; at < len(b); {
		n := 5 + int(binary.BigEndian.Uint32(b[at+1:]))
		parts = append(parts, b[at:at+n])
		at += n
	}
	return parts
}

func joined(parts ...bundlePart) []byte {
	b := []byte("GHBNDL1\n")
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// TestBundle: one session proves itself, sealed or not; whatever was done to it shows, and what it was is named.
func TestBundle(t *testing.T) {
	dir, public := signedSessions(t, "s-a", "s-b", "s-c")
	b := export(t, dir, "s-b", false, true)
	verify := func(b []byte, keys ...string) record.BundleReport {
		t.Helper()
		r, err := record.VerifyBundle(bytes.NewReader(b), keys)
		if err != nil && !errors.Is(err, record.ErrBundle) {
			t.Fatal(err)
		}
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
		return r
	}
	if r := verify(b, public); !r.OK() || r.Session != "s-b" || r.Entries != 4 || !r.Closed || r.Sealed || r.Signed.IsZero() || r.Key != public || r.Marks != 5 {
		t.Errorf("%+v", r)
	}
	if r := verify(b, strings.Repeat("0", 64)); r.OK() {
		t.Error("any key will do")
	}
	text := ""
	for e, err := range record.ReadBundle(bytes.NewReader(b)) {
		must(t, err)
		for _, ev := range e.Events {
			text += string(ev.Kind) + " " + string(ev.Body) + "\n"
		}
	}
	if !strings.Contains(text, "of s-b") || strings.Contains(text, "of s-a") || strings.Count(text, "session.") != 2 {
		t.Error(text)
	}
	sealed := export(t, dir, "s-b", true, true)
	if r := verify(sealed, public); !r.OK() || !r.Sealed {
		t.Errorf("%+v", r)
	}
	for e, err := range record.ReadBundle(bytes.NewReader(sealed)) {
		if err != nil || !e.Erased {
			t.Errorf("%+v %v", e, err)
		}
	}
	made := bytes.Index(b, []byte(`"made":"`)) // when it was made is the one thing that nothing proves
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		if r := verify(changed, public); r.OK() && (i < made+8 || i > made+28) {
			t.Fatalf("byte %d can be changed: %+v", i, r)
		}
	}
	for i := range b {
		if r := verify(b[:i], public); r.OK() {
			t.Fatalf("cut after %d bytes, and it verifies", i)
		}
	}
	p := bundleOf(b) // I E E E E M H Z
	if len(p) != 8 {
		t.Fatalf("%d parts", len(p))
	}
	other := bundleOf(export(t, dir, "s-c", false, true))
	altered := bytes.Clone(p[2])
	altered[len(altered)-50] ^= 1
	marks := func(cut int) bundlePart { // without one of the marks
		m := bytes.Clone(p[5])
		m = append(m[:5+32*cut], m[5+32*cut+32:]...)
		binary.BigEndian.PutUint32(m[1:], uint32(len(m)-5))
		return m
	}
	for name, one := range map[string]struct {
		b    []byte
		want string
	}{
		"altered":             {joined(p[0], p[1], altered, p[3], p[4], p[5], p[6], p[7]), "entry 2 was altered"},
		"removed":             {joined(p[0], p[1], p[3], p[4], p[5], p[6], p[7]), "entry 2 is missing"},
		"the first removed":   {joined(p[0], p[2], p[3], p[4], p[5], p[6], p[7]), "entry 1 is missing"},
		"the last removed":    {joined(p[0], p[1], p[2], p[3], p[5], p[6], p[7]), "4 entries, and has 3"},
		"inserted":            {joined(p[0], p[1], other[2], p[2], p[3], p[4], p[5], p[6], p[7]), "entry 2 is one of another session"},
		"doubled":             {joined(p[0], p[1], p[2], p[2], p[3], p[4], p[5], p[6], p[7]), "entry 2 stands where entry 3 should"},
		"reordered":           {joined(p[0], p[1], p[3], p[2], p[4], p[5], p[6], p[7]), "entry 2 is missing"},
		"a session missing":   {joined(p[0], p[1], p[2], p[3], p[4], marks(3), p[6], p[7]), "a session"},
		"one after it":        {joined(p[0], p[1], p[2], p[3], p[4], marks(5), p[6], p[7]), "do not come to the signed head"},
		"others' marks":       {joined(p[0], p[1], p[2], p[3], p[4], other[5], p[6], p[7]), "does not stand where its marks say"},
		"another end":         {joined(p[0], p[1], p[2], p[3], other[4], p[5], p[6], p[7]), "entry 4 is one of another session"},
		"something follows":   {append(bytes.Clone(b), 'x'), "something follows"},
		"another session's":   {joined(other[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]), "entry 1 is one of another session"},
		"an unknown part":     {joined(p[0], bundlePart{'Q', 0, 0, 0, 0}, p[1]), "not a bundle of this version"},
		"a part of 4 GB":      {joined(p[0], bundlePart{'E', 0xff, 0xff, 0xff, 0xff}), "too large"},
		"a newer version":     {append([]byte("GHBNDL2\n"), b[8:]...), "not a bundle of this version"},
		"no information":      {joined(p[1:]...), "not a bundle of this version"},
		"nothing":             {nil, "not a bundle of this version"},
		"no entries":          {joined(p[0], p[5], p[6], p[7]), "does not stand where its marks say"},
		"no marks but a head": {joined(p[0], p[1], p[2], p[3], p[4], p[6], p[7]), "its signed head is not well-formed"},
	} {
		r := verify(one.b, public)
		if r.OK() || !strings.Contains(strings.Join(r.Problems, "\n"), one.want) {
			t.Errorf("%s: %+v, want %q", name, r, one.want)
		}
		for _, err := range record.ReadBundle(bytes.NewReader(one.b)) {
			_ = err // it ends, and does not panic
		}
	}
	// Without the head it is whole, and says that nobody signed.
	if r := verify(joined(p[0], p[1], p[2], p[3], p[4], p[5], p[7]), public); !r.OK() || !r.Signed.IsZero() {
		t.Errorf("%+v", r)
	}
	// An erased session is proved, and cannot be read.
	must(t, record.Erase(dir, "s-b"))
	if r := verify(export(t, dir, "s-b", false, true), public); !r.OK() || !r.Sealed {
		t.Errorf("%+v", r)
	}
	if _, err := record.Export(t.Context(), dir, "s-none", false, &bytes.Buffer{}); !errors.Is(err, record.ErrNoSession) {
		t.Error(err)
	}
}

// TestBundleVector: a bundle that an earlier build wrote is read and proved for ever. testdata/bundle.hex is for who writes a
// second verifier, too: its public key is that of the seed of 32 bytes 07.
func TestBundleVector(t *testing.T) {
	path := filepath.Join("testdata", "bundle.hex")
	if os.Getenv("GATEHOUSE_UPDATE") != "" {
		dir, _ := signedSessions(t, "s-before", "s-golden", "s-after")
		must(t, os.WriteFile(path, []byte(hex.Dump(export(t, dir, "s-golden", false, true))), 0o600))
	}
	dump, err := os.ReadFile(path)
	must(t, err)
	var b []byte
	for line := range strings.Lines(string(dump)) {
		one, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[8:60]), " ", ""))
		must(t, err)
		b = append(b, one...)
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	r, err := record.VerifyBundle(bytes.NewReader(b), []string{hex.EncodeToString(key.Public().(ed25519.PublicKey))})
	if err != nil || !r.OK() || r.Session != "s-golden" || r.Signed.IsZero() || r.Entries != 4 {
		t.Errorf("%+v %v", r, err)
	}
	for e, err := range record.ReadBundle(bytes.NewReader(b)) {
		if err != nil || len(e.Events) == 0 {
			t.Errorf("%+v %v", e, err)
		}
	}
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte("GHBNDL1\n"))
	f.Add([]byte("GHBNDL1\nI\x00\x00\x00\x0f{\"session\":\"s\"}E\x00\x00\x00\x01x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := record.VerifyBundle(bytes.NewReader(b), nil); err == nil && r.OK() && r.Entries == 0 {
			t.Error("an empty bundle is whole")
		}
		for range record.ReadBundle(bytes.NewReader(b)) {
		}
	})
}
