package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/policy"
)

const (
	healthService = "grpc.health.v1.Health"
	healthList    = "/" + healthService + "/List"
)

// builtIn are server reflection and health, which every session may ask: what they say is filtered.
func builtIn() (*grpcguard.Schema, error) {
	var files [][]byte
	for _, f := range []protoreflect.FileDescriptor{healthpb.File_grpc_health_v1_health_proto, reflectionpb.File_grpc_reflection_v1_reflection_proto, reflectionalphapb.File_grpc_reflection_v1alpha_reflection_proto} {
		b, err := proto.Marshal(protodesc.ToFileDescriptorProto(f))
		if err != nil {
			return nil, err
		}
		files = append(files, b)
	}
	return grpcguard.FromFiles(files, nil)
}

// special takes a call of what every service has.
func (c *call) special() {
	if c.method = c.server.builtIn.Method(c.path); c.method == nil {
		return
	}
	c.own, c.schema = true, c.server.builtIn
	if c.path == healthList {
		c.refuse(gate.NotUnderstood, codes.Unimplemented, "The health of every service at once is not answered.", "Ask for one service's with Check.")
	}
}

// visible says whether the principal may call any method of a service.
func (t *target) visible(w *world, slice *policy.Slice, service string) bool {
	for _, m := range w.schema.Methods() {
		if m.Service == service && t.permits(slice, m) {
			return true
		}
	}
	return false
}

// health says whether the health of what is asked for may be known: of a service that the principal may not call it is that
// of one that there is not.
func (c *call) health(ctx context.Context) error {
	var q healthpb.HealthCheckRequest
	if err := proto.Unmarshal(c.body, &q); err != nil {
		return &gate.Refusal{Code: gate.NotUnderstood, Reason: "The request is not understood.", Remedy: "Send it as the service's descriptors say."}
	}
	if q.GetService() == "" {
		return nil
	}
	w, err := c.target.look(ctx, "")
	if err != nil || w == nil {
		return &gate.Refusal{Code: gate.Unavailable, Reason: "The service does not say what its methods are.", Remedy: "Try again later."}
	}
	if !c.target.visible(w, c.slice, q.GetService()) {
		return errNoService
	}
	return nil
}

var errNoService = errors.New("unknown service")

// shown is what server reflection answers by one slice of the policies.
type shown struct {
	server reflectionpb.ServerReflectionServer
}

// services are names for the library.
type services []string

func (s services) GetServiceInfo() map[string]grpc.ServiceInfo {
	out := map[string]grpc.ServiceInfo{}
	for _, name := range s {
		out[name] = grpc.ServiceInfo{}
	}
	return out
}

func (t *target) reflection(w *world, slice *policy.Slice) (*shown, error) {
	w.mu.RLock()
	s := w.shown[slice.Key()]
	w.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	files, names, err := w.schema.Files(func(m *grpcguard.Method) bool { return t.permits(slice, m) })
	if err != nil {
		return nil, fmt.Errorf("descriptors for reflection: %w", err)
	}
	s = &shown{reflection.NewServerV1(reflection.ServerOptions{Services: services(names), DescriptorResolver: known{files}, ExtensionResolver: new(protoregistry.Types)})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.shown) >= maxShown {
		clear(w.shown)
	}
	w.shown[slice.Key()] = s
	return s, nil
}

// known are the descriptors of a service with those of the gateway's own refusals, so that a client can show them.
type known struct{ *protoregistry.Files }

func (k known) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	f, err := k.Files.FindFileByPath(path)
	if own := errdetails.File_google_rpc_error_details_proto; err != nil && path == own.Path() {
		return own, nil
	}
	return f, err
}

func (k known) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	d, err := k.Files.FindDescriptorByName(name)
	if own := errdetails.File_google_rpc_error_details_proto; err != nil && name.Parent() == own.Package() {
		if m := own.Messages().ByName(name.Name()); m != nil {
			return m, nil
		}
	}
	return d, err
}

const maxShown = 64 // remembered: each has descriptors of its own

// reflect answers server reflection by what the principal may call.
func (c *call) reflect(ctx context.Context, stream grpc.ServerStream) error {
	w, err := c.target.look(ctx, "")
	if err != nil || w == nil {
		return &gate.Refusal{Code: gate.Unavailable, Reason: "The service does not say what its methods are.", Remedy: "Try again later."}
	}
	s, err := c.target.reflection(w, c.slice)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		err := error(nil)
		defer func() { done <- err }()
		defer recovered(&err)
		err = s.server.ServerReflectionInfo(&questions{ServerStream: stream, call: c})
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// questions are those of server reflection, each recorded with its answer. The messages of both versions are the same.
type questions struct {
	grpc.ServerStream
	call *call
}

func (q *questions) Recv() (*reflectionpb.ServerReflectionRequest, error) {
	var f frame
	if err := q.RecvMsg(&f); err != nil {
		return nil, err
	}
	if len(f.b) > maxQuestion {
		return nil, io.ErrShortBuffer
	}
	out := &reflectionpb.ServerReflectionRequest{}
	if err := proto.Unmarshal(f.b, out); err != nil {
		return nil, &gate.Refusal{Code: gate.NotUnderstood, Reason: "The question is not understood.", Remedy: "Ask as grpc.reflection.v1 says."}
	}
	if err := q.call.entry.Ready(); err != nil {
		return nil, err
	}
	events, err := q.call.note(fromClient, f.b, q.call.method.Input, nil)
	if err == nil && len(events) > 0 {
		err = q.call.entry.Record(events...)
	}
	return out, err
}

const maxQuestion = 64 << 10 // bytes

func (q *questions) Send(r *reflectionpb.ServerReflectionResponse) error {
	b, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	events, err := q.call.note(fromService, b, q.call.method.Output, nil)
	if err == nil && len(events) > 0 {
		err = q.call.entry.Record(events...)
	}
	if err != nil {
		return err
	}
	return q.SendMsg(&frame{b})
}
