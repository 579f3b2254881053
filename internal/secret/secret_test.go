package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
)

func TestUnmarshal(t *testing.T) {
	for text, want := range map[string]Ref{
		"{env: PW}":           {Env: "PW"},
		"file: /run/pw":       {File: "/run/pw"},
		"{env: PW, file: ''}": {Env: "PW"},
	} {
		var got Ref
		if err := yaml.Unmarshal([]byte(text), &got); err != nil || got != want || got.IsZero() {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	if !(Ref{}).IsZero() {
		t.Error("the zero value is a secret")
	}
}

// TestUnmarshalRefuses: each error has its line, and none repeats what could be the secret.
func TestUnmarshalRefuses(t *testing.T) {
	const use = "use {env: NAME} or {file: PATH}"
	for text, want := range map[string]string{
		"\nhunter2":              "line 2: a secret is not written here: " + use,
		"[hunter2]":              "line 1: a secret is not written here: " + use,
		"{}":                     "one of them",
		"{env: A, file: B}":      "one of them",
		"{env: ''}":              "one of them",
		"env: A\nvalue: hunter2": `line 2: unknown key "value"`,
		"env: A\nenv: hunter2":   `line 2: key "env" is given twice`,
		"env: [hunter2]":         "line 1: env should be a single value",
		"env: {hunter2: a}":      "line 1: env should be a single value",
		"env:":                   "line 1: env has no value",
		"file: &x hunter2":       "anchors",
	} {
		var got Ref
		err := yaml.Unmarshal([]byte(text), &got)
		var placed *strict.Error
		if !errors.As(err, &placed) || placed.Line == 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q and a line", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error repeats it: %v", text, err)
		}
		if !got.IsZero() {
			t.Errorf("%q: gives %+v", text, got)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) Ref {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Ref{File: path}
	}
	t.Setenv("GATEHOUSE_TEST_SECRET", " hunter2\n")
	t.Setenv("GATEHOUSE_TEST_EMPTY", "")
	for _, c := range []struct {
		ref        Ref
		want, fail string
	}{
		{Ref{Env: "GATEHOUSE_TEST_SECRET"}, " hunter2\n", ""},
		{Ref{Env: "GATEHOUSE_TEST_EMPTY"}, "", "GATEHOUSE_TEST_EMPTY, which should hold a secret, is not set"},
		{Ref{Env: "GATEHOUSE_TEST_NONE"}, "", "GATEHOUSE_TEST_NONE, which should hold a secret, is not set"},
		{file("plain", "hunter2"), "hunter2", ""},
		{file("line", "hunter2\r\n\n"), "hunter2", ""},
		{file("inner", " a\nb \n"), " a\nb ", ""},
		{file("largest", strings.Repeat("x", maxSize)), strings.Repeat("x", maxSize), ""},
		{file("larger", strings.Repeat("hunter2", maxSize)), "", "is larger than 64 KiB"},
		{file("empty", ""), "", "is empty"},
		{file("blank", "\n\n"), "", "is empty"},
		{Ref{File: dir}, "", "is a directory"},
		{Ref{}, "", "no secret is configured"},
	} {
		got, err := c.ref.Resolve()
		if c.fail == "" {
			if err != nil || got != c.want {
				t.Errorf("%+v: got %.20q, %v, want %.20q", c.ref, got, err, c.want)
			}
			continue
		}
		if err == nil || got != "" || !strings.Contains(err.Error(), c.fail) || !strings.Contains(err.Error(), c.ref.File) {
			t.Errorf("%+v: got %.20q, %v, want the error %q", c.ref, got, err, c.fail)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: the error has the secret: %v", c.ref, err)
		}
	}
	if _, err := (Ref{File: filepath.Join(dir, "none")}).Resolve(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestResolveAgain: a secret is read anew each time, so that it can be changed while the gateway runs.
func TestResolveAgain(t *testing.T) {
	r := Ref{File: filepath.Join(t.TempDir(), "pw")}
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(r.File, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Resolve(); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}
