// Package grpc is the connector for gRPC services: a relay whose calls pass the gate.
//
// What is sent on is made of what was understood: a method that the descriptors have, messages that they explain, the
// metadata of a list, and the gateway's own credential. Labelled fields of answers are masked, message by message. It must
// never forward a message, metadata or the text of an error that it does not know the meaning of.
package grpc

import (
	_ "embed"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/gate"
)

const kind = "grpc"

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
