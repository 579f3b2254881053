package main

import (
	"fmt"
	"net/http"

	"gatehouse/internal/gate"
)

// front is the https listener's handler: requests for connections go to their connectors, all others to the gateway's
// own API and pages.
type front struct {
	own        http.Handler
	connectors []connectionHandler
}

// connectionHandler is the server of a connector that is reached on the https listener: see gate.OnHTTPS.
type connectionHandler interface {
	http.Handler
	Takes(*http.Request) bool
}

// add puts a connector's server on the listener; it is called before anything is served.
func (f *front) add(s gate.Server) error {
	h, ok := s.(connectionHandler)
	if !ok {
		return fmt.Errorf("a connector that is reached on the https listener has a server that is not: %T", s)
	}
	f.connectors = append(f.connectors, h)
	return nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, c := range f.connectors {
		if c.Takes(r) {
			c.ServeHTTP(w, r)
			return
		}
	}
	f.own.ServeHTTP(w, r)
}
