package client

import (
	"context"
	"net/url"

	"gatehouse/internal/api"
	"gatehouse/internal/gate"
)

// Sessions are those that are open now.
func (c *Client) Sessions(ctx context.Context) ([]gate.Live, error) {
	var list []gate.Live
	return list, c.call(ctx, "GET", "/sessions", nil, &list)
}

// KillSession ends a session at once.
func (c *Client) KillSession(ctx context.Context, id, reason string) (api.Killed, error) {
	var k api.Killed
	return k, c.call(ctx, "POST", "/sessions/"+url.PathEscape(id)+"/kill", map[string]string{"reason": reason}, &k)
}
