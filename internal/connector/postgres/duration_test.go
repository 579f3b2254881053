package postgres

import (
	"testing"
	"time"
)

func TestMilliseconds(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "": 0, "1500": 1500 * time.Millisecond, "5s": 5 * time.Second, "2min": 2 * time.Minute, "'1 h'": time.Hour,
		"1.5s": 1500 * time.Millisecond, "250us": 250 * time.Microsecond, "1d": 24 * time.Hour, "-1": 0, "x": 0, "5 weeks": 0, "99999999999999999999": 0,
	} {
		if got := milliseconds(in); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
