package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	"gatehouse/internal/httpguard"
	"gatehouse/internal/policy"
)

// call is one request on its way: what was understood of it, and its entry once it is admitted.
type call struct {
	server  *server
	target  *target
	session *gate.Pooled
	entry   *gate.Entry
	writer  *writer

	method   string
	received string // the request line's target
	front    string // what the client's paths have in front of the API's
	at       httpguard.Target
	endpoint *endpoint
	op       *operation
	revealed []string // JSON paths of the fields that it asks by, sorted
	header   http.Header
	body     []byte

	refusal *gate.Refusal // why it is refused, whatever the policies say
	status  int           // that the refusal is sent with; 0: its code's
	use     *use

	upstreamHeader http.Header // with the credential
	upstreamQuery  string
}

func (c *call) refuse(code gate.Code, status int, reason, remedy string) {
	if c.refusal == nil {
		c.refusal, c.status = &gate.Refusal{Code: code, Reason: reason, Remedy: remedy}, status
	}
}

// understand reads what is asked for. Where it is not understood, refusal is set.
func (c *call) understand(r *http.Request, raw string) {
	var err error
	c.method = r.Method
	if c.at, err = httpguard.ParseTarget(raw); err != nil {
		c.refuse(gate.NotUnderstood, 0, "The request's target is not understood: "+err.Error()+".", "Send a plain path with its query, encoded once.")
		return
	}
	if !slices.Contains(methods, c.method) {
		c.refuse(gate.NotUnderstood, http.StatusMethodNotAllowed, fmt.Sprintf("The method %.20q is not taken.", c.method), "Use one of "+strings.Join(methods, ", ")+".")
		return
	}
	if c.endpoint = c.target.endpoints.find(c.at.Segments); c.endpoint == nil {
		c.refuse(gate.NotUnderstood, http.StatusNotFound, "The connection "+c.target.connection.Name+" has no path template that fits this path.", "See the connection's paths (`gatehouse connections show "+c.target.connection.Name+"`), or ask its operator to add one.")
		return
	}
	if c.op = c.endpoint.operations[c.method]; c.op == nil {
		c.refuse(gate.NotUnderstood, http.StatusMethodNotAllowed, c.method+" is not among the methods of "+c.endpoint.template.String()+".", "Use one of "+strings.Join(sortedKeys(c.endpoint.operations), ", ")+", or ask the connection's operator to add it.")
		return
	}
	c.parameters()
	c.framing(r)
	c.header = c.target.forward(r.Header, len(c.op.fields) > 0)
}

// parameters looks at the query, and at the template's variables.
func (c *call) parameters() {
	reveal := func(name string) {
		for _, path := range c.op.reveal[name] {
			if !slices.Contains(c.revealed, path) {
				c.revealed = append(c.revealed, path)
			}
		}
	}
	for _, name := range c.endpoint.template.Variables() {
		reveal(name)
	}
	for _, p := range c.at.Query {
		switch {
		case p.Name != "" && p.Name == c.target.credential.Parameter():
			c.refuse(gate.NotUnderstood, 0, "The parameter "+p.Name+" is the gateway's own credential.", "Leave it out: the gateway adds it.")
		case c.op.reveal[p.Name] != nil:
			reveal(p.Name)
		case !c.op.any && !slices.Contains(c.op.query, p.Name):
			c.refuse(gate.NotUnderstood, 0, fmt.Sprintf("The parameter %.100q is not among those of %s %s.", p.Name, c.method, c.endpoint.template), "Leave it out, or ask the connection's operator to list it under query, or under reveal where it asks by a labelled field.")
		case len(c.op.fields) > 0 && strings.EqualFold(p.Name, "query") && strings.Contains(p.Value, "{"):
			c.graphQL()
		}
	}
	slices.Sort(c.revealed)
}

func (c *call) graphQL() {
	c.refuse(gate.NotUnderstood, http.StatusNotImplemented, "GraphQL is not understood yet, and it could show a labelled field by another name.", "Use the API's other endpoints, or a connection without labels.")
}

// framing refuses what is not a plain request with a plain body.
func (c *call) framing(r *http.Request) {
	kind := strings.ToLower(r.Header.Get("Content-Type"))
	switch {
	case r.Header.Get("Upgrade") != "":
		c.refuse(gate.NotUnderstood, http.StatusNotImplemented, "WebSocket and other upgrades are not built yet.", "Use plain requests, or server-sent events.")
	case strings.HasPrefix(kind, "application/grpc"):
		c.refuse(gate.NotUnderstood, http.StatusNotImplemented, "This is a gRPC call, and the connection is for HTTP.", "Call a connection of kind grpc, on the listener for gRPC.")
	case len(r.Header.Values("Content-Type")) > 1:
		c.refuse(gate.NotUnderstood, 0, "The request has several content types.", "Send one.")
	case r.Header.Get("Content-Encoding") != "" && !strings.EqualFold(r.Header.Get("Content-Encoding"), "identity"):
		c.refuse(gate.NotUnderstood, http.StatusUnsupportedMediaType, "A compressed request body cannot be judged.", "Send the body as it is.")
	case len(r.Trailer) > 0:
		c.refuse(gate.NotUnderstood, 0, "Trailers are not taken.", "Send the fields as headers.")
	case strings.Contains(kind, "graphql") && c.target.endpoints.labelled:
		c.graphQL()
	}
}

// looksLikeGraphQL says whether a JSON body is an operation of GraphQL over HTTP, or a list of them.
func looksLikeGraphQL(body []byte) bool {
	body = bytes.TrimSpace(body)
	if !bytes.Contains(body, []byte("uery")) && !bytes.Contains(body, []byte(`\u`)) {
		return false
	}
	type operation struct{ Query any }
	var one operation
	var many []operation
	if json.Unmarshal(body, &one) == nil {
		many = []operation{one}
	} else if json.Unmarshal(body, &many) != nil {
		return false
	}
	return slices.ContainsFunc(many, func(o operation) bool { s, ok := o.Query.(string); return ok && strings.Contains(s, "{") })
}

// Touches are the endpoint with its method, the labelled fields that are shown in any way, and those asked by.
func (c *call) Touches(context.Context) ([]policy.Touch, error) {
	if c.refusal != nil {
		return nil, c.refusal
	}
	c.use = c.target.use(c.session.Slice(), c.endpoint, c.method, c.op, c.revealed)
	return c.use.touches, nil
}

// Intent is the request as it is sent on.
func (c *call) Intent() gate.Intent {
	i := gate.Intent{Received: c.method + " " + c.received}
	if c.refusal != nil {
		return i
	}
	i.Text = c.method + " " + c.at.String()
	if i.Received == i.Text {
		i.Received = ""
	}
	if len(c.body) > 0 {
		i.Parameters = []gate.Parameter{{Format: "text", Value: c.body}}
	}
	for name, v := range c.header {
		if !slices.Contains(unbound, name) && name != "Accept-Encoding" {
			if i.Settings == nil {
				i.Settings = map[string]string{}
			}
			i.Settings[name] = strings.Join(v, ", ")
		}
	}
	if c.op.id != "" {
		i.Objects = []gate.Object{{Kind: "operation", Name: c.op.id}}
	}
	i.Durable = c.method != http.MethodGet && c.method != http.MethodHead && c.method != http.MethodOptions
	return i
}

// Bound is the intent: what it names has no versions.
func (c *call) Bound(context.Context) (gate.Intent, error) { return c.Intent(), nil }

// Preview is what an approver sees besides the request.
func (c *call) Preview(context.Context) (gate.Preview, error) {
	p := gate.Preview{Statement: c.method + " " + c.endpoint.template.String()}
	p.Summary = fmt.Sprintf("%s on connection %s", p.Statement, c.target.connection.Name)
	if c.op.id != "" {
		p.Summary += " (" + c.op.id + ")"
	}
	if n := len(c.body); n > 0 {
		p.Lines = append(p.Lines, fmt.Sprintf("The body has %d bytes (%s).", n, c.header.Get("Content-Type")))
	}
	return p, nil
}

// Recheck looks at the policies anew: the masks are those of now.
func (c *call) Recheck(context.Context) error {
	c.use = c.target.use(c.session.Slice(), c.endpoint, c.method, c.op, c.revealed)
	return nil
}
