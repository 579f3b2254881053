package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"gatehouse/internal/grant"
)

// RequestAccess asks for a group on a connection.
func (c *Client) RequestAccess(ctx context.Context, a grant.Ask) (grant.Grant, error) {
	var g grant.Grant
	return g, c.call(ctx, "POST", "/grants", map[string]any{"connection": a.Connection, "group": a.Group, "reason": a.Reason, "seconds": int64(a.For / time.Second), "agent": a.Agent}, &g)
}

// Grants lists the newest grants; state "" is all, limit 0 the server's default.
func (c *Client) Grants(ctx context.Context, state string, limit int) ([]grant.Grant, error) {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var list []grant.Grant
	return list, c.call(ctx, "GET", "/grants?"+q.Encode(), nil, &list)
}

// Grant is one grant.
func (c *Client) Grant(ctx context.Context, id string) (grant.Grant, error) {
	var g grant.Grant
	return g, c.call(ctx, "GET", "/grants/"+url.PathEscape(id), nil, &g)
}

// AnswerGrant does something with a grant: give, deny or revoke; a length of 0 is what was asked for.
func (c *Client) AnswerGrant(ctx context.Context, id, verb string, length time.Duration, reason string) (grant.Grant, error) {
	var g grant.Grant
	return g, c.call(ctx, "POST", "/grants/"+url.PathEscape(id)+"/"+verb, map[string]any{"seconds": int64(length / time.Second), "reason": reason}, &g)
}
