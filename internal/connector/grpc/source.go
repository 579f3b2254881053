package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/grpcguard"
)

// load reads the descriptors from files.
func (o *Options) load() (*grpcguard.Schema, error) {
	var s *grpcguard.Schema
	var err error
	if !o.DescriptorSet.IsZero() {
		var b []byte
		if b, err = readFile(o.DescriptorSet.String()); err != nil {
			return nil, err
		}
		if s, err = grpcguard.FromSet(b, o.labels()); err != nil {
			err = fmt.Errorf("%s: %w", o.DescriptorSet, err)
		}
	} else {
		s, err = o.loadProtos()
	}
	return s, o.explained(err)
}

// explained says of a label on a field that is not there which one may be meant.
func (o *Options) explained(err error) error {
	var unknown *grpcguard.UnknownField
	if !errors.As(err, &unknown) {
		return err
	}
	if near := strict.Nearest(unknown.Name, unknown.Known); near != "" {
		return fmt.Errorf("labels: the service has no field %s: is %s meant?", unknown.Name, near)
	}
	return fmt.Errorf("labels: the service has no field %s: a label is on the full name of a message's field, such as shop.v1.Customer.email", unknown.Name)
}

func (o *Options) loadProtos() (*grpcguard.Schema, error) {
	folders := make([]string, 0, len(o.ProtoPaths)+len(o.Protos))
	for _, p := range o.ProtoPaths {
		folders = append(folders, p.String())
	}
	var names []string
	for _, p := range o.Protos {
		name := ""
		for _, f := range folders {
			if rel, err := filepath.Rel(f, p.String()); err == nil && filepath.IsLocal(rel) {
				name = filepath.ToSlash(rel)
				break
			}
		}
		if name == "" {
			folders = append(folders, filepath.Dir(p.String()))
			name = filepath.Base(p.String())
		}
		names = append(names, name)
	}
	open := func(name string) (string, error) {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return "", fmt.Errorf("%q leads out of the folders of .proto files", name)
		}
		var first error
		for _, f := range folders {
			b, err := readFile(filepath.Join(f, filepath.FromSlash(name)))
			if err == nil {
				return string(b), nil
			}
			if first == nil {
				first = err
			}
		}
		return "", first
	}
	return grpcguard.FromProtos(names, open, o.labels())
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, grpcguard.MaxSet+1))
	if err == nil && len(b) > grpcguard.MaxSet {
		err = fmt.Errorf("%s has more than %d bytes", path, grpcguard.MaxSet)
	}
	return b, err
}

const reflectTime = 20 * time.Second

// reflectionMethods are those of both versions of server reflection, whose messages are the same.
var reflectionMethods = []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}

// reflect asks a service what its methods and messages are; ctx carries the gateway's credential.
func (o *Options) reflect(ctx context.Context, cc *grpc.ClientConn) (*grpcguard.Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, reflectTime)
	defer cancel()
	var err error
	for _, method := range reflectionMethods {
		var files [][]byte
		if files, err = gather(ctx, cc, method); err == nil {
			s, err := grpcguard.FromFiles(files, o.labels())
			return s, o.explained(err)
		}
		if status.Code(err) != codes.Unimplemented {
			break
		}
	}
	if status.Code(err) == codes.Unimplemented {
		return nil, errors.New("the service has no server reflection: name a descriptor_set or protos")
	}
	return nil, fmt.Errorf("server reflection: %w", err)
}

// asker asks one question at a time on a stream of server reflection.
type asker struct{ stream grpc.ClientStream }

func (a asker) ask(q *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
	if err := a.stream.SendMsg(q); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	r := &reflectionpb.ServerReflectionResponse{}
	if err := a.stream.RecvMsg(r); err != nil {
		return nil, err
	}
	if e := r.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("the service answered with the error %d", e.GetErrorCode())
	}
	return r, nil
}

// gather are the files of every service, with all that they import.
func gather(ctx context.Context, cc *grpc.ClientConn, method string) ([][]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.MaxCallRecvMsgSize(grpcguard.MaxSet))
	if err != nil {
		return nil, err
	}
	a := asker{stream}
	list, err := a.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{ListServices: "*"}})
	if err != nil {
		return nil, err
	}
	var files [][]byte
	seen, wanted := map[string]bool{}, []string{}
	size := 0
	take := func(r *reflectionpb.ServerReflectionResponse) error {
		for _, b := range r.GetFileDescriptorResponse().GetFileDescriptorProto() {
			var f descriptorpb.FileDescriptorProto
			if size += len(b); size > grpcguard.MaxSet || len(files) >= grpcguard.MaxFiles {
				return fmt.Errorf("the service has more than %d files, or %d bytes of them", grpcguard.MaxFiles, grpcguard.MaxSet)
			}
			if err := proto.Unmarshal(b, &f); err != nil {
				return errors.New("the service answered with what is no descriptor")
			}
			if seen[f.GetName()] {
				continue
			}
			seen[f.GetName()] = true
			files, wanted = append(files, b), append(wanted, f.GetDependency()...)
		}
		return nil
	}
	for _, s := range list.GetListServicesResponse().GetService() {
		r, err := a.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: s.GetName()}})
		if err != nil && strings.HasPrefix(s.GetName(), "grpc.") {
			continue // what every server has need not be explained
		}
		if err == nil {
			err = take(r)
		}
		if err != nil {
			return nil, err
		}
	}
	for len(wanted) > 0 {
		name := wanted[0]
		if wanted = wanted[1:]; seen[name] {
			continue
		}
		r, err := a.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: name}})
		if err == nil {
			err = take(r)
		}
		if err != nil && !strings.HasPrefix(name, "google/protobuf/") { // everybody has those
			return nil, err
		}
		seen[name] = true
	}
	return files, nil
}
