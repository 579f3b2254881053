package api_test

import (
	"context"

	"gatehouse/internal/approval"
	"gatehouse/internal/identity"
)

// catalogs has one connection, which ada may see.
func catalogs(_ context.Context, who identity.Identity, connection string) ([]byte, error) {
	if connection != "orders" || who.Principal.Name != "ada" {
		return nil, &approval.Error{Kind: approval.NotFound, Reason: "There is no such connection.", Remedy: "Correct the name."}
	}
	return []byte(`{"gatehouse_catalog": 1}`), nil
}
