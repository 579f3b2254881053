package grpcguard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// FromProtos compiles .proto files. open gives the text of a file, by the name that it is imported by; the well-known
// files need not be there. An error names the file and the line.
func FromProtos(names []string, open func(name string) (string, error), labels Labels) (_ *Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the .proto files are not understood")
		}
	}()
	size := 0
	read := func(name string) (io.ReadCloser, error) {
		text, err := open(name)
		if err != nil {
			return nil, err
		}
		if size += len(text); size > MaxSet {
			return nil, fmt.Errorf("the .proto files have more than %d bytes", MaxSet)
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: read}), MaxParallelism: 1}
	compiled, err := c.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	return newSchema(gather(compiled), labels)
}

// gather are the files with everything that they import.
func gather(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var out []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		out = append(out, protodesc.ToFileDescriptorProto(f))
	}
	for _, f := range files {
		add(f)
	}
	return out
}
