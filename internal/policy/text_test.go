package policy

import (
	"testing"

	"github.com/cedar-policy/cedar-go"
)

// FuzzUnquote: what Cedar reads as a string is read as the same one.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{`""`, `"a"`, `"\u{430}\x41\n\r\t\0\\\'\""`, `"\u{10ffff}"`, `"\u{110000}"`, `"\u{}"`, `"\u{1"`, `"\x4"`, `"\q"`, `"ä"`, `"\`, `"\u{d800}"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := unquote(text)
		if list := tokens(text); len(list) != 1 || list[0] != (token{0, len(text)}) || text[0] != '"' {
			return
		}
		parsed, bad := cedar.NewPolicyListFromBytes("x", []byte("@a("+text+") permit(principal, action, resource);"))
		if bad != nil || len(parsed) != 1 {
			return
		}
		if want := string(parsed[0].Annotations()["a"]); err != nil || got != want {
			t.Fatalf("%s is read as %q (%v), and by Cedar as %q", text, got, err, want)
		}
	})
}
