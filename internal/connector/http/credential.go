package http

import (
	"net/http"
	"net/url"
)

// sign puts the gateway's own credential into a request. Its error never holds a secret.
func (t *target) sign(h http.Header, u *url.URL) error {
	name, value, err := t.credential.Get()
	switch {
	case err != nil || name == "":
		return err
	case name != t.credential.Parameter():
		h.Set(name, value)
		return nil
	}
	own := url.QueryEscape(name) + "=" + url.QueryEscape(value)
	if u.RawQuery != "" {
		own = u.RawQuery + "&" + own
	}
	u.RawQuery = own
	return nil
}
