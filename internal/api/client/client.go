// Package client speaks the control API for the command line.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/internal/api"
	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 32 << 20

// Client speaks to one gateway.
type Client struct {
	// Base is the gateway's URL: "https://gw.example:8443".
	Base string
	// Token gives a person's token for each call.
	Token func(context.Context) (string, error)
	HTTP  *http.Client
}

// Whoami is who the token belongs to.
func (c *Client) Whoami(ctx context.Context) (api.Who, error) {
	var w api.Who
	return w, c.call(ctx, "GET", "/whoami", nil, &w)
}

// Approvals lists the newest holds; state "" is all, limit 0 the server's default.
func (c *Client) Approvals(ctx context.Context, state string, limit int) ([]approval.View, error) {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var list []approval.View
	return list, c.call(ctx, "GET", "/approvals?"+q.Encode(), nil, &list)
}

// Approval is one hold.
func (c *Client) Approval(ctx context.Context, id string) (approval.View, error) {
	var v approval.View
	return v, c.call(ctx, "GET", "/approvals/"+url.PathEscape(id), nil, &v)
}

// Preview is what a held request would do now.
func (c *Client) Preview(ctx context.Context, id string) (gate.Effect, error) {
	var e gate.Effect
	return e, c.call(ctx, "GET", "/approvals/"+url.PathEscape(id)+"/preview", nil, &e)
}

// Answer approves or denies a hold.
func (c *Client) Answer(ctx context.Context, id string, said approval.Said) (approval.View, error) {
	verb := "deny"
	if said.Approve {
		verb = "approve"
	}
	var v approval.View
	return v, c.call(ctx, "POST", "/approvals/"+url.PathEscape(id)+"/"+verb, map[string]any{"reason": said.Reason, "max_rows": said.MaxRows}, &v)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	token, err := c.Token(ctx)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.HTTP.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		remedy := "look whether it is running, and whether the profile's address is right"
		if errors.As(err, new(*tls.CertificateVerificationError)) {
			remedy = "sign in again with `--ca FILE`, naming the gateway's certificate"
		}
		return fmt.Errorf("the gateway at %s cannot be reached: %w: %s", c.Base, err, remedy)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		var problem struct {
			Title  string `json:"title"`
			Detail string `json:"detail"`
			Errors []struct {
				Message  string `json:"message"`
				Location string `json:"location"`
			} `json:"errors"`
		}
		json.Unmarshal(b, &problem)
		text := problem.Detail
		if text == "" {
			text = fmt.Sprintf("the gateway answered %s", answer.Status)
		}
		for _, e := range problem.Errors {
			text += fmt.Sprintf(" (%s: %s)", e.Location, e.Message)
		}
		return errors.New(text)
	}
	return json.Unmarshal(b, out)
}
