// Package grpcguard understands gRPC messages: the descriptors of a service in, its methods with their labelled fields
// out; the bytes of a message in, what is shown of them out.
//
// The bytes are walked by the wire format itself (protobuf.dev/programming-guides/encoding), so that nothing is shown,
// or forwarded, that the descriptors do not know. The package is pure: no network, no files, no clock. Whatever the bytes
// are, it never panics, and no error holds a value.
package grpcguard

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// The well-known types, which descriptors may import without bringing them.
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// Bounds of descriptors.
const (
	MaxSet    = 32 << 20 // bytes of all files
	MaxFiles  = 4096
	maxFields = 1 << 20
)

// Schema is the services of a connection, and the messages that they speak in. Immutable.
type Schema struct {
	files    *protoregistry.Files
	protos   []*descriptorpb.FileDescriptorProto // in the order in which they were given
	messages map[protoreflect.FullName]*Message
	methods  map[string]*Method
	services []string
	labelled []*Field // those with a label, by name
	fields   int
	digest   string
}

// Method is one method of a service. Immutable.
type Method struct {
	// Service is the full name of its service, shop.v1.Customers; Name its own, Get.
	Service, Name string
	// Input and Output are what its messages are.
	Input, Output *Message
	// ClientStreams and ServerStreams say which side may send many messages.
	ClientStreams, ServerStreams bool
	// Reads is set where the descriptor says that it changes nothing (idempotency_level = NO_SIDE_EFFECTS).
	Reads bool
	// Asked are the labelled fields that its requests can have, Answered those of its answers, by name.
	Asked, Answered []*Field
}

// Path is the method as the protocol names it: /shop.v1.Customers/Get.
func (m *Method) Path() string { return "/" + m.Service + "/" + m.Name }

// String is the method as people write it: shop.v1.Customers/Get.
func (m *Method) String() string { return m.Service + "/" + m.Name }

// Message is a type of messages. Immutable.
type Message struct {
	name    string
	low     [64]*Field // by number
	high    map[int32]*Field
	special special
	reaches bool // a labelled field can be in it
}

// Name is its full name: shop.v1.Customer.
func (m *Message) Name() string { return m.name }

// special are the messages that mean more than their fields.
type special uint8

const (
	ordinary special = iota
	anyMessage
	timestamp
	wrapper
)

// Field is one field of a message. Immutable.
type Field struct {
	// Name is its full name: shop.v1.Customer.email.
	Name string
	// Labels are its data classes.
	Labels []string

	of       *Message
	short    string // as text has it
	number   int32
	kind     protoreflect.Kind
	list     bool // repeated, a map too
	entries  bool // of a map
	required bool
	message  *Message
	enum     protoreflect.EnumValueDescriptors
	label    int // where it is in the schema's list of labelled fields; -1: it has none
}

// Scope is the full name of what the field is declared in: its message, or of an extension what that stands in.
func (f *Field) Scope() string { return f.Name[:max(strings.LastIndexByte(f.Name, '.'), 0)] }

// Labels are data classes by the full name of a field.
type Labels map[string][]string

// FromSet reads a FileDescriptorSet, as `protoc --include_imports --descriptor_set_out` and `buf build` write it.
func FromSet(set []byte, labels Labels) (*Schema, error) {
	if len(set) > MaxSet {
		return nil, fmt.Errorf("the descriptors have more than %d bytes", MaxSet)
	}
	var all descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &all); err != nil {
		return nil, errors.New("it is not a FileDescriptorSet")
	}
	return newSchema(all.GetFile(), labels)
}

// FromFiles reads FileDescriptorProtos one by one, as server reflection answers with them. One that comes again must be
// the same.
func FromFiles(files [][]byte, labels Labels) (*Schema, error) {
	var all []*descriptorpb.FileDescriptorProto
	size := 0
	for _, b := range files {
		if size += len(b); size > MaxSet {
			return nil, fmt.Errorf("the descriptors have more than %d bytes", MaxSet)
		}
		one := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(b, one); err != nil {
			return nil, errors.New("one of the files is not a FileDescriptorProto")
		}
		all = append(all, one)
	}
	return newSchema(all, labels)
}

// newSchema puts files together.
func newSchema(files []*descriptorpb.FileDescriptorProto, labels Labels) (_ *Schema, err error) {
	defer func() { // the descriptors come from elsewhere, and the library that reads them is not ours
		if p := recover(); p != nil {
			err = errors.New("the descriptors contradict themselves")
		}
	}()
	if len(files) == 0 {
		return nil, errors.New("there are no descriptors")
	}
	s := &Schema{messages: map[protoreflect.FullName]*Message{}, methods: map[string]*Method{}}
	if s.protos, err = complete(files); err != nil {
		return nil, err
	}
	if s.files, err = protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: s.protos}); err != nil {
		return nil, fmt.Errorf("the descriptors do not fit together: %w", err)
	}
	if err := s.compile(labels); err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, f := range s.protos {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
		if err != nil {
			return nil, fmt.Errorf("the descriptors cannot be written: %w", err)
		}
		fmt.Fprintf(sum, "%d\n", len(b))
		sum.Write(b)
	}
	s.digest = hex.EncodeToString(sum.Sum(nil))
	return s, nil
}

// complete is each file once, by name, with the well-known ones that are imported and not there.
func complete(files []*descriptorpb.FileDescriptorProto) ([]*descriptorpb.FileDescriptorProto, error) {
	byName := map[string]*descriptorpb.FileDescriptorProto{}
	for i := 0; i < len(files); i++ {
		f := files[i]
		if was := byName[f.GetName()]; was != nil {
			if !proto.Equal(was, f) {
				return nil, fmt.Errorf("the file %.200q is there twice, and is not the same", f.GetName())
			}
			continue
		}
		if len(byName) >= MaxFiles {
			return nil, fmt.Errorf("there are more than %d files", MaxFiles)
		}
		byName[f.GetName()] = f
		for _, d := range f.GetDependency() {
			if !strings.HasPrefix(d, "google/protobuf/") || slices.ContainsFunc(files, func(o *descriptorpb.FileDescriptorProto) bool { return o.GetName() == d }) {
				continue
			}
			if known, err := protoregistry.GlobalFiles.FindFileByPath(d); err == nil {
				files = append(files, protodesc.ToFileDescriptorProto(known))
			}
		}
	}
	out := make([]*descriptorpb.FileDescriptorProto, 0, len(byName))
	for _, f := range byName {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *descriptorpb.FileDescriptorProto) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, nil
}

// Set is the descriptors as a FileDescriptorSet.
func (s *Schema) Set() ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&descriptorpb.FileDescriptorSet{File: s.protos})
}

// Method is the method of a path, /shop.v1.Customers/Get; nil where there is none.
func (s *Schema) Method(path string) *Method { return s.methods[path] }

// Methods are all of them, by path.
func (s *Schema) Methods() []*Method {
	out := make([]*Method, 0, len(s.methods))
	for _, m := range s.methods {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Method) int { return strings.Compare(a.Path(), b.Path()) })
	return out
}

// Services are the full names of the services, in order.
func (s *Schema) Services() []string { return s.services }

// Labelled are the fields with labels, by name.
func (s *Schema) Labelled() []*Field { return s.labelled }

// Digest is equal for schemas that are made of the same descriptors: their SHA-256, in hex.
func (s *Schema) Digest() string { return s.digest }

// Files are the descriptors of the methods that keep says of, with every message: what server reflection may answer. The
// names are those of the services that are left.
func (s *Schema) Files(keep func(*Method) bool) (files *protoregistry.Files, services []string, err error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range s.protos {
		own := proto.CloneOf(f)
		own.SourceCodeInfo = nil
		prefix := ""
		if own.GetPackage() != "" {
			prefix = own.GetPackage() + "."
		}
		own.Service = slices.DeleteFunc(own.Service, func(d *descriptorpb.ServiceDescriptorProto) bool {
			name := prefix + d.GetName()
			d.Method = slices.DeleteFunc(d.Method, func(m *descriptorpb.MethodDescriptorProto) bool {
				one := s.methods["/"+name+"/"+m.GetName()]
				return one == nil || !keep(one)
			})
			if len(d.Method) > 0 {
				services = append(services, name)
			}
			return len(d.Method) == 0
		})
		set.File = append(set.File, own)
	}
	slices.Sort(services)
	files, err = protodesc.NewFiles(set)
	return files, services, err
}
