package http

import (
	"net/url"
	"testing"

	"gatehouse/internal/gate"
)

func TestReferences(t *testing.T) {
	base, err := url.Parse("https://api.internal/v1")
	if err != nil {
		t.Fatal(err)
	}
	at := &target{connection: gate.Connection{Name: "crm"}, options: &Options{url: base}}
	for _, c := range []struct {
		in, front string
		labelled  bool
		want      string
	}{
		{"/v1/a?b=c", "/http/crm", false, "/http/crm/a?b=c"},
		{"/v1/a?b=c&d", "/http/crm", true, "/http/crm/a?b=***&***"},
		{"https://API.internal/v1/a#x", "", false, "/a#x"},
		{"https://api.internal/v1/a#ada@example.com", "", true, "/a"},
		{"/v1evil/a", "/http/crm", false, ""},
		{"/admin", "/http/crm", false, ""},
		{"https://elsewhere/v1/a?b=c", "/http/crm", true, "https://elsewhere/v1/a?b=***"},
		{"https://user:password@api.internal/v1/a", "/http/crm", false, ""},
		{"a?b=c", "/http/crm", true, "a?b=***"},
		{"?b=c", "/http/crm", true, "?b=***"},
		{"mailto:ada@example.com", "/http/crm", true, ""},
	} {
		if got := at.reference(c.in, c.front, c.labelled); got != c.want {
			t.Errorf("%s behind %q: got %q, want %q", c.in, c.front, got, c.want)
		}
	}
	if got, want := at.links(`</v1/a?e=x>; rel="next"; title="ada", <https://api.internal/v1/b>; rel=prev`, "/http/crm", true), `</http/crm/a?e=***>; rel="next", </http/crm/b>; rel=prev`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
