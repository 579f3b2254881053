package grpc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/policy"
)

// call is one call on its way: what was understood of it, and its entry once it is admitted.
type call struct {
	server  *server
	target  *target
	session *gate.Pooled
	entry   *gate.Entry

	path   string // the method as the client named it
	world  *world
	schema *grpcguard.Schema
	method *grpcguard.Method
	own    bool // it is server reflection or health, which every session may ask
	header metadata.MD
	body   []byte // of a method that takes one request
	text   []byte // the request as text
	asked  []*grpcguard.Field

	refusal *gate.Refusal // why it is refused, whatever the policies say
	status  codes.Code    // that the refusal is sent with; OK: its class's
	use     *use
	slice   *policy.Slice // that use was made by

	record recording
}

func (c *call) refuse(code gate.Code, status codes.Code, reason, remedy string) {
	if c.refusal == nil {
		c.refusal, c.status = &gate.Refusal{Code: code, Reason: reason, Remedy: remedy}, status
	}
}

// understand finds the method. Where there is none, refusal is set.
func (c *call) understand(ctx context.Context) {
	if c.own {
		return
	}
	w, err := c.target.look(ctx, c.path)
	if err != nil || w == nil {
		c.refuse(gate.Unavailable, codes.OK, "The service behind connection "+c.target.connection.Name+" does not say what its methods are, so nothing can be understood.", "Try again; if it stays, tell the operator of this gateway: its log names the cause.")
		return
	}
	c.world, c.schema = w, w.schema
	if c.method = w.schema.Method(c.path); c.method == nil {
		c.refuse(gate.NotUnderstood, codes.Unimplemented, fmt.Sprintf("The connection %s has no method %.200q.", c.target.connection.Name, c.path), "See its methods (`gatehouse connections show "+c.target.connection.Name+"`, or server reflection).")
	}
}

// read takes the one request that a method has.
func (c *call) read(b []byte) {
	c.body = b
	c.text = c.schema.AppendText(nil, b, c.method.Input, maxRecorded)
	var err error
	if c.asked, err = c.schema.Inspect(b, c.method.Input); err != nil {
		c.refuse(gate.NotUnderstood, codes.OK, "The request is not understood: "+reason(err)+".", "Send it as the service's descriptors say.")
	}
}

// reason is an error of grpcguard without the words that all of them begin with.
func reason(err error) string {
	text := err.Error()
	if prefix := grpcguard.ErrNotUnderstood.Error() + ": "; len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return text
}

// Touches are the method, the labelled fields that are shown in any way, and those that the request has.
func (c *call) Touches(context.Context) ([]policy.Touch, error) {
	if c.refusal != nil {
		return nil, c.refusal
	}
	c.understood()
	if c.method.ClientStreams && c.slice.Decide(c.use.touches).Effect == policy.Hold {
		c.refuse(gate.PolicyDenied, codes.OK, "A policy asks for an approval of "+c.method.String()+", and a stream of requests cannot be held: nobody could see what it will send.", "Use a method that takes one request, or ask a policy owner to permit this one without an approval.")
		return nil, c.refusal
	}
	return c.use.touches, nil
}

// understood makes the use of the policies of now.
func (c *call) understood() {
	c.slice = c.session.Slice()
	if c.own {
		c.use = &use{touches: []policy.Touch{{Action: "connect", Resource: c.target.connection.Resource()}}}
		return
	}
	c.use = c.target.use(c.world, c.slice, c.method, c.asked)
}

// Intent is the call as it is sent on.
func (c *call) Intent() gate.Intent {
	if c.method == nil {
		return gate.Intent{Received: fmt.Sprintf("%.1000q", c.path)}
	}
	i := gate.Intent{Text: c.method.String()}
	if c.refusal != nil {
		i = gate.Intent{Received: c.method.String() + " " + string(c.text)}
		return i
	}
	if !c.method.ClientStreams {
		i.Parameters = []gate.Parameter{{Format: "text", Value: c.text}}
	}
	for name, v := range text(c.header) {
		if !slices.Contains(unbound, name) {
			if i.Settings == nil {
				i.Settings = map[string]string{}
			}
			i.Settings[name] = v
		}
	}
	i.Durable = c.durable()
	return i
}

// durable says whether what is asked has to be on the disk before it is sent on.
func (c *call) durable() bool { return !c.own && c.target.class(c.method) != reads }

// Bound is the intent with the bytes of the request and the descriptors that explain it.
func (c *call) Bound(context.Context) (gate.Intent, error) {
	if cut(c.text) {
		return gate.Intent{}, &gate.Refusal{Code: gate.LimitExceeded, Reason: "The request waits for an approval, and as text it has more than " + strconv.Itoa(maxRecorded) + " bytes: nobody could see all of it.", Remedy: "Send less at a time."}
	}
	i := c.Intent()
	sum := sha256.Sum256(c.body)
	i.Objects = []gate.Object{{Kind: "message", Name: c.method.Input.Name(), Version: hex.EncodeToString(sum[:])}, {Kind: "descriptors", Name: c.target.connection.Name, Version: c.schema.Digest()}}
	return i, nil
}

// Preview is what an approver sees besides the request.
func (c *call) Preview(context.Context) (gate.Preview, error) {
	p := gate.Preview{Statement: c.method.String()}
	p.Summary = fmt.Sprintf("%s on connection %s", p.Statement, c.target.connection.Name)
	p.Lines = append(p.Lines, fmt.Sprintf("The request is a %s of %d bytes.", c.method.Input.Name(), len(c.body)))
	if c.method.ServerStreams {
		p.Lines = append(p.Lines, "It is answered by a stream.")
	}
	return p, nil
}

var errChanged = errors.New("the service's descriptors have changed")

// Recheck looks at the policies and the service anew: the masks are those of now.
func (c *call) Recheck(ctx context.Context) error {
	if !c.own {
		w, err := c.target.look(ctx, c.path)
		if err != nil || w == nil || w.schema.Digest() != c.schema.Digest() {
			return errChanged
		}
	}
	c.understood()
	return nil
}
