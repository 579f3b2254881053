package main

import (
	"gatehouse/internal/connector/grpc"
	"gatehouse/internal/connector/http"
	"gatehouse/internal/connector/postgres"
	"gatehouse/internal/gate"
)

// connectors is THE list of connectors: a new one is its folder and its line here.
func connectors() []gate.Connector {
	return []gate.Connector{
		postgres.New(),
		http.New(),
		grpc.New(),
	}
}
