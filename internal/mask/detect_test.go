package mask_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/mask"
)

// TestDetect: what is recognised, and what is left as it is. The values are made up, or those of documents.
func TestDetect(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	for text, want := range map[string]string{
		"ada@example.com":                        "email",
		"'ada.l+x@mail.example.co.uk'":           "email",
		"write to ada@example.com.":              "email",
		"ada@example.com, bob@example.org":       "email email",
		"jürgen@bücher.example":                  "email",
		"a@b":                                    "",
		"user@localhost":                         "",
		"@example.com":                           "",
		"1@2.3":                                  "",
		"4111111111111111":                       "card",
		"4111 1111 1111 1111":                    "card",
		"5500-0055-5555-5559":                    "card",
		"'378282246310005'":                      "card",
		"{\"n\":4111111111111111}":               "card",
		"4111111111111112":                       "",
		"id_4111111111111111":                    "card", // an id could hold one
		"x4111111111111111":                      "",
		"4111111111111111x":                      "",
		"41111111111111111111111111":             "",
		"1111111111111117":                       "", // no network begins so
		"2026-11-25 22:30:00":                    "",
		"DE89370400440532013000":                 "iban",
		"DE89 3704 0044 0532 0130 00":            "iban",
		"GB82WEST12345698765432":                 "iban",
		"DE89370400440532013001":                 "",
		"XX89370400440532013000":                 "",
		"DE8937040044053201300":                  "",
		"Bearer " + jwt:                          "jwt",
		"eyJhbGciOiJIUzI1NiJ9.eyJ":               "",
		"eyJhYSI6MX0.eyJzdWIiOiJ4In0.c2ln":       "", // its header names no algorithm
		"AKIAIOSFODNN7EXAMPLE":                   "key",
		"AKIAIOSFODNN7EXAMPLEX":                  "",
		"AIza" + strings.Repeat("a", 35):         "key",
		"ghp_" + strings.Repeat("a1", 18):        "key",
		"github_pat_" + strings.Repeat("a_", 35): "key",
		"sk_live_" + strings.Repeat("x", 24):     "key",
		"sk_test_" + strings.Repeat("x", 24):     "",
		"xoxb-123456789012-abcdefghijkl":         "key",
		"AccountKey=" + strings.Repeat("A", 86) + "==;EndpointSuffix":                "key",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nmore": "pem",
		"-----BEGIN PRIVATE KEY-----\nMIIE":                                          "pem",
		"-----BEGIN CERTIFICATE-----\nMIIE":                                          "",
		"SELECT 1":                                                                   "",
		"":                                                                           "",
	} {
		var kinds []string
		for _, d := range mask.Detect([]byte(text)) {
			kinds = append(kinds, d.Kind)
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"SELECT 'ada@example.com', 1":                                        "SELECT '***************', 1",
		"to ada@example.com. More":                                           "to ***************. More",
		"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nmore": strings.Repeat("*", 58) + "\nmore",
	} {
		if got := mask.ConcealText(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestConcealKeeps: the bytes that were given stay as they were: they are still on the way to somebody.
func TestConcealKeeps(t *testing.T) {
	b := []byte("ada@example.com")
	if got := mask.Conceal(b); string(got) != "***************" || string(b) != "ada@example.com" {
		t.Errorf("%q %q", got, b)
	}
	b = []byte("nothing")
	if got := mask.Conceal(b); &got[0] != &b[0] {
		t.Error("it was copied")
	}
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"ada@example.com", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "-----BEGIN PRIVATE KEY-----x", "a@b.c@d.ee.", "@.@.."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := 0
		for _, d := range mask.Detect(b) {
			if d.From < end || d.To <= d.From || d.To > len(b) {
				t.Fatalf("%v in %q", d, b)
			}
			end = d.To
		}
		c := mask.Conceal(b)
		if len(c) != len(b) || len(mask.Detect(c)) > 0 && bytes.Equal(c, b) {
			t.Fatalf("%q of %q", c, b)
		}
	})
}

func BenchmarkDetect(b *testing.B) {
	var rows bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&rows, "%d|order %d of customer %d|paid|2026-01-02 10:11:12|19.99\n", i, i*7, i%100)
	}
	b.SetBytes(int64(rows.Len()))
	for b.Loop() {
		mask.Detect(rows.Bytes())
	}
}
