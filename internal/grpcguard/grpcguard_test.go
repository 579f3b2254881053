package grpcguard

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"gatehouse/internal/mask"
	"gatehouse/internal/policy"
)

func names(fields []*Field) string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name)
	}
	return strings.Join(out, " ")
}

// TestMethods: what each method can be asked by, and what its answers can show.
func TestMethods(t *testing.T) {
	s := shop(t, "shop.v1.Customer.email", "shop.v1.GetRequest.email", "shop.v1.Address.street", "old.secret")
	const all = "old.secret shop.v1.Address.street shop.v1.Customer.email shop.v1.GetRequest.email"
	for path, want := range map[string]struct {
		asked, answered                     string
		clientStreams, serverStreams, reads bool
	}{
		"/shop.v1.Customers/Get":      {"shop.v1.GetRequest.email", all, false, false, true},
		"/shop.v1.Customers/Watch":    {"shop.v1.GetRequest.email", all, false, true, false},
		"/shop.v1.Customers/Import":   {all, "", true, false, false},
		"/shop.v1.Customers/Chat":     {all, all, true, true, false},
		"/shop.v1.Customers/Ping":     {"", "", false, false, false},
		"/shop.v1.Customers/Anything": {all, all, false, false, false}, // by its Any
	} {
		m := s.Method(path)
		if m == nil {
			t.Fatalf("there is no %s", path)
		}
		if names(m.Asked) != want.asked || names(m.Answered) != want.answered || m.ClientStreams != want.clientStreams || m.ServerStreams != want.serverStreams || m.Reads != want.reads || m.Path() != path {
			t.Errorf("%s: asked %q, answered %q, streams %v %v, reads %v", m, names(m.Asked), names(m.Answered), m.ClientStreams, m.ServerStreams, m.Reads)
		}
	}
	for _, path := range []string{"", "/", "shop.v1.Customers/Get", "/shop.v1.Customers/get", "/shop.v1.Customers/Get/", "//shop.v1.Customers/Get", "/shop.v1.Customers"} {
		if s.Method(path) != nil {
			t.Errorf("%q is a method", path)
		}
	}
	if without := shop(t); names(without.Method("/shop.v1.Customers/Anything").Answered) != "" {
		t.Error("an Any has labelled fields where there are none")
	}
}

// TestSources: the same descriptors by .proto files, a set, and files one by one, in any order.
func TestSources(t *testing.T) {
	labels := shopLabels(t, "shop.v1.Customer.email")
	s := shop(t, "shop.v1.Customer.email")
	set := &descriptorpb.FileDescriptorSet{File: slices.Clone(s.protos)}
	slices.Reverse(set.File)
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	bySet, err := FromSet(b, labels)
	if err != nil || bySet.Digest() != s.Digest() {
		t.Error("by a set it is another one", err)
	}
	var files [][]byte
	for _, f := range set.File {
		if strings.HasPrefix(f.GetName(), "google/") {
			continue // what everybody has need not be there
		}
		one, _ := proto.Marshal(f)
		files = append(files, one, one)
	}
	byFiles, err := FromFiles(files, labels)
	if err != nil || byFiles.Digest() != s.Digest() {
		t.Error("by files it is another one", err)
	}
	other := proto.CloneOf(s.protos[len(s.protos)-1])
	other.Service[0].Method = other.Service[0].Method[1:]
	one, _ := proto.Marshal(other)
	if _, err := FromFiles(append(files, one), labels); err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Error("a file came in two forms", err)
	}
	for _, bad := range [][][]byte{nil, {{1}}, files[:2], {append([]byte{}, bytes.Repeat([]byte{0x0a, 0}, 10)...)}} {
		if _, err := FromFiles(bad, nil); err == nil && len(bad) != 2 {
			t.Errorf("%d files are taken", len(bad))
		}
	}
	if _, err := FromSet([]byte("nothing of the kind"), nil); err == nil {
		t.Error("a text is a set")
	}
	if _, err := FromSet(nil, nil); err == nil {
		t.Error("nothing is a set")
	}
	_, err = FromProtos([]string{"shop.proto"}, open, Labels{"shop.v1.Customer.e_mail": {"pii.email"}})
	var unknown *UnknownField
	if !errors.As(err, &unknown) || !slices.Contains(unknown.Known, "shop.v1.Customer.email") || !slices.IsSorted(unknown.Known) {
		t.Error(err)
	}
	if _, err := FromProtos([]string{"shop.proto"}, open, Labels{"google.protobuf.StringValue.value": {"pii.email"}}); err == nil {
		t.Error("a field that everybody has is labelled")
	}
	if _, err := FromProtos([]string{"none.proto"}, open, nil); err == nil {
		t.Error("a file that is not there is read")
	}
	if _, err = FromProtos([]string{"a.proto"}, func(name string) (string, error) {
		if name != "a.proto" {
			return "", os.ErrNotExist
		}
		return `syntax = "proto3"; message A { B b = 1; }`, nil
	}, nil); err == nil || !strings.Contains(err.Error(), "a.proto:1:") {
		t.Error(err)
	}
}

// TestFiles: what reflection answers has the methods that are permitted and no others.
func TestFiles(t *testing.T) {
	s := shop(t)
	files, services, err := s.Files(func(m *Method) bool { return m.Name == "Ping" })
	if err != nil || strings.Join(services, " ") != "shop.v1.Customers" {
		t.Fatal(services, err)
	}
	d, err := files.FindDescriptorByName("shop.v1.Customers")
	if err != nil || d.(protoreflect.ServiceDescriptor).Methods().Len() != 1 {
		t.Error("methods that are not permitted are there", err)
	}
	if files, services, err = s.Files(func(*Method) bool { return false }); err != nil || len(services) != 0 {
		t.Error(services, err)
	}
	if _, err := files.FindDescriptorByName("shop.v1.Customers"); err == nil {
		t.Error("a service without a method is there")
	}
}

// TestText: texts are bounded, and say what is not understood.
func TestText(t *testing.T) {
	s := shop(t)
	m := s.messages["shop.v1.Customer"]
	b := encode(t, s, "shop.v1.Customer", `name: "`+strings.Repeat("é", 1000)+`" email: "x"`)
	for most := range 60 {
		if got := string(s.AppendText([]byte("x"), b, m, most)); len(got) > 1+most+len("…") || !strings.HasSuffix(got, "…") || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%d: %q", most, got)
		}
	}
	if got := string(s.AppendText(nil, []byte{8, 7, 8}, m, 100)); got != "id: 7 # 1 bytes that are not understood" {
		t.Error(got)
	}
	if got := string(s.AppendText(nil, []byte("\xfa\x06\x01a\xf8\x06\x05"), m, 100)); got != `111: "a" 111: 5` {
		t.Error(got)
	}
}

// TestZero: the zero values show nothing.
func TestZero(t *testing.T) {
	s := shop(t, "shop.v1.Customer.email")
	b := encode(t, s, "shop.v1.Customer", `email: "ada@example.com"`)
	var none *Plan
	if _, err := none.Mask(nil, b, s.messages["shop.v1.Customer"]); err == nil || none.Raw() {
		t.Error("no plan shows something")
	}
	got, err := s.Under(nil).Mask(nil, b, s.messages["shop.v1.Customer"])
	if err != nil || len(got) != 0 {
		t.Errorf("without a rule %q is shown, %v", got, err)
	}
}

// TestDepth: messages nest to a bound, and what is deeper is refused.
func TestDepth(t *testing.T) {
	s := shop(t, "shop.v1.Customer.email")
	m := s.messages["shop.v1.Customer"]
	b := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "ada@example.com")
	for depth := range 200 {
		shown, err := s.Under(nil).Mask(nil, b, m)
		_, askErr := s.Inspect(b, m)
		if bad := depth > MaxDepth; (err != nil) != bad || (askErr != nil) != bad || bytes.Contains(shown, []byte("ada@")) {
			t.Fatalf("%d deep: %v, %v", depth, err, askErr)
		}
		s.AppendText(nil, b, m, 1<<20)
		b = protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), b)
	}
	groups := bytes.Repeat([]byte{0x0b}, 20000) // of a field that is not there
	if _, err := s.Under(nil).Mask(nil, append(groups, bytes.Repeat([]byte{0x0c}, 20000)...), s.messages["old.Record"]); err == nil {
		t.Error("20000 groups within each other are walked")
	}
}

// everything labels every field that the fuzz targets look for.
var everything = []string{
	"shop.v1.Customer.email", "shop.v1.Customer.phones", "shop.v1.Customer.income", "shop.v1.Customer.scores", "shop.v1.Customer.fax", "shop.v1.Customer.nick", "shop.v1.Customer.born",
	"shop.v1.Customer.tags", "shop.v1.Customer.far", "shop.v1.Address.street", "old.Record.code", "old.Record.Part.serial", "old.secret",
}

// FuzzMessage walks any bytes. What is shown can be read, and no labelled field of it has a value; what a request is taken
// for is what its reader takes it for.
func FuzzMessage(f *testing.F) {
	s := shop(f, everything...)
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add(encode(f, s, "shop.v1.Customer", `id: 7 email: "a" phones: "b" address { street: "c" } addresses { key: "d" value { street: "e" } } nick { value: "f" } scores: 5 record { code: "g" Part { serial: "h" } [old.secret]: "i" } more { [x/shop.v1.Customer] { email: "j" } } attributes { fields { key: "k" value { list_value { values { number_value: 1 } } } } } far: "l"`))
	m := s.messages["shop.v1.Customer"]
	d, err := s.files.FindDescriptorByName("shop.v1.Customer")
	if err != nil {
		f.Fatal(err)
	}
	labelled := map[protoreflect.FullName]bool{}
	for _, n := range everything {
		labelled[protoreflect.FullName(n)] = true
	}
	types := dynamicpb.NewTypes(s.files)
	read := func(b []byte) (*dynamicpb.Message, error) {
		out := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
		return out, proto.UnmarshalOptions{AllowPartial: true, Resolver: types}.Unmarshal(b, out)
	}
	hidden := s.Under(nil)
	email := map[*Field]mask.Rule{}
	for _, one := range s.Labelled() {
		email[one] = mask.Rule{Exposure: policy.Exposure{Visible: true, Mask: policy.MaskEmail}}
	}
	masked := s.Under(email)
	f.Fuzz(func(t *testing.T, b []byte) {
		s.AppendText(nil, b, m, 1000)
		if _, err := s.Inspect(b, m); err == nil {
			got, err := read(b)
			if err != nil {
				t.Fatalf("a request is understood that its reader refuses: %v", err)
			}
			if n := unknown(got.ProtoReflect()); n > 0 {
				t.Fatalf("a request is understood with %d bytes of unknown fields", n)
			}
		}
		shown, err := masked.Mask(nil, b, m)
		if err == nil {
			if _, err := masked.Mask(nil, shown, m); err != nil {
				t.Fatalf("what is shown is not understood: %v", err)
			}
		}
		shown, hiddenErr := hidden.Mask(nil, b, m)
		if (err == nil) != (hiddenErr == nil) {
			t.Fatalf("%v, and %v", err, hiddenErr)
		}
		if err != nil {
			return
		}
		got, err := read(shown)
		if err != nil {
			t.Fatalf("what is shown cannot be read: %v", err)
		}
		if n := unknown(got.ProtoReflect()); n > 0 {
			t.Fatalf("%d bytes of unknown fields are shown", n)
		}
		if bad := labelledIn(got.ProtoReflect(), labelled); bad != "" {
			t.Fatalf("%s is shown", bad)
		}
	})
}

// unknown counts the bytes of unknown fields.
func unknown(m protoreflect.Message) int {
	n := len(m.GetUnknown())
	each(m, func(_ protoreflect.FieldDescriptor, v protoreflect.Value, within protoreflect.Message) {
		if within != nil {
			n += unknown(within)
		}
	})
	return n
}

// labelledIn is the name of a labelled field with a value; "" where there is none.
func labelledIn(m protoreflect.Message, labelled map[protoreflect.FullName]bool) (bad string) {
	each(m, func(f protoreflect.FieldDescriptor, v protoreflect.Value, within protoreflect.Message) {
		switch {
		case labelled[f.FullName()] && (within != nil && proto.Size(within.Interface()) > 0 || within == nil && !v.Equal(f.Default()) && !v.Equal(protoreflect.ValueOf(zeroOf(f)))):
			bad = string(f.FullName())
		case within != nil && bad == "":
			bad = labelledIn(within, labelled)
		}
	})
	return bad
}

func zeroOf(f protoreflect.FieldDescriptor) any {
	switch f.Kind() {
	case protoreflect.StringKind:
		return ""
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return int32(0)
	}
	return false
}

// each calls do with every value of a message, those of lists and maps one by one.
func each(m protoreflect.Message, do func(protoreflect.FieldDescriptor, protoreflect.Value, protoreflect.Message)) {
	within := func(f protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Message {
		if f.Message() == nil {
			return nil
		}
		return v.Message()
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				do(f, v, within(f.MapValue(), v))
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				do(f, v.List().Get(i), within(f, v.List().Get(i)))
			}
		default:
			do(f, v, within(f, v))
		}
		return true
	})
}

const small = `syntax = "proto3"; package a.b; message A { map<string, A> m = 1; repeated E e = 2; } enum E { X = 0; } service S { rpc M(stream A) returns (A); }`

// FuzzSet reads any descriptors: what is taken can be walked and answered by reflection.
func FuzzSet(f *testing.F) {
	s, err := FromProtos([]string{"a.proto"}, func(name string) (string, error) {
		if name != "a.proto" {
			return "", os.ErrNotExist
		}
		return small, nil
	}, nil)
	if err != nil {
		f.Fatal(err)
	}
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: s.protos})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0x0a, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := FromSet(b, nil)
		if err != nil {
			return
		}
		s.Files(func(m *Method) bool { return m.ClientStreams })
		for _, m := range s.Methods() {
			s.Inspect(b, m.Input)
			s.Under(nil).Mask(nil, b, m.Output)
			s.AppendText(nil, b, m.Output, 100)
		}
	})
}

// FuzzProtos compiles any text.
func FuzzProtos(f *testing.F) {
	f.Add(small)
	f.Add(`syntax = "proto2"; message A { optional group B = 1 { extensions 5 to max; } } extend A.B { optional int32 c = 5 [default = 1]; }`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := FromProtos([]string{"a.proto"}, func(name string) (string, error) {
			if name == "a.proto" {
				return text, nil
			}
			return open(name)
		}, nil)
		if err == nil && len(s.Digest()) != 64 {
			t.Error("a schema without its digest")
		}
	})
}

func BenchmarkMask(b *testing.B) {
	s := shop(b, "shop.v1.Customer.email", "shop.v1.Customer.phones")
	text := `id: 7 name: "Ada Lovelace" email: "ada@example.com" phones: "+44 20 7946 0958" address { street: "12 Long Road" city: "London" }`
	msg := encode(b, s, "shop.v1.Customer", text+` friends {`+text+`} friends {`+text+`} friends {`+text+`} friends {`+text+`} friends {`+text+`}`)
	m := s.messages["shop.v1.Customer"]
	under := map[*Field]mask.Rule{}
	for _, f := range s.Labelled() {
		under[f] = mask.Rule{Exposure: policy.Exposure{Visible: true, Mask: policy.MaskEmail}}
	}
	p := s.Under(under)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst, _ = p.Mask(dst[:0], msg, m)
	}
}
