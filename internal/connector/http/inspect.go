package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/credential"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/secret"
)

// inspector looks at the API of one connection for its operator.
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
	es, err := o.load()
	if err != nil {
		d.Details = append(d.Details, gate.Detail{Name: "paths", Value: err.Error()})
		return d
	}
	for _, e := range es.list {
		d.Details = append(d.Details, gate.Detail{Name: "path", Value: strings.Join(sortedKeys(e.operations), ",") + " " + e.template.String()})
		seen := map[string]bool{}
		for _, m := range sortedKeys(e.operations) {
			for _, f := range e.operations[m].fields {
				if !seen[f.path] {
					seen[f.path] = true
					d.Labels = append(d.Labels, gate.Labelled{Field: e.template.String() + "#" + f.path, Labels: f.labels})
				}
			}
		}
	}
	return d
}

// Clients are commands for a terminal. The token is read from a file that only its owner reads, not from the command line.
func (i *inspector) Clients(base, listener string) []string {
	path := "/"
	if es, err := i.options.load(); err == nil && len(es.list) > 0 {
		path = es.list[0].template.String()
	}
	header := "(umask 077; printf 'Authorization: Bearer %s\n' \"$(gatehouse token)\" > token.header)"
	out := []string{header, "curl -H @token.header '" + base + prefix + i.connection.Name + path + "'"}
	if listener != "" {
		out = append(out, "curl -H @token.header 'https://"+listener+prefix+i.connection.Name+path+"'")
	}
	for _, h := range i.options.Hosts {
		out = append(out, "curl -H @token.header 'https://"+h+path+"' (where that name leads to the gateway)")
	}
	return out
}

// Secrets says whether the credential, the certificates and the documents are there.
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
	if _, err := credential.TLS(o.CA, o.ClientCertificate); err != nil {
		return err
	}
	_, err := o.load()
	return err
}

// Check connects to the API, and asks for nothing but its root's OPTIONS.
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
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	u := *i.options.url
	if u.Path == "" {
		u.Path = "/"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodOptions, u.String(), nil)
	if err == nil {
		if err = t.sign(r.Header, r.URL); err != nil {
			add(gate.Wrong, "The credential cannot be had: "+err.Error()+".", "Correct credential.")
			return out
		}
		var answer *http.Response
		if answer, err = t.transport.RoundTrip(r); err == nil {
			answer.Body.Close()
			out.Server = strings.TrimSpace(answer.Proto + " " + bounded(answer.Header.Get("Server"), 80))
			if answer.StatusCode == http.StatusUnauthorized {
				add(gate.Warning, "The API answered 401 to the gateway's credential at its root.", "Look whether the credential is right; some APIs answer so where there is nothing.")
			}
		}
	}
	if err != nil {
		add(gate.Wrong, "The API cannot be reached: "+err.Error()+".", "Correct url, ca or client_certificate, or start the API.")
	}
	if i.options.url.Scheme == "http" && i.options.AllowPlaintext {
		add(gate.Warning, "Everything goes to the API without TLS, the credential too.", "Use https.")
	}
	if i.options.Credential.Kind() == "none" && i.options.ClientCertificate.Cert.IsZero() {
		add(gate.Warning, "The gateway has no credential at the API: whoever reaches the API past the gateway gets the same.", "Give the gateway a credential, and the API a check of it.")
	}
	slices.SortStableFunc(out.Findings, func(a, b gate.Finding) int { return strings.Compare(string(a.Level), string(b.Level)) })
	return out
}

// Grants are the operations that the slices permit: what the gateway's credential has to be let do.
func (i *inspector) Grants(_ context.Context, slices []*policy.Slice) (string, error) {
	es, err := i.options.load()
	if err != nil {
		return "", err
	}
	t := &target{connection: i.connection, options: i.options, endpoints: es}
	var b strings.Builder
	fmt.Fprintf(&b, "# What the policies permit on connection %s: the least that its credential must be let do.\n", i.connection.Name)
	for _, e := range es.list {
		for _, m := range sortedKeys(e.operations) {
			for _, s := range slices {
				if s.Permits(policy.Touch{Action: m, Resource: t.resource(e)}) {
					fmt.Fprintf(&b, "%s %s%s\n", m, i.options.url, e.template)
					break
				}
			}
		}
	}
	return b.String(), nil
}
