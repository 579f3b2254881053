package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/policy"
)

// compileDraft compiles policies that are not in force, as a gateway with this configuration would: of a folder the
// *.cedar files in it.
func compileDraft(c *config.Config, paths []string) (*policy.Set, error) {
	files, err := draftFiles(paths)
	if err != nil {
		return nil, err
	}
	var texts []policy.Source
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		texts = append(texts, policy.Source{Name: filepath.Base(f), Text: text})
	}
	set, err := compileTexts(c, texts)
	if err != nil {
		return nil, fmt.Errorf("the draft: %w", err)
	}
	return set, nil
}

// draftFiles are the policy files that paths name, in order.
func draftFiles(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, p)
			continue
		}
		found, err := os.ReadDir(p)
		if err != nil {
			return nil, err
		}
		n := len(out)
		for _, f := range found {
			if filepath.Ext(f.Name()) == ".cedar" && !f.IsDir() {
				out = append(out, filepath.Join(p, f.Name()))
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("there is no policy in the folder %s: policies are files that end in .cedar", p)
		}
	}
	return out, nil
}

// moment is a time on a command line: 14d or 36h before now, a day, or a time of RFC 3339.
type moment struct{ time.Time }

// UnmarshalText reads a moment.
func (m *moment) UnmarshalText(b []byte) error {
	text := string(b)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			m.Time = time.Now().Add(-time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		m.Time = time.Now().Add(-d)
		return nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		m.Time = t
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("%q is not a time: write how long ago it was (14d, 36h), a day (2026-01-31), or a time (2026-01-31T12:00:00Z)", text)
	}
	m.Time = t
	return nil
}
