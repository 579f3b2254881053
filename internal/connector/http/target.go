package http

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/credential"
	"gatehouse/internal/gate"
	"gatehouse/internal/httpguard"
	"gatehouse/internal/mask"
	"gatehouse/internal/policy"
	"gatehouse/internal/secret"
)

// Bounds of an exchange with an API.
const (
	dialTime   = 10 * time.Second
	headerTime = 5 * time.Minute // until an answer begins
	maxHeaders = 64 << 10        // bytes of an answer's headers
	maxUses    = 4096            // remembered
)

// target is one connection of this kind with what its requests share.
type target struct {
	connection gate.Connection
	options    *Options
	endpoints  *endpoints
	credential *credential.Credential
	transport  *http.Transport
	proxy      *httputil.ReverseProxy
	forwarded  []string // names of request headers that are sent on
	tokenKey   []byte
	log        *slog.Logger

	mu   sync.RWMutex
	uses map[useKey]*use
}

func newTarget(c gate.Connection, own []byte, log *slog.Logger) (*target, error) {
	o, ok := c.Options.(*Options)
	if !ok || o.url == nil {
		return nil, errors.New("its options were not decoded by this connector")
	}
	es, err := o.load()
	if err != nil {
		return nil, err
	}
	encryption, err := credential.TLS(o.CA, o.ClientCertificate)
	if err != nil {
		return nil, err
	}
	t := &target{connection: c, options: o, endpoints: es, log: log.With("connection", c.Name), uses: map[useKey]*use{}}
	t.transport = &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTime, KeepAlive: 30 * time.Second}).DialContext, TLSClientConfig: encryption, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: headerTime, MaxResponseHeaderBytes: maxHeaders,
		ExpectContinueTimeout: time.Second, WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
	}
	t.credential = credential.New(o.Credential, dialTime)
	t.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, ModifyResponse: modifyResponse, ErrorHandler: failed, Transport: t.transport, BufferPool: buffers{},
		ErrorLog: slog.NewLogLogger(t.log.Handler(), slog.LevelDebug),
	}
	t.forwarded = slices.Clone(forwarded)
	for _, h := range o.Headers {
		t.forwarded = append(t.forwarded, textproto.CanonicalMIMEHeaderKey(h))
	}
	if t.tokenKey, err = secret.TokenKey(o.TokenKey, own, "gatehouse http token\x00"+c.Name); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *target) close() { t.transport.CloseIdleConnections() }

// useKey is everything that a use depends on.
type useKey struct {
	slice    string
	endpoint *endpoint
	method   string
	revealed string
}

// use is an operation as one slice of the policies sees it. It is never changed.
type use struct {
	touches []policy.Touch
	plan    *mask.Plan
}

// resource is an endpoint as policies see it.
func (t *target) resource(e *endpoint) policy.Resource {
	c := t.connection.Resource()
	return policy.Resource{Entity: policy.Entity{Type: "Endpoint", ID: t.connection.Name + e.template.String()}, Parents: append([]policy.Entity{c.Entity}, c.Parents...)}
}

// fieldResource is a field of an endpoint as policies see it.
func (t *target) fieldResource(e *endpoint, f field) policy.Resource {
	at := t.resource(e)
	return policy.Resource{Entity: policy.Entity{Type: "Field", ID: at.ID + "#" + f.path}, Parents: append([]policy.Entity{at.Entity}, at.Parents...), Labels: f.labels}
}

// use says what a request touches and how its answer is shown. revealed are the fields that it asks by, sorted.
func (t *target) use(slice *policy.Slice, e *endpoint, method string, op *operation, revealed []string) *use {
	key := useKey{slice.Key(), e, method, strings.Join(revealed, "\x00")}
	t.mu.RLock()
	u := t.uses[key]
	t.mu.RUnlock()
	if u != nil {
		return u
	}
	u = &use{touches: []policy.Touch{{Action: method, Resource: t.resource(e)}}}
	rules := make([]mask.Rule, len(op.fields))
	for i, f := range op.fields {
		r := t.fieldResource(e, f)
		rules[i] = mask.Rule{Exposure: slice.Read(r), Class: f.labels[0], Key: t.tokenKey}
		if rules[i].Visible {
			u.touches = append(u.touches, policy.Touch{Action: "read", Resource: r})
		}
		if rules[i].Has(policy.MaskToken) && t.writes(slice) {
			rules[i].Exposure = rules[i].Instead(policy.MaskToken, policy.MaskRedact)
		}
		if slices.Contains(revealed, f.path) {
			u.touches = append(u.touches, policy.Touch{Action: "reveal", Resource: r})
		}
	}
	u.plan = op.paths.Under(rules)
	t.mu.Lock()
	if len(t.uses) >= maxUses {
		clear(t.uses)
	}
	t.uses[key] = u
	t.mu.Unlock()
	return u
}

// writes says whether the principal may send anything that the API could keep: then it could find the value of a
// pseudonym by trying.
func (t *target) writes(slice *policy.Slice) bool {
	for _, e := range t.endpoints.list {
		for m := range e.operations {
			if m != http.MethodGet && m != http.MethodHead && m != http.MethodOptions && slice.Permits(policy.Touch{Action: m, Resource: t.resource(e)}) {
				return true
			}
		}
	}
	return false
}

// upstream is the URL of a target.
func (t *target) upstream(at httpguard.Target) *url.URL {
	u := *t.options.url
	raw := u.EscapedPath() + at.Path()
	u.RawPath = raw
	path, err := url.PathUnescape(raw)
	if err != nil {
		path = raw
	}
	u.Path, u.RawQuery = path, at.RawQuery()
	return &u
}

// buffers are those that bodies are copied with: of the size that a stream may take.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (buffers) Get() []byte  { return *bufferPool.Get().(*[]byte) }
func (buffers) Put(b []byte) { bufferPool.Put(&b) }

type callKey struct{}

func callOf(ctx context.Context) *call { c, _ := ctx.Value(callKey{}).(*call); return c }
