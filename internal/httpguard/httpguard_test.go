package httpguard

import (
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                         "/",
		"/customers/42":             "/customers/42",
		"/customers/42/":            "/customers/42/",
		"/%63ustomers/a%20b":        "/customers/a%20b",
		"/a%C3%A9/x":                "/a%C3%A9/x",
		"/a(b)!":                    "/a%28b%29%21",
		"/search?q=a+b&q=%26":       "/search?q=a+b&q=%26",
		"/search?":                  "/search",
		"/search?a":                 "/search?a=",
		"/search?a=1&&b=2":          "/search?a=1&b=2",
		"/search?filter[x]=1":       "/search?filter%5Bx%5D=1",
		"/v1.2/files/report.tar.gz": "/v1.2/files/report.tar.gz",
	} {
		got, err := ParseTarget(raw)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v, want %s", raw, got, err, want)
		}
		if again, err := ParseTarget(got.String()); err != nil || again.String() != want {
			t.Errorf("%s is not the same when it is read again: %s, %v", want, again, err)
		}
	}
}

func TestRefusedTargets(t *testing.T) {
	for _, raw := range []string{
		"", "*", "customers", "http://x/customers", "//customers", "/a//b", "/./a", "/a/../b", "/a/..", "/a/.", "/%2e%2e/a", "/a/%2E./b", "/.%2e/a",
		"/%252e%252e/a", "/a%2fb", "/a%2Fb", "/a%5cb", `/a\b`, `/..\a`, "/a;x=1", "/a;/b", "/a%3bx", "/a/..;/b", "/a%00b", "/a%0d%0ab", "/a b", "/a\tb", "/a#b", "/a%", "/a%2", "/a%zz",
		"/a%25b", "/a%ff", "/a%c0%af", "/a%c0%ae", "/a\xc3\xa9", "/a%EF%BC%8Fb", "/a%E2%88%95b", "/a./b", "/a%20/b", "/.../a", "/a|b", "/a<b>", "/a\"b", "/a^b", "/a{b}", "/a`b", "/a%7fb",
		"/a?x;y", "/a?x=1#y", "/a?=1", "/a?x=%", "/a?x=%zz", "/a?%00=1", "/a?x%26y=1", "/a?_method=DELETE", "/a?_METHOD=x", "/a?x=%ff", "/a?x y", `/a?x\y`, "/a?x=%00",
		"/" + strings.Repeat("a/", 100), "/" + strings.Repeat("a", 9000), "/a?" + strings.Repeat("b=1&", 200),
	} {
		if got, err := ParseTarget(raw); err == nil {
			t.Errorf("%q is taken, as %s", raw, got)
		}
	}
}

func TestTemplates(t *testing.T) {
	var all []*Template
	for _, s := range []string{"/customers", "/customers/", "/customers/{id}", "/customers/export", "/customers/{id}/orders", "/files/{path...}", "/"} {
		one, err := ParseTemplate(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	for path, want := range map[string]string{
		"/customers": "/customers", "/customers/": "/customers/", "/customers/7": "/customers/{id}", "/customers/export": "/customers/export", "/customers/7/orders": "/customers/{id}/orders",
		"/Customers": "", "/customers/7/": "", "/customers/7/orders/1": "", "/files/a": "/files/{path...}", "/files/a/b/c": "/files/{path...}", "/files": "", "/files/": "", "/files/a/": "", "/": "/", "/x": "",
	} {
		target, err := ParseTarget(path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if i := Find(all, target.Segments); i >= 0 {
			got = all[i].String()
		}
		if got != want {
			t.Errorf("%s fits %q, want %q", path, got, want)
		}
	}
	for _, bad := range []string{"", "a", "/a//b", "/{a...}/b", "/x{a}", "/{a}/{a}", "/a*", "/..", "/a%20", "/{}"} {
		if _, err := ParseTemplate(bad); err == nil {
			t.Errorf("the template %q is taken", bad)
		}
	}
}

// FuzzTarget: what is taken is taken again, the same, and nothing in it can be read as something else.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a/b?c=d", "/%41", "/a%20b?x=%2B+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		one, err := ParseTarget(raw)
		if err != nil {
			return
		}
		again, err := ParseTarget(one.String())
		if err != nil || again.String() != one.String() {
			t.Fatalf("%q became %q, then %q, %v", raw, one, again, err)
		}
		if p := one.Path(); strings.Contains(p, "//") || strings.Contains(p+"/", "/../") || strings.Contains(p+"/", "/./") || strings.ContainsAny(p, "\\; ?#") {
			t.Fatalf("%q became %q", raw, p)
		}
	})
}
