// Package postgres is the connector for PostgreSQL: the wire protocol 3.0 on both sides, joined by the gate.
//
// A session is two goroutines: one judges what the client sends, one reads what the database answers;
// a bounded queue joins them. The client's bytes never reach the database: what is sent is what the guard
// printed. It must never forward a message that it did not understand.
package postgres

import (
	_ "embed"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/gate"
)

const kind = "postgres"

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
