package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"gatehouse/internal/breakglass"
)

// BreakGlass opens a window.
func (c *Client) BreakGlass(ctx context.Context, a breakglass.Ask) (breakglass.Window, error) {
	var w breakglass.Window
	return w, c.call(ctx, "POST", "/breakglass", map[string]any{"connection": a.Connection, "reason": a.Reason, "seconds": int64(a.For / time.Second), "agent": a.Agent}, &w)
}

// Windows lists the newest windows; state "" is all, limit 0 the server's default.
func (c *Client) Windows(ctx context.Context, state string, limit int) ([]breakglass.Window, error) {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var list []breakglass.Window
	return list, c.call(ctx, "GET", "/breakglass?"+q.Encode(), nil, &list)
}

// Window is one window.
func (c *Client) Window(ctx context.Context, id string) (breakglass.Window, error) {
	var w breakglass.Window
	return w, c.call(ctx, "GET", "/breakglass/"+url.PathEscape(id), nil, &w)
}

// RevokeWindow ends a window at once.
func (c *Client) RevokeWindow(ctx context.Context, id, reason string) (breakglass.Window, error) {
	var w breakglass.Window
	return w, c.call(ctx, "POST", "/breakglass/"+url.PathEscape(id)+"/revoke", map[string]string{"reason": reason}, &w)
}

// ReviewWindow marks a window that ended as reviewed.
func (c *Client) ReviewWindow(ctx context.Context, id, finding string) (breakglass.Window, error) {
	var w breakglass.Window
	return w, c.call(ctx, "POST", "/breakglass/"+url.PathEscape(id)+"/review", map[string]string{"finding": finding}, &w)
}
