package grpcguard

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"gatehouse/internal/mask"
	"gatehouse/internal/policy"
)

var update = flag.Bool("update", false, "write what comes out into the golden cases")

func open(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join("testdata", filepath.Base(name)))
	return string(b), err
}

// shopLabels are those that the golden cases have: every field that they mask.
func shopLabels(t testing.TB, names ...string) Labels {
	out := Labels{}
	for _, n := range names {
		out[n] = []string{"pii." + n[strings.LastIndexByte(n, '.')+1:]}
	}
	return out
}

func shop(t testing.TB, names ...string) *Schema {
	t.Helper()
	s, err := FromProtos([]string{"shop.proto"}, open, shopLabels(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// encode is a message of a type from its text.
func encode(t testing.TB, s *Schema, name, text string) []byte {
	t.Helper()
	d, err := s.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	types := dynamicpb.NewTypes(s.files)
	if err := (prototext.UnmarshalOptions{Resolver: struct {
		protoregistry.MessageTypeResolver
		protoregistry.ExtensionTypeResolver
	}{types, types}}).Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rules reads `FIELD MASK` lines; a bucket is bucket:WIDTH, and hidden is what may not be read.
func rules(t testing.TB, text string) (names []string, masks map[string]mask.Rule) {
	masks = map[string]mask.Rule{}
	for line := range strings.Lines(text) {
		name, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		names = append(names, name)
		r := mask.Rule{Class: "pii.x", Key: []byte("a key of the golden cases, 32 b.")}
		word, width, _ := strings.Cut(word, ":")
		fmt.Sscan(width, &r.Width)
		switch word {
		case "hidden":
		case "none":
			r.Exposure = policy.Exposure{Visible: true, Mask: policy.MaskNone}
		default:
			m, err := policy.ParseMask(word)
			if err != nil {
				t.Fatal(err)
			}
			r.Visible, r.Mask = true, m
		}
		masks[name] = r
	}
	return names, masks
}

// TestGolden: of each case, what is shown of an answer, and which labelled fields it has as a request.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no golden cases", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) string {
				for _, f := range a.Files {
					if f.Name == name {
						return strings.TrimSpace(string(f.Data))
					}
				}
				return ""
			}
			names, masks := rules(t, part("masks"))
			s := shop(t, names...)
			var b []byte
			if text := part("hex"); text != "" {
				if b, err = hex.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
					t.Fatal(err)
				}
			} else {
				b = encode(t, s, part("type"), part("text"))
			}
			m := s.messages[protoreflect.FullName(part("type"))]
			under := map[*Field]mask.Rule{}
			for _, f := range s.Labelled() {
				under[f] = masks[f.Name]
			}
			got := map[string]string{}
			shown, err := s.Under(under).Mask([]byte("before"), b, m)
			if err != nil {
				got["shown"] = "refused: " + err.Error()
			} else {
				got["shown"] = string(s.AppendText(nil, shown[len("before"):], m, 1<<20))
				d, _ := s.files.FindDescriptorByName(protoreflect.FullName(m.name))
				if err := proto.Unmarshal(shown[len("before"):], dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))); err != nil {
					t.Errorf("a client could not read it: %v", err)
				}
			}
			asked, err := s.Inspect(b, m)
			if err != nil {
				got["asked"] = "refused: " + err.Error()
			}
			for _, f := range asked {
				got["asked"] += f.Name + "\n"
			}
			got["asked"] = strings.TrimSpace(got["asked"])
			if *update {
				a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "shown" || f.Name == "asked" })
				for _, name := range []string{"shown", "asked"} {
					a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(got[name] + "\n")})
				}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for name, text := range got {
				if want := part(name); text != want {
					t.Errorf("%s:\n%s\nwant\n%s", name, text, want)
				}
			}
		})
	}
}
