package grpc

import (
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
)

// FuzzDecoder reads any recorded data: what is read fits what is shown in a terminal.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"method":"shop.v1.Customers/Get"}`))
	f.Add([]byte(`<id: 7`))
	f.Add([]byte{fromClient, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		columns, err := decoder{}.Schema(b)
		if err == nil && len(columns) != 2 {
			t.Error("not two columns")
		}
		rows, err := decoder{}.Rows(columns, b, 1)
		if err != nil || len(b) > 0 != (len(rows) == 1) {
			t.Fatal(rows, err)
		}
		for _, r := range rows {
			if len(r) != 2 || r[0] == nil || r[1] == nil || strings.ToValidUTF8(*r[1], "") != *r[1] {
				t.Error("a row that cannot be shown")
			}
		}
	})
}

// TestWithheld: what says who asks, for what, or how it is sent is never forwarded.
func TestWithheld(t *testing.T) {
	for _, name := range []string{"authorization", "cookie", "set-cookie", "grpc-timeout", "grpc-status-details-bin", "grpc-previous-rpc-attempts", "x-gatehouse-token", "x-gatehouse-connection", "te", "host", ":authority", "connection",
		"proxy-authorization", "x-forwarded-for", "x-forwarded-user", "www-authenticate", "content-type", "user-agent"} {
		if !withheld(name) {
			t.Errorf("%s is forwarded", name)
		}
	}
	if withheld("x-tenant") {
		t.Error("x-tenant is not forwarded")
	}
	o := &Options{Metadata: []string{"x-page"}}
	tg := &target{options: o}
	in := metadata.MD{"x-page": {"2"}, "x-customer": {"ada"}, "x-request-id": {"1"}, "set-cookie": {"a"}, "x-late-bin": {"\x00"}}
	if got := tg.answer(in, true); len(got) != 2 || got["x-page"] == nil || got["x-request-id"] == nil {
		t.Errorf("under masks %v is given out", got)
	}
	if got := tg.answer(in, false); len(got) != 4 || got["set-cookie"] != nil {
		t.Errorf("without labels %v is given out", got)
	}
	if got := text(in); got["x-late-bin"] != "0x00" || got["x-page"] != "2" {
		t.Errorf("recorded as %v", got)
	}
}

// TestBearer: a token is there once, in one place.
func TestBearer(t *testing.T) {
	for _, c := range []struct {
		md    metadata.MD
		token string
	}{
		{metadata.MD{}, ""}, {metadata.MD{"authorization": {"Bearer a"}}, "a"}, {metadata.MD{"authorization": {"bearer a "}}, "a"}, {metadata.MD{"authorization": {"Basic a"}}, ""}, {metadata.MD{"authorization": {"a"}}, ""},
		{metadata.MD{"authorization": {"Bearer a", "Bearer b"}}, ""}, {metadata.MD{"x-gatehouse-token": {"a"}}, "a"}, {metadata.MD{"x-gatehouse-token": {"a", "b"}}, ""}, {metadata.MD{"x-gatehouse-token": {"a"}, "authorization": {"Basic x"}}, "a"},
	} {
		if got, why := bearer(c.md); got != c.token || (why == "") != (c.token != "") {
			t.Errorf("%v: %q, %q", c.md, got, why)
		}
	}
}
