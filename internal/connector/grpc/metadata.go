package grpc

import (
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	"gatehouse/internal/credential"
)

// forwarded are the names of request metadata that are sent on. Those who ask, and what says of itself how it is sent, are
// not among them.
var forwarded = []string{"accept-language", "idempotency-key", "traceparent", "tracestate", "x-request-id"}

// unbound are those that may differ when a call is sent again: an approval is not bound to them.
var unbound = []string{"traceparent", "tracestate", "x-request-id"}

// withheld says whether a name is never forwarded, also where the configuration has it.
func withheld(name string) bool {
	return strings.HasPrefix(name, "grpc-") || strings.HasPrefix(name, "x-gatehouse") || strings.HasPrefix(name, "proxy-") || strings.HasPrefix(name, ":") || credential.HopByHop(name) ||
		slices.Contains([]string{"authorization", "cookie", "set-cookie", "www-authenticate", "content-type", "user-agent", "host", "te", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
			"x-forwarded-user", "x-real-ip", "x-remote-user", "remote-user"}, name)
}

// answered are the names of answers' metadata that are given out where a connection has labels: any other may hold a value.
var answered = []string{"date", "retry-after", "x-request-id"}

// forward is the metadata of a call that is sent on.
func (t *target) forward(in metadata.MD) metadata.MD {
	out := metadata.MD{}
	for _, name := range t.forwarded {
		if v := in[name]; len(v) > 0 {
			out[name] = v
		}
	}
	return out
}

// answer is the metadata of an answer that is given to the client.
func (t *target) answer(in metadata.MD, guarded bool) metadata.MD {
	out := metadata.MD{}
	for name, v := range in {
		if withheld(name) || guarded && !slices.Contains(answered, name) && !slices.Contains(t.options.Metadata, name) {
			continue
		}
		out[name] = v
	}
	return out
}

// text is metadata as it is recorded: what is not text, by its bytes.
func text(in metadata.MD) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for name, v := range in {
		one := strings.ToValidUTF8(strings.Join(v, ", "), "?")
		if strings.HasSuffix(name, "-bin") {
			one = "0x" + hex.EncodeToString([]byte(strings.Join(v, "")))
		}
		out[name] = one
	}
	return out
}
