package client

import (
	"context"
	"encoding/json"
	"net/url"
)

// Catalog is the snapshot of a connection's catalog, as its connector writes it.
func (c *Client) Catalog(ctx context.Context, connection string) ([]byte, error) {
	var text json.RawMessage
	err := c.call(ctx, "GET", "/connections/"+url.PathEscape(connection)+"/catalog", nil, &text)
	return text, err
}
