// Package offline makes touches of what people and recordings write, so that they can be decided without a
// gateway: of `read column orders/public.customers.email` the touch, with its place in the tree of resources.
//
// It is pure: it looks nothing up. What is not written (the labels of a column, the tags of the connection) comes
// from the caller.
package offline

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/policy"
)

// types are the entity types that a line can name, as policy.Touch.String writes them.
var types = map[string]string{
	"connection": "Connection", "schema": "Schema", "table": "Table", "column": "Column", "function": "Function", "channel": "Channel",
	"endpoint": "Endpoint", "service": "Service", "method": "Method", "message": "Message", "field": "Field",
	"gateway": "Gateway",
}

// Touch reads the line that policy.Touch.String writes. The connection is the one of the session, as it is known
// now; labels says which labels a column or a field has by its id, and may be nil: then none has any.
func Touch(line string, connection policy.Resource, labels func(id string) []string) (policy.Touch, error) {
	action, rest, _ := strings.Cut(line, " ")
	word, id, found := strings.Cut(rest, " ")
	typ := types[word]
	if !found || action == "" || typ == "" {
		return policy.Touch{}, fmt.Errorf("%q is not a touch: write ACTION TYPE ID, such as read column orders/public.customers.email", line)
	}
	r, err := Resource(connection, typ, id)
	if err != nil {
		return policy.Touch{}, err
	}
	if policy.Labelled(typ) && labels != nil {
		r.Labels = labels(id)
	}
	return policy.Touch{Action: action, Resource: r}, nil
}

// Resource is a thing of a connection by its type (Column) and id (orders/public.customers.email), with all that it
// is part of. It has no labels.
func Resource(connection policy.Resource, typ, id string) (policy.Resource, error) {
	out := policy.Resource{Entity: policy.Entity{Type: typ, ID: id}}
	if typ == "Connection" {
		if id != connection.ID {
			return out, fmt.Errorf("%q is not the connection %s", id, connection.ID)
		}
		out.Parents = slices.Clip(connection.Parents)
		return out, nil
	}
	if typ == "Gateway" { // it is on no connection
		return out, nil
	}
	within, found := strings.CutPrefix(id, connection.ID+"/")
	if !found || connection.ID == "" {
		return out, fmt.Errorf("%q is not on the connection %s: its id starts with %s/", id, connection.ID, connection.ID)
	}
	switch {
	case typ == "Service", typ == "Method", typ == "Message", typ == "Field" && !strings.Contains(within, "#$"):
		return called(connection, out, within)
	case typ == "Endpoint", typ == "Field":
		return answered(connection, out, within)
	}
	parts, err := policy.Names(within)
	if err != nil {
		return out, fmt.Errorf("%q: %w", id, err)
	}
	depth, known := map[string]int{"Schema": 1, "Channel": 1, "Table": 2, "Function": 2, "Column": 3}[typ]
	if !known {
		return out, fmt.Errorf("%q is not a type of resource: use Connection, Schema, Table, Column, Function, Channel, Endpoint, Service, Method, Message or Field", typ)
	}
	if len(parts) != depth {
		return out, fmt.Errorf("%q is not the id of a %s: write %s", id, strings.ToLower(typ), example(connection.ID, typ))
	}
	prefix := connection.ID + "/"
	if typ == "Column" {
		out.Parents = append(out.Parents, policy.Entity{Type: "Table", ID: prefix + parts[0] + "." + parts[1]})
	}
	if depth > 1 {
		out.Parents = append(out.Parents, policy.Entity{Type: "Schema", ID: prefix + parts[0]})
	}
	out.Parents = append(append(out.Parents, connection.Entity), connection.Parents...)
	return out, nil
}

// answered is an endpoint, or a field of its answers: PATH, or PATH#JSONPATH.
func answered(connection, out policy.Resource, within string) (policy.Resource, error) {
	endpoint, path, found := strings.Cut(within, "#")
	if out.Type == "Field" {
		if !found || !strings.HasPrefix(path, "$") {
			return out, fmt.Errorf("%q is not the id of a field: write %s/customers/{id}#$.email", out.ID, connection.ID)
		}
		out.Parents = append(out.Parents, policy.Entity{Type: "Endpoint", ID: connection.ID + "/" + endpoint})
	} else if found {
		return out, fmt.Errorf("%q is not the id of an endpoint: write %s/customers/{id}", out.ID, connection.ID)
	}
	out.Parents = append(append(out.Parents, connection.Entity), connection.Parents...)
	return out, nil
}

// called is what a gRPC service has: SERVICE, SERVICE/METHOD, MESSAGE, or SERVICE/METHOD#MESSAGE.FIELD.
func called(connection, out policy.Resource, within string) (policy.Resource, error) {
	at := func(typ, name string) policy.Entity { return policy.Entity{Type: typ, ID: connection.ID + "/" + name} }
	method, field, found := strings.Cut(within, "#")
	service, name, two := strings.Cut(method, "/")
	message, ok := "", named(service) && two == (out.Type == "Method" || out.Type == "Field") && (!two || named(name) && !strings.Contains(name, ".")) && found == (out.Type == "Field")
	switch out.Type {
	case "Method":
		out.Parents = append(out.Parents, at("Service", service))
	case "Field":
		if dot := strings.LastIndexByte(field, '.'); dot > 0 {
			message = field[:dot]
		}
		ok = ok && named(field) && message != ""
		out.Parents = append(out.Parents, at("Method", method), at("Service", service), at("Message", message))
	}
	if !ok {
		return policy.Resource{}, fmt.Errorf("%q is not the id of a %s: write %s", out.ID, strings.ToLower(out.Type), connection.ID+"/"+
			map[string]string{"Service": "shop.v1.Customers", "Method": "shop.v1.Customers/Get", "Message": "shop.v1.Customer", "Field": "customers/{id}#$.email, or of gRPC " + connection.ID + "/shop.v1.Customers/Get#shop.v1.Customer.email"}[out.Type])
	}
	out.Parents = append(append(out.Parents, connection.Entity), connection.Parents...)
	return out, nil
}

// named says whether a text is a full name of a descriptor: words with dots between them.
func named(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if word == "" || strings.Trim(word, "_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return false
		}
	}
	return true
}

func example(connection, typ string) string {
	return connection + "/" + map[string]string{"Schema": "SCHEMA", "Channel": "CHANNEL", "Table": "SCHEMA.TABLE", "Function": "SCHEMA.FUNCTION(TYPES)", "Column": "SCHEMA.TABLE.COLUMN"}[typ]
}
