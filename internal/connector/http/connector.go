// Package http is the connector for HTTP APIs: a reverse proxy whose requests pass the gate.
//
// What is sent upstream is made of what was understood: the normalised target, the headers of a list, the body as it
// was judged, and the gateway's own credential. Answers are masked by JSON path as they stream by. It must never
// forward a header, a target or an answer that it does not know the meaning of.
package http

import (
	_ "embed"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/gate"
)

const kind = "http"

// prefix is where the connections are on the gateway's https listener: /http/NAME/...
const prefix = "/http/"

//go:embed schema.cedarschema
var schema []byte

type connector struct{}

// New is the connector.
func New() gate.Connector { return connector{} }

func (connector) Kind() string                                        { return kind }
func (connector) Schema() []byte                                      { return schema }
func (connector) Decode(n *yaml.Node) (any, error)                    { return decodeOptions(n) }
func (connector) Server(d gate.Deps) (gate.Server, error)             { return newServer(d) }
func (connector) Inspector(c gate.Connection) (gate.Inspector, error) { return newInspector(c) }
func (connector) Decoder() gate.ResultDecoder                         { return decoder{} }

// OnHTTPS says that connections are also reached on the gateway's https listener: see gate.OnHTTPS.
func (connector) OnHTTPS() {}
