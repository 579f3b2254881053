package identity

import (
	"encoding/json"
	"testing"
	"time"
)

// FuzzClaims: no payload makes the readers panic, and what they accept names somebody.
func FuzzClaims(f *testing.F) {
	f.Add(`{"aud":"api","exp":2000000000,"tid":"t","oid":"o","sub":"o","ver":"2.0","azp":"bot","idtyp":"app"}`)
	f.Add(`{"aud":["api"],"exp":2e9,"sub":"u","azp":"x","act":{"sub":"y"},"groups":["a"],"roles":"r"}`)
	f.Add(`{"aud":null,"exp":null}`)
	f.Fuzz(func(t *testing.T, payload string) {
		var c claims
		if json.Unmarshal([]byte(payload), &c) != nil {
			return
		}
		for _, is := range []*Issuer{
			{Name: "e", Kind: "entra", Issuer: "https://login.microsoftonline.com/t/v2.0", Audiences: []string{"api"}},
			{Name: "o", Kind: "oidc", Issuer: "https://idp.example", Audiences: []string{"api"}},
		} {
			if _, err := is.standard(c, time.Unix(1900000000, 0)); err != nil {
				continue
			}
			w, err := is.read(c, People{Clients: []string{"cli"}})
			if err == nil && (w.principal.ID == is.Name+":" || w.principal.Kind == "") {
				t.Fatalf("nobody is accepted: %+v", w.principal)
			}
		}
	})
}
