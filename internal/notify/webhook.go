package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// webhook posts JSON.
type webhook struct {
	target Target
	now    func() time.Time
	client *http.Client
}

// httpClient follows no redirect: a call with a signature goes where the configuration says, or nowhere.
func httpClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (w *webhook) deliver(ctx context.Context, m Message, e Event) error {
	address, err := w.target.address()
	if err != nil {
		return err
	}
	body, err := json.Marshal(w.body(e))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("the url cannot be called")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "gatehouse")
	if !w.target.Secret.IsZero() {
		key, err := w.target.Secret.Resolve()
		if err != nil {
			return err
		}
		if err := sign(r.Header, key, m.ID, w.now(), body); err != nil {
			return err
		}
	}
	answer, err := w.client.Do(r)
	if err != nil {
		var u *url.Error // its text has the URL, which is a secret
		if errors.As(err, &u) {
			err = u.Err
		}
		return err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return nil
	}
	err = fmt.Errorf("the receiver answered %s", answer.Status)
	if s, wrong := strconv.Atoi(answer.Header.Get("Retry-After")); wrong == nil && s > 0 && s < 1<<20 {
		return &retryAfter{err, time.Duration(s) * time.Second}
	}
	return err
}

// sign adds the three headers of the Standard Webhooks specification: an id by which a receiver knows a message
// that comes twice, the time, and an HMAC-SHA256 over both and the body. A secret that begins with "whsec_" is
// base64, as there; any other is taken as it is.
func sign(h http.Header, key, id string, at time.Time, body []byte) error {
	raw := []byte(key)
	if text, ok := strings.CutPrefix(key, "whsec_"); ok {
		var err error
		if raw, err = base64.StdEncoding.DecodeString(text); err != nil {
			return errors.New("the webhook's secret begins with whsec_ and is not base64")
		}
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, raw)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", stamp)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// body is what the kind of target understands.
func (w *webhook) body(e Event) any {
	switch w.target.Kind {
	case "slack":
		return slack(e)
	case "teams":
		return teams(e)
	}
	return struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      Event     `json:"data"`
	}{e.Kind, e.At, e}
}
