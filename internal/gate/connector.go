package gate

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// Connector is the code for one protocol: one folder below internal/connector and one line in
// cmd/gatehouse/connectors.go.
type Connector interface {
	// Kind is the word in a connection's `kind:` and in `listen:`.
	Kind() string
	// Schema is the connector's fragment of the Cedar schema, in Cedar's human-readable schema language.
	Schema() []byte
	// Decode reads the keys of a connection that are the connector's own. An error names the key and
	// its line. It opens nothing.
	Decode(*yaml.Node) (any, error)
	// Server makes the server for every configured connection of this kind. It opens nothing yet.
	Server(Deps) (Server, error)
	// Inspector looks at one connection's target. It opens nothing yet.
	Inspector(Connection) (Inspector, error)
	// Decoder reads the raw frames that the connector recorded.
	Decoder() ResultDecoder
}

// RowFilterer is a connector that can filter rows.
type RowFilterer interface {
	// CheckRows says what is wrong with the text of a row filter (@rows).
	CheckRows(text string) error
}

// OnHTTPS is a connector whose connections are also reached on the gateway's own https listener: they need no listener
// of their own. Its server then is an http.Handler too, has Takes(*http.Request) bool, and is served nil where it has
// no listener.
type OnHTTPS interface{ OnHTTPS() }

// Server answers clients of one protocol.
type Server interface {
	// Serve accepts until ctx ends, then closes the listener, ends the sessions and returns.
	Serve(ctx context.Context, l net.Listener) error
}

// Verifier turns a bearer token into an identity; its errors are *identity.Error.
type Verifier interface {
	Verify(ctx context.Context, token string) (identity.Identity, error)
}

// Deps is what a connector's server is made of.
type Deps struct {
	Gate        *Gate
	Verifier    Verifier
	Issuers     []Issuer    // where clients get tokens
	TLS         *tls.Config // nil: no TLS
	Connections []Connection
	// Secret is what the gateway keeps secret, 32 bytes or more; a connector derives keys from it. Empty: none.
	Secret []byte
	// Memory bounds what the large messages of all sessions of a connector take together, in bytes; 0: its own default.
	Memory int64
	Log    *slog.Logger
}

// Issuer is where a client can get a token.
type Issuer struct {
	Name string
	// Configuration is the URL of the issuer's own discovery document.
	Configuration string
	// Scope is what to ask it for; empty where nothing is known.
	Scope string
}

// Connection is a registered target.
type Connection struct {
	Name    string
	Kind    string
	Tags    []string
	Groups  []string
	Options any // what the connector's Decode returned
	// Observe lets through what the policies would refuse or hold, and records what they say: see policy.Observing.
	Observe bool
	// Recording says what of its results is recorded, and Results reads these; nil where all are recorded as they are.
	Recording Capture
	Results   ResultDecoder
}

// Resource is the connection as policies see it: in its tags.
func (c Connection) Resource() policy.Resource {
	r := policy.Resource{Entity: policy.Entity{Type: "Connection", ID: c.Name}}
	for _, tag := range c.Tags {
		r.Parents = append(r.Parents, policy.Entity{Type: "Tag", ID: tag})
	}
	return r
}

// ResultDecoder turns recorded wire frames into a table, for replays.
type ResultDecoder interface {
	// Schema decodes the data of a ResultSchema event.
	Schema(data []byte) ([]ResultColumn, error)
	// Rows decodes the data of a ResultRows event; a nil cell is a null. At most limit rows.
	Rows(schema []ResultColumn, data []byte, limit int) ([][]*string, error)
}

// ResultColumn is one column of a recorded result.
type ResultColumn struct {
	Name   string `json:"name"`
	Type   uint32 `json:"type,omitempty"`
	Format int16  `json:"format,omitempty"`
}
