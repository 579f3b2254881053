package client

import (
	"context"
	"net/url"
	"strconv"

	"gatehouse/internal/versions"
)

// PolicyVersions says what is in force, and lists the newest versions; limit 0 is the server's default.
func (c *Client) PolicyVersions(ctx context.Context, limit int) (versions.Status, error) {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var s versions.Status
	return s, c.call(ctx, "GET", "/policies/versions?"+q.Encode(), nil, &s)
}

// PolicyVersion is one version with its files: a number, head, or what a recorded decision names.
func (c *Client) PolicyVersion(ctx context.Context, which string) (versions.Version, error) {
	var v versions.Version
	return v, c.call(ctx, "GET", "/policies/versions/"+url.PathEscape(which), nil, &v)
}

// PublishPolicies publishes a draft; its Restores is not sent.
func (c *Client) PublishPolicies(ctx context.Context, d versions.Draft) (versions.Result, error) {
	var r versions.Result
	return r, c.call(ctx, "POST", "/policies/versions", map[string]any{"base": d.Base, "reason": d.Reason, "files": d.Files, "dry_run": d.DryRun}, &r)
}

// RollBackPolicies publishes what an earlier version said.
func (c *Client) RollBackPolicies(ctx context.Context, which string, base int64, reason string, dryRun bool) (versions.Result, error) {
	var r versions.Result
	return r, c.call(ctx, "POST", "/policies/versions/"+url.PathEscape(which)+"/rollback", map[string]any{"base": base, "reason": reason, "dry_run": dryRun}, &r)
}
