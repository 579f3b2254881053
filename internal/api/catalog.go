package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"gatehouse/internal/identity"
)

// Catalogs gives the catalog of a connection, as a snapshot, to who may see it; its errors are *approval.Error, or
// for the log.
type Catalogs func(ctx context.Context, who identity.Identity, connection string) ([]byte, error)

type catalogInput struct {
	Name string `path:"name" pattern:"^[a-z][a-z0-9_-]{0,62}$" doc:"the connection's name"`
}

type rawOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *service) registerCatalog(api huma.API, operation func(id, method, path, summary string) huma.Operation) {
	huma.Register(api, operation("get-catalog", "GET", "/connections/{name}/catalog", "What a connection's target looks like: names, types and labels, no value"), func(ctx context.Context, in *catalogInput) (*rawOutput, error) {
		text, err := s.o.Catalogs(ctx, person(ctx), in.Name)
		if err != nil {
			return nil, s.problem(err)
		}
		return &rawOutput{"application/json", text}, nil
	})
}
