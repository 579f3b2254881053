package http

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/credential"
)

// forwarded are the request headers that are sent on. Those who ask, and what else they say of themselves or of
// another method or path, are not among them.
var forwarded = []string{
	"Accept", "Accept-Language", "Cache-Control", "Content-Language", "Content-Type", "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match",
	"If-Range", "If-Unmodified-Since", "Last-Event-Id", "Pragma", "Prefer", "Range", "Traceparent", "Tracestate", "User-Agent", "X-Request-Id",
}

// conditional are those that ask by what an answer was, or for a part of it: with masks neither means anything.
var conditional = []string{"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range"}

// unbound are headers that may differ when a request is sent again: an approval is not bound to them.
var unbound = []string{"Traceparent", "Tracestate", "User-Agent", "X-Request-Id"}

// withheld says whether a header is never forwarded, also where the configuration names it.
func withheld(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if credential.HopByHop(name) || strings.HasPrefix(name, "X-Forwarded") || strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "Sec-") || strings.HasPrefix(name, "X-Gatehouse") {
		return true
	}
	return slices.Contains([]string{"Authorization", "Cookie", "Forwarded", "Via", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Original-Host", "X-Host",
		"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "Accept-Encoding", "Content-Encoding", "X-Remote-User", "Remote-User"}, name)
}

// forward are the headers of a request that are sent on.
func (t *target) forward(in http.Header, labelled bool) http.Header {
	out := http.Header{"Accept-Encoding": {"identity"}}
	for _, name := range t.forwarded {
		if v := in[name]; len(v) > 0 && !(labelled && slices.Contains(conditional, name)) {
			out[name] = v
		}
	}
	if out["User-Agent"] == nil {
		out["User-Agent"] = []string{""}
	}
	return out
}

// dropped are answer headers that are never given to a client: those of the connection between gateway and API, and
// credentials of the session that the API may have begun with the gateway.
var dropped = []string{"Set-Cookie", "Set-Cookie2", "Www-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Proxy-Authentication-Info", "Alt-Svc", "Server", "Via",
	"Strict-Transport-Security", "Public-Key-Pins", "Trailer", "Upgrade", "Authorization"}

// shown are the answer headers that are given to a client where the answer has labels: any other may hold a value.
var shown = []string{"Allow", "Cache-Control", "Content-Language", "Content-Type", "Date", "Expires", "Link", "Location", "Pragma", "Retry-After", "Vary", "X-Request-Id",
	"Ratelimit", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"}

// answerHeaders takes out of an answer what its client does not get.
func (t *target) answerHeaders(h http.Header, front string, labelled bool) {
	for name := range h {
		if slices.Contains(dropped, name) || labelled && !slices.Contains(shown, name) {
			delete(h, name)
		}
	}
	for _, name := range []string{"Location", "Content-Location"} {
		v := h.Get(name)
		if v == "" {
			continue
		}
		if v = t.reference(v, front, labelled); v == "" {
			h.Del(name)
			continue
		}
		h.Set(name, v)
	}
	if links := h["Link"]; len(links) > 0 {
		out := make([]string, 0, len(links))
		for _, l := range links {
			out = append(out, t.links(l, front, labelled))
		}
		h["Link"] = out
	}
	if labelled {
		h.Set("Cache-Control", "no-store")
	}
}

// reference is a reference to the API as its client reaches it, behind front, without the values of its query where
// those may be labelled; "" where it leads to a part of the API that the connection is not for.
func (t *target) reference(v, front string, labelled bool) string {
	u, err := url.Parse(v)
	if err != nil || u.User != nil || u.Opaque != "" {
		return ""
	}
	if labelled && u.RawQuery != "" {
		u.RawQuery = maskedQuery(u.RawQuery)
	}
	if labelled {
		u.Fragment, u.RawFragment = "", ""
	}
	own := u.Host == "" || strings.EqualFold(u.Host, t.options.url.Host)
	if !own || !strings.HasPrefix(u.Path, "/") {
		return u.String()
	}
	path, below := strings.CutPrefix(u.EscapedPath(), t.options.url.EscapedPath())
	if !below || path != "" && path[0] != '/' {
		return ""
	}
	out := front + path
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		out += "#" + u.EscapedFragment()
	}
	return out
}

// maskedQuery is a query with its names alone.
func maskedQuery(raw string) string {
	var out []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, has := strings.Cut(pair, "=")
		if has {
			name += "=***"
		} else {
			name = "***"
		}
		out = append(out, name)
	}
	return strings.Join(out, "&")
}

// links rewrites the targets of a Link header (RFC 8288 section 3); with labels its parameters are left out but for rel.
func (t *target) links(v, front string, labelled bool) string {
	var out []string
	for v != "" {
		begin := strings.IndexByte(v, '<')
		end := strings.IndexByte(v, '>')
		if begin < 0 || end < begin {
			break
		}
		link := "<" + t.reference(v[begin+1:end], front, labelled) + ">"
		rest := v[end+1:]
		next := strings.IndexByte(rest, '<')
		parameters := rest
		if next >= 0 {
			parameters = rest[:next]
			v = rest[next:]
		} else {
			v = ""
		}
		for p := range strings.SplitSeq(strings.TrimRight(parameters, ", "), ";") {
			if p = strings.TrimSpace(p); p != "" && (!labelled || strings.HasPrefix(strings.ToLower(p), "rel=")) {
				link += "; " + p
			}
		}
		out = append(out, link)
	}
	return strings.Join(out, ", ")
}
