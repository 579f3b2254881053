package grpc

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gatehouse/internal/demo/shoprpc"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/offline"
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

func snapshotOf(t testing.TB, change func(*snapshot)) []byte {
	t.Helper()
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto), protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto), protodesc.ToFileDescriptorProto(shoprpc.File_shop_proto)}})
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot{Format: snapshotFormat, Kind: kind, Connection: "shop", Tags: []string{"env:test"}, Writes: []string{"shop.v1.Customers/Update"}, Descriptors: set,
		Labels: grpcguard.Labels{"shop.v1.Customer.email": {"pii.email"}, "shop.v1.GetRequest.email": {"pii.email"}}}
	if change != nil {
		change(&s)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestModel: a connection by its snapshot is what it is by its service.
func TestModel(t *testing.T) {
	m, err := connector{}.Model(snapshotOf(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(policy.Input{Schemas: []policy.Source{{Name: kind, Text: schema}}, Policies: []policy.Source{{Name: "p", Text: []byte(`
		@id("call") permit (principal, action == Action::"call", resource in Service::"shop/shop.v1.Customers");
		@id("read") permit (principal, action == Action::"read", resource in Message::"shop/shop.v1.Customer");
		@id("reveal") permit (principal, action == Action::"reveal", resource in Method::"shop/shop.v1.Customers/List") when { resource.labels.contains("pii.email") };`)}}})
	if err != nil {
		t.Fatal(err)
	}
	slice := set.At(policy.Principal{Kind: policy.Agent, ID: "bot"}, policy.Moment{})
	for _, c := range []struct{ typ, name, id, shown string }{
		{"Method", "shop.v1.Customers/Get", "shop/shop.v1.Customers/Get", ""},
		{"Function", "/shop.v1.Customers/Get", "shop/shop.v1.Customers/Get", ""},
		{"Service", "shop.v1.Admin", "shop/shop.v1.Admin", ""},
		{"Connection", "", "shop", ""},
		{"Column", "shop/shop.v1.Customers/Get#shop.v1.Customer.email", "shop/shop.v1.Customers/Get#shop.v1.Customer.email", "email"},
		{"Field", "shop.v1.Customers/List#shop.v1.Customer.email", "shop/shop.v1.Customers/List#shop.v1.Customer.email", "none"},
		{"Field", "shop.v1.Customers/Get#shop.v1.GetRequest.email", "shop/shop.v1.Customers/Get#shop.v1.GetRequest.email", ""},
	} {
		r, err := m.Find(c.typ, c.name)
		if err != nil || r.ID != c.id {
			t.Errorf("%s %s: %v, %v", c.typ, c.name, r, err)
			continue
		}
		if r.Type == "Field" && m.Shown(slice, r) != c.shown {
			t.Errorf("%s is shown as %q, want %q", r.ID, m.Shown(slice, r), c.shown)
		}
		if again, err := offline.Resource(m.Connection(), r.Type, r.ID); err != nil || !slices.Equal(again.Parents, r.Parents) {
			t.Errorf("%s lies in %v, and by its id in %v, %v", r.ID, r.Parents, again.Parents, err)
		}
	}
	if _, err := m.Find("Method", "shop.v1.Customers/Gett"); err == nil || !strings.Contains(err.Error(), "is shop.v1.Customers/Get meant?") {
		t.Error(err)
	}
	u := m.Understand(slice, "shop.v1.Customers/Get")
	if u.Refusal != nil || len(u.Touches) != 2 || u.Shown["shop/shop.v1.Customers/Get#shop.v1.Customer.email"] != "email" {
		t.Errorf("%+v", u)
	}
	if u = m.Understand(slice, "SELECT 1"); u.Refusal == nil {
		t.Errorf("%+v", u)
	}
	for what, change := range map[string]func(*snapshot){
		"of another kind": func(s *snapshot) { s.Kind = "postgres" }, "of another version": func(s *snapshot) { s.Format++ }, "without its connection": func(s *snapshot) { s.Connection = "" },
		"without descriptors": func(s *snapshot) { s.Descriptors = nil }, "with a label on nothing": func(s *snapshot) { s.Labels["shop.v1.Customer.e_mail"] = []string{"x"} },
	} {
		if _, err := (connector{}).Model(snapshotOf(t, change)); err == nil {
			t.Errorf("a snapshot %s is read", what)
		}
	}
}

// FuzzModel reads any snapshot: what is read can be asked.
func FuzzModel(f *testing.F) {
	f.Add(snapshotOf(f, nil))
	f.Add([]byte(`{"gatehouse_catalog":1,"kind":"grpc","connection":"a","descriptors":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := connector{}.Model(b)
		if err != nil {
			return
		}
		for _, r := range m.Things() {
			if _, err := m.Find(r.Type, r.ID); err != nil {
				t.Error(err)
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
