package grpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/policy"
)

// snapshot is what a connection looks like: names and types, never a value. The first two members are those that every
// connector's snapshot has.
type snapshot struct {
	Format      int              `json:"gatehouse_catalog"`
	Kind        string           `json:"kind"`
	Connection  string           `json:"connection"`
	Tags        []string         `json:"tags,omitempty"`
	Labels      grpcguard.Labels `json:"labels,omitempty"`
	Reads       []string         `json:"reads,omitempty"`
	Writes      []string         `json:"writes,omitempty"`
	Descriptors []byte           `json:"descriptors"` // a FileDescriptorSet
}

const snapshotFormat = 1

// Snapshot writes down the service's descriptors with the labels.
func (i *inspector) Snapshot(ctx context.Context, _ bool) ([]byte, error) {
	if err := i.Secrets(); err != nil {
		return nil, err
	}
	t, err := newTarget(i.connection, nil, discard())
	if err != nil {
		return nil, err
	}
	defer t.close()
	w, err := t.look(ctx, "")
	if err != nil {
		return nil, err
	}
	set, err := w.schema.Set()
	if err != nil {
		return nil, err
	}
	o := i.options
	b, err := json.MarshalIndent(snapshot{snapshotFormat, kind, i.connection.Name, i.connection.Tags, o.labels(), o.Reads, o.Writes, set}, "", "  ")
	return append(b, '\n'), err
}

// Model reads a snapshot.
func (connector) Model(b []byte) (gate.Model, error) {
	var s snapshot
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	switch err := d.Decode(&s); {
	case err != nil:
		return nil, fmt.Errorf("it is no catalog snapshot: %w", err)
	case s.Format != snapshotFormat || s.Kind != kind || s.Connection == "":
		return nil, errors.New("it is no catalog snapshot of a gRPC connection, or of another version")
	}
	o := &Options{Reads: s.Reads, Writes: s.Writes}
	schema, err := grpcguard.FromSet(s.Descriptors, s.Labels)
	if err != nil {
		return nil, o.explained(err)
	}
	m := &model{world: newWorld(schema), target: &target{connection: gate.Connection{Name: s.Connection, Kind: kind, Tags: s.Tags}, options: o}}
	m.byID = map[string]policy.Resource{}
	for _, r := range m.Things() {
		m.byID[r.Type+" "+r.ID] = r
		if r.Type == "Method" {
			service := policy.Resource{Entity: r.Parents[0], Parents: r.Parents[1:]}
			m.byID["Service "+service.ID] = service
		}
	}
	return m, nil
}

// model is a connection as its descriptors show it.
type model struct {
	world  *world
	target *target
	byID   map[string]policy.Resource // by type and id
}

func (m *model) Connection() policy.Resource { return m.target.connection.Resource() }

// Understand says what a call does: SERVICE/METHOD, with a request that has no labelled field.
func (m *model) Understand(slice *policy.Slice, text string) gate.Understood {
	var out gate.Understood
	one := m.world.schema.Method("/" + strings.TrimPrefix(strings.TrimSpace(text), "/"))
	if one == nil {
		out.Refusal = &gate.Refusal{Code: gate.NotUnderstood, Reason: fmt.Sprintf("The connection %s has no method %.200q.", m.target.connection.Name, text), Remedy: "Name one as SERVICE/METHOD."}
		return out
	}
	u := m.target.newUse(m.world, slice, one, nil)
	out.Text, out.Touches, out.Shown = one.String(), u.touches, map[string]string{}
	for _, t := range u.touches {
		if t.Action == "read" {
			out.Shown[t.Resource.ID] = m.Shown(slice, t.Resource)
		}
	}
	return out
}

// Find finds a thing by its name or its id.
func (m *model) Find(typ, name string) (policy.Resource, error) {
	connection := m.target.connection.Name
	if typ == "Connection" {
		if name != "" && name != connection {
			return policy.Resource{}, fmt.Errorf("%q is not the connection %s", name, connection)
		}
		return m.Connection(), nil
	}
	within := strings.TrimPrefix(strings.TrimPrefix(name, connection+"/"), "/")
	if typ == "Function" || typ == "Column" { // the words that a command begins with where it knows no connection
		typ = map[string]string{"Function": "Method", "Column": "Field"}[typ]
	}
	if r, ok := m.byID[typ+" "+connection+"/"+within]; ok {
		return r, nil
	}
	var known []string
	for key, r := range m.byID {
		if strings.HasPrefix(key, typ+" ") {
			known = append(known, strings.TrimPrefix(r.ID, connection+"/"))
		}
	}
	slices.Sort(known)
	near := strict.Nearest(within, known)
	if near != "" {
		near = ": is " + near + " meant?"
	}
	return policy.Resource{}, fmt.Errorf("connection %s has no %s %s%s", connection, strings.ToLower(typ), within, near)
}

// Things are the methods, each before the labelled fields of its messages.
func (m *model) Things() []policy.Resource {
	var out []policy.Resource
	for _, one := range m.world.schema.Methods() {
		out = append(out, m.target.resource(one))
		fields := slices.Clone(one.Answered)
		for _, f := range one.Asked {
			if !contains(fields, f) {
				fields = append(fields, f)
			}
		}
		for _, f := range fields {
			out = append(out, m.target.fieldResource(one, f))
		}
	}
	return out
}

// Actions are those of the connector's schema.
func (m *model) Actions(typ string) []string {
	return map[string][]string{"Connection": {"connect"}, "Method": {"call"}, "Field": {"read", "reveal", "update"}}[typ]
}

// Shown is the mask of a field; empty where it may not be read.
func (m *model) Shown(slice *policy.Slice, field policy.Resource) string {
	e := slice.Read(field)
	if !e.Visible {
		return ""
	}
	return policy.MaskText(e)
}
