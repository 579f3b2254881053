package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"gatehouse/internal/gate"
)

// send gives an admitted call to the service, and its answer to the client. What it returns is the call's status.
func (c *call) send(ctx context.Context, stream grpc.ServerStream) (end error) {
	summary, failure, unknown := codes.Unknown.String(), "", false
	defer func() {
		o := c.outcome(summary, failure)
		if unknown {
			o.Status = "unknown"
		}
		if err := c.entry.Close(o); err != nil {
			c.target.log.Error("how a call ended was not recorded", "request", c.entry.ID(), "error", err)
		}
	}()
	refuse := func(r *gate.Refusal, code codes.Code) error {
		r.RequestID = c.entry.ID()
		err := refusal(r, code, "")
		summary, failure = status.Code(err).String(), r.Reason
		return err
	}
	if err := c.entry.Ready(); err != nil {
		if r, ok := gate.AsRefusal(err); ok {
			return refuse(r, codes.OK)
		}
		return refuse(&gate.Refusal{Code: gate.Unavailable, Reason: "The call was not admitted.", Remedy: "Call again."}, codes.OK)
	}
	expires := c.session.Expires()
	ctx, cancel := context.WithDeadlineCause(ctx, expires.Add(gate.Grace), expired())
	defer cancel()
	if limit := c.entry.Limit().Seconds; limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, time.Duration(limit)*time.Second, &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("A policy lets the call take %d seconds.", limit), Remedy: "Ask for less at a time."})
		defer stop()
	}
	out, err := c.target.sign(ctx, c.header)
	if err != nil {
		c.target.log.Error("the service's credential cannot be had", "error", err)
		return refuse(&gate.Refusal{Code: gate.Unavailable, Reason: "The gateway's own credential for connection " + c.target.connection.Name + " cannot be had.", Remedy: "Tell the operator of this gateway; its log names the cause."}, codes.OK)
	}
	if c.own && c.method.Service == healthService {
		err = c.health(ctx)
	}
	switch {
	case err != nil:
	case c.own && c.method.Service != healthService:
		err = c.reflect(ctx, stream)
	case c.method.ClientStreams || c.method.ServerStreams:
		err = c.streams(out, stream)
	default:
		err = c.unary(out, stream)
	}
	if r := c.ended(ctx); r != nil && err != nil {
		return refuse(r, codes.OK)
	}
	if r, ok := gate.AsRefusal(err); ok {
		return refuse(r, codes.OK)
	}
	if errors.Is(err, errNoService) {
		summary = codes.NotFound.String()
		return status.Error(codes.NotFound, err.Error())
	}
	var lost *lostError
	if errors.As(err, &lost) {
		c.target.log.Warn("the service gave no answer", "request", c.entry.ID(), "error", lost.cause)
		r := &gate.Refusal{Code: gate.Unavailable, Reason: "The service behind connection " + c.target.connection.Name + " gave no answer; whether the call took effect is unknown.", Remedy: "Look before you repeat a write; if it stays, tell the operator of this gateway: its log names the cause."}
		if lost.unreached {
			r.Reason, r.Remedy = "The service behind connection "+c.target.connection.Name+" cannot be reached.", "Try again; if it stays, tell the operator of this gateway: its log names the cause."
		} else {
			unknown = true
		}
		return refuse(r, codes.OK)
	}
	var withheld *withheldError
	if errors.As(err, &withheld) {
		return refuse(&gate.Refusal{Code: gate.NotUnderstood, Reason: withheld.reason, Remedy: withheld.remedy}, codes.Internal)
	}
	s, ok := status.FromError(err)
	if !ok {
		if ctx.Err() == nil { // an error of the gateway's own: its text is for the log
			c.target.log.Error("a call could not be relayed", "request", c.entry.ID(), "error", err)
			return refuse(ownError(""), codes.Internal)
		}
		s = status.FromContextError(ctx.Err())
	}
	summary = s.Code().String()
	if err == nil {
		return nil
	}
	return c.shownStatus(s, &failure)
}

// ended is why a call was ended by the gateway; nil where it was not.
func (c *call) ended(ctx context.Context) *gate.Refusal {
	if r := c.stopped(); r != nil {
		own := *r
		return &own
	}
	if r, ok := gate.AsRefusal(context.Cause(ctx)); ok && ctx.Err() != nil {
		own := *r
		return &own
	}
	return nil
}

// shownStatus is a service's error as its client sees it: its text and its details may hold a labelled value.
func (c *call) shownStatus(s *status.Status, failure *string) error {
	if !c.use.guarded {
		*failure = s.Message()
		return s.Err()
	}
	*failure = "the service answered " + s.Code().String() + "; its own text is not shown, because it could hold a labelled value"
	return status.Error(s.Code(), *failure)
}

// lostError is a call whose service was not reached, or was lost on the way. Its cause names addresses: it is for the log.
type lostError struct {
	cause     error
	unreached bool
}

func (e *lostError) Error() string { return "the service gave no answer" }

// lostOr finds out whether an error is the library's own about its connection to the service.
func lostOr(err error, unreached bool) error {
	s, ok := status.FromError(err)
	if err == nil || !ok || s.Code() != codes.Unavailable || len(s.Details()) > 0 {
		return err
	}
	if unreached {
		return &lostError{err, true}
	}
	for _, own := range []string{"connection error", "error reading from server", "transport", "the connection is", "the stream is rejected", "keepalive"} {
		if strings.HasPrefix(s.Message(), own) {
			return &lostError{err, false}
		}
	}
	return err
}

// unary relays a call of one request and one answer.
func (c *call) unary(ctx context.Context, stream grpc.ServerStream) error {
	var header, trailer metadata.MD
	in, out := frame{c.body}, frame{}
	var reached peer.Peer
	err := c.target.upstream.Invoke(ctx, c.path, &in, &out, grpc.ForceCodecV2(codec{}), grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&reached))
	if err = lostOr(err, reached.Addr == nil); errors.As(err, new(*lostError)) {
		return err
	}
	header, trailer = c.target.answer(header, c.use.guarded), c.target.answer(trailer, c.use.guarded)
	if len(trailer) > 0 {
		stream.SetTrailer(trailer)
	}
	if err != nil {
		if len(header) > 0 {
			stream.SetHeader(header)
		}
		return err
	}
	if len(header) > 0 {
		if err := stream.SetHeader(header); err != nil {
			return err
		}
	}
	shown, events, err := c.answer(out.b, header)
	if err != nil {
		return err
	}
	if err := c.entry.Close(c.outcome(codes.OK.String(), ""), events...); err != nil { // what follows is the client's part
		return err
	}
	return stream.SendMsg(&frame{shown})
}

// answer is one message of the service as the client gets it: masked, with what has to be recorded before.
func (c *call) answer(b []byte, header metadata.MD) (shown []byte, events []gate.Event, err error) {
	shown = b
	if len(c.method.Answered) > 0 {
		if shown, err = c.use.plan.Mask(make([]byte, 0, len(b)+64), b, c.method.Output); err != nil {
			return nil, nil, &withheldError{"The service's answer is not what its descriptors say, so nothing of it is shown: " + reason(err) + ".", "Tell the service's owner."}
		}
	}
	if events, err = c.note(fromService, shown, c.method.Output, header); err != nil {
		return nil, nil, err
	}
	if limit := c.entry.Limit().Rows; limit > 0 && c.record.messages > uint64(limit) {
		return nil, nil, &gate.Refusal{Code: gate.LimitExceeded, Reason: fmt.Sprintf("A policy lets the call give back %d messages.", limit), Remedy: "Ask for less at a time."}
	}
	return shown, events, nil
}

// streams relays a call of many requests, many answers, or both.
func (c *call) streams(ctx context.Context, stream grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	desc := &grpc.StreamDesc{ClientStreams: c.method.ClientStreams, ServerStreams: c.method.ServerStreams}
	up, err := c.target.upstream.NewStream(ctx, desc, c.path, grpc.ForceCodecV2(codec{}))
	if err != nil {
		return lostOr(err, true)
	}
	// What reads from the client, and what writes to it, waits for the client alone: it ends when this returns.
	asking, answering := make(chan error, 1), make(chan error, 1)
	go func() { asking <- c.requests(stream, up) }()
	go func() { answering <- c.answers(stream, up) }()
	for {
		select {
		case err := <-asking:
			if err != nil {
				return err
			}
			asking = nil
		case err := <-answering:
			return err
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// requests relays what the client sends. Its error ends the call; nil: all was sent, or the service wants no more.
func (c *call) requests(stream grpc.ServerStream, up grpc.ClientStream) (err error) {
	defer recovered(&err)
	if !c.method.ClientStreams {
		if err := up.SendMsg(&frame{c.body}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return up.CloseSend()
	}
	for {
		var f frame
		if err := stream.RecvMsg(&f); errors.Is(err, io.EOF) {
			return up.CloseSend()
		} else if err != nil {
			return err
		}
		if err := c.request(f.b); err != nil {
			return err
		}
		if err := up.SendMsg(&f); errors.Is(err, io.EOF) {
			return nil // the answer says why
		} else if err != nil {
			return err
		}
	}
}

// request judges and records one of many requests, before it is sent on.
func (c *call) request(b []byte) error {
	if len(b) > c.target.options.MaxMessage {
		return c.tooLarge()
	}
	asked, err := c.schema.Inspect(b, c.method.Input)
	if err != nil {
		return &gate.Refusal{Code: gate.NotUnderstood, Reason: "A request of the stream is not understood: " + reason(err) + ".", Remedy: "Send it as the service's descriptors say."}
	}
	for _, f := range asked {
		if !contains(c.use.may, f) {
			return &gate.Refusal{Code: gate.PolicyDenied, Reason: "A request of the stream has the labelled field " + f.Name + ", and no policy permits to " + c.target.sends(c.method) + " it without an approval.", Remedy: "Leave the field out, or ask a policy owner for a permit."}
		}
	}
	if err := c.entry.Ready(); err != nil {
		return err
	}
	events, err := c.note(fromClient, b, c.method.Input, nil)
	if err != nil || len(events) == 0 {
		return err
	}
	if c.durable() {
		return c.entry.RecordOnDisk(events...)
	}
	return c.entry.Record(events...)
}

// answers relays what the service sends, to its end.
func (c *call) answers(stream grpc.ServerStream, up grpc.ClientStream) (err error) {
	defer recovered(&err)
	header, err := up.Header()
	if err == nil && header != nil { // else there is nothing but the status
		header = c.target.answer(header, c.use.guarded)
		if err := stream.SendHeader(header); err != nil {
			return err
		}
	}
	for {
		var f frame
		err := up.RecvMsg(&f)
		if err != nil {
			stream.SetTrailer(c.target.answer(up.Trailer(), c.use.guarded))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return lostOr(err, false)
		}
		shown, events, err := c.answer(f.b, header)
		if err == nil && len(events) > 0 {
			err = c.entry.Record(events...)
		}
		if err == nil {
			err = stream.SendMsg(&frame{shown})
		}
		if err != nil {
			return err
		}
		if !c.method.ServerStreams { // the end of the stream says how it went
			if err := up.RecvMsg(&f); !errors.Is(err, io.EOF) {
				if err == nil {
					return &withheldError{"The service answered with several messages, and the method has one.", "Tell the service's owner."}
				}
				return lostOr(err, false)
			}
			stream.SetTrailer(c.target.answer(up.Trailer(), c.use.guarded))
			return nil
		}
	}
}

// recovered makes an error of a panic: it must not end the gateway.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("a call ended in a panic: %v", p)
	}
}

func contains[T comparable](list []T, one T) bool {
	for _, o := range list {
		if o == one {
			return true
		}
	}
	return false
}
