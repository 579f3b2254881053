package grpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"gatehouse/internal/credential"
	"gatehouse/internal/gate"
	"gatehouse/internal/grpcguard"
	"gatehouse/internal/policy"
	"gatehouse/internal/secret"
)

// inspector looks at the service of one connection for its operator.
type inspector struct {
	connection gate.Connection
	options    *Options
}

func newInspector(c gate.Connection) (*inspector, error) {
	o, ok := c.Options.(*Options)
	if !ok || o.url == nil {
		return nil, errors.New("the connection's options were not decoded by this connector")
	}
	return &inspector{c, o}, nil
}

// Describe says what the configuration says.
func (i *inspector) Describe() gate.Description {
	o := i.options
	d := gate.Description{Target: o.url.String(), Role: o.Credential.Kind()}
	if len(o.Hosts) > 0 {
		d.Details = append(d.Details, gate.Detail{Name: "hosts", Value: strings.Join(o.Hosts, ", ")})
	}
	if !o.ClientCertificate.Cert.IsZero() {
		d.Details = append(d.Details, gate.Detail{Name: "client_certificate", Value: o.ClientCertificate.Cert.Place()})
	}
	for _, name := range sortedKeys(o.Labels) {
		d.Labels = append(d.Labels, gate.Labelled{Field: name, Labels: o.Labels[name]})
	}
	if o.Reflection {
		d.Details = append(d.Details, gate.Detail{Name: "methods", Value: "asked of the service by reflection"})
		return d
	}
	s, err := o.load()
	if err != nil {
		d.Details = append(d.Details, gate.Detail{Name: "methods", Value: err.Error()})
		return d
	}
	t := &target{connection: i.connection, options: o}
	for _, m := range s.Methods() {
		d.Details = append(d.Details, gate.Detail{Name: "method", Value: t.describe(m)})
	}
	return d
}

// describe is a method in a line: which side sends many messages, and what it does to what the service keeps.
func (t *target) describe(m *grpcguard.Method) string {
	text := m.String() + " (" + t.class(m).String()
	if m.ClientStreams {
		text += ", takes a stream"
	}
	if m.ServerStreams {
		text += ", answers with a stream"
	}
	return text + ")"
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Clients are commands for a terminal. The token comes from the environment, not from the command line.
func (i *inspector) Clients(_, listener string) []string {
	named := "-rpc-header 'x-gatehouse-connection: " + i.connection.Name + "' -reflect-header 'x-gatehouse-connection: " + i.connection.Name + "'"
	head := "export GATEHOUSE_TOKEN=\"$(gatehouse token)\""
	call := "grpcurl -cacert tls.crt -expand-headers -H 'authorization: Bearer ${GATEHOUSE_TOKEN}' " + named + " "
	return []string{head, call + listener + " list", call + listener + " describe"}
}

// Secrets says whether the credential, the certificates and the descriptors are there.
func (i *inspector) Secrets() error {
	o := i.options
	for _, ref := range []secret.Ref{o.Credential.Ref(), o.TokenKey} {
		if ref.IsZero() {
			continue
		}
		if _, err := ref.Resolve(); err != nil {
			return err
		}
	}
	if _, err := credential.TLS(o.CA, o.ClientCertificate); err != nil || o.Reflection {
		return err
	}
	_, err := o.load()
	return err
}

// Check connects to the service, and reads its descriptors where it is asked for them.
func (i *inspector) Check(ctx context.Context) gate.Inspection {
	out := gate.Inspection{Findings: []gate.Finding{}, Labels: i.Describe().Labels, Suggestions: []gate.Labelled{}}
	if out.Labels == nil {
		out.Labels = []gate.Labelled{}
	}
	add := func(level gate.Level, problem, remedy string) {
		out.Findings = append(out.Findings, gate.Finding{Level: level, Problem: problem, Remedy: remedy})
	}
	if err := i.Secrets(); err != nil {
		add(gate.Wrong, strings.ToUpper(err.Error()[:1])+err.Error()[1:]+".", "Correct the configuration.")
		return out
	}
	t, err := newTarget(i.connection, nil, discard())
	if err != nil {
		add(gate.Wrong, err.Error()+".", "Correct the configuration.")
		return out
	}
	defer t.close()
	ctx, cancel := context.WithTimeout(ctx, reflectTime)
	defer cancel()
	if err := reach(ctx, t.upstream); err != nil {
		add(gate.Wrong, "The service cannot be reached: "+err.Error()+".", "Correct url, ca or client_certificate, or start the service.")
		return out
	}
	out.Server = "gRPC at " + i.options.host()
	w, err := t.look(ctx, "")
	if err != nil {
		add(gate.Wrong, "What its methods are cannot be read: "+err.Error()+".", "Correct labels, or name a descriptor_set or protos.")
	}
	if w != nil {
		out.Server += fmt.Sprintf(" (%d services, %d methods)", len(w.schema.Services()), len(w.schema.Methods()))
		i.classes(t, w.schema, add)
		out.Suggestions = append(out.Suggestions, suggestions(w.schema)...)
	}
	if i.options.url.Scheme == "http" && i.options.AllowPlaintext {
		add(gate.Warning, "Everything goes to the service without TLS, the credential too.", "Use https.")
	}
	if i.options.Credential.Kind() == "none" && i.options.ClientCertificate.Cert.IsZero() {
		add(gate.Warning, "The gateway has no credential at the service: whoever reaches the service past the gateway gets the same.", "Give the gateway a credential, and the service a check of it.")
	}
	slices.SortStableFunc(out.Findings, func(a, b gate.Finding) int { return strings.Compare(string(a.Level), string(b.Level)) })
	return out
}

// classes looks at which methods nobody says anything of, and at names under reads and writes that none has.
func (i *inspector) classes(t *target, s *grpcguard.Schema, add func(gate.Level, string, string)) {
	unsaidOnes := 0
	for _, m := range s.Methods() {
		if t.class(m) == unsaid && !strings.HasPrefix(m.Service, "grpc.") {
			unsaidOnes++
		}
	}
	if unsaidOnes > 0 {
		add(gate.Warning, fmt.Sprintf("Nobody says whether these methods change anything, of which there are %d: each waits for its record to be on the disk, and asking by a labelled field takes `reveal`.", unsaidOnes),
			"List them under reads or writes, or set idempotency_level = NO_SIDE_EFFECTS in the .proto.")
	}
	for _, name := range slices.Concat(i.options.Reads, i.options.Writes) {
		if !slices.ContainsFunc(s.Methods(), func(m *grpcguard.Method) bool { return listed([]string{name}, m) }) {
			add(gate.Wrong, "The service has no method "+name+".", "Correct reads or writes.")
		}
	}
}

// looks are words in the names of fields that look as if they should have a label.
var looks = []struct{ word, label string }{
	{"email", "pii.email"}, {"phone", "pii.phone"}, {"mobile", "pii.phone"}, {"ssn", "pii.national_id"}, {"national_id", "pii.national_id"}, {"passport", "pii.national_id"}, {"birth", "pii.birth_date"},
	{"password", "secret"}, {"secret", "secret"}, {"api_key", "secret"}, {"iban", "pii.account"}, {"card_number", "pii.account"},
}

const maxSuggestions = 100

func suggestions(s *grpcguard.Schema) []gate.Labelled {
	var out []gate.Labelled
	for _, name := range s.Fields() {
		short := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
		for _, l := range looks {
			if strings.Contains(short, l.word) && len(out) < maxSuggestions && !strings.HasPrefix(name, "google.") && !strings.HasPrefix(name, "grpc.") &&
				!slices.ContainsFunc(s.Labelled(), func(f *grpcguard.Field) bool { return f.Name == name }) {
				out = append(out, gate.Labelled{Field: name, Labels: []string{l.label}, Because: "its name"})
				break
			}
		}
	}
	return out
}

// reach waits for a connection to the service.
func reach(ctx context.Context, cc *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime+time.Second)
	defer cancel()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, reflectionMethods[0])
	if err != nil {
		return err
	}
	return stream.CloseSend()
}

// Grants are the methods that the slices permit: what the gateway's credential has to be let call.
func (i *inspector) Grants(ctx context.Context, slices []*policy.Slice) (string, error) {
	t, err := newTarget(i.connection, nil, discard())
	if err != nil {
		return "", err
	}
	defer t.close()
	w, err := t.look(ctx, "")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# What the policies permit on connection %s: the least that its credential must be let call.\n", i.connection.Name)
	for _, m := range w.schema.Methods() {
		for _, s := range slices {
			if t.permits(s, m) {
				fmt.Fprintln(&b, m.Path())
				break
			}
		}
	}
	return b.String(), nil
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
