package postgres

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

var responses = map[string]struct {
	token, state string
}{
	"n,,\x01auth=Bearer abc.DEF-1_2~+/==\x01\x01":           {"abc.DEF-1_2~+/==", ""},
	"y,,\x01auth=bearer   abc\x01\x01":                      {"abc", ""},
	"n,,\x01host=h\x01port=5432\x01auth=Bearer abc\x01\x01": {"abc", ""},
	"n,,\x01auth=\x01\x01":                                  {"", ""}, // it asks where to get one
	"":                                                      {"", "08P01"},
	"n,,":                                                   {"", "08P01"},
	"n,,\x01\x01":                                           {"", "08P01"},
	"n,,\x01auth=Bearer abc\x01":                            {"", "08P01"},
	"n,,\x01auth=Bearer abc\x01\x01\x01":                    {"", "08P01"},
	"n,,\x01auth=Bearer abc\x01\x01x":                       {"", "08P01"},
	"n,,\x01auth=Bearer abc\x01auth=Bearer abc\x01\x01":             {"", "08P01"},
	"n,,\x01auth=Bearer \x01\x01":                                   {"", "08P01"},
	"n,,\x01auth=Bearer ===\x01\x01":                                {"", "08P01"},
	"n,,\x01auth=Bearer a b\x01\x01":                                {"", "08P01"},
	"n,,\x01auth=Bearer a=b\x01\x01":                                {"", "08P01"},
	"n,,\x01auth=Basic abc\x01\x01":                                 {"", "08P01"},
	"n,,\x01auth=Bearer abc\x00\x01\x01":                            {"", "08P01"},
	"n,,\x01auth=Bearer \xffabc\x01\x01":                            {"", "08P01"},
	"n,,\x01=x\x01auth=Bearer abc\x01\x01":                          {"", "08P01"},
	"n,,\x01a1=x\x01auth=Bearer abc\x01\x01":                        {"", "08P01"},
	"n,,\x01auth\x01\x01":                                           {"", "08P01"},
	"p=tls-exporter,,\x01auth=Bearer abc\x01\x01":                   {"", "08P01"},
	"n,a=admin,\x01auth=Bearer abc\x01\x01":                         {"", "0A000"},
	"x,,\x01auth=Bearer abc\x01\x01":                                {"", "08P01"},
	"n,,\x01auth=Bearer " + strings.Repeat("a", 20000) + "\x01\x01": {strings.Repeat("a", 20000), ""},
}

func TestBearerToken(t *testing.T) {
	for response, want := range responses {
		token, err := bearerToken([]byte(response))
		var m *errMessage
		state := ""
		if errors.As(err, &m) {
			state = m.state
		} else if err != nil {
			t.Errorf("%q: %v", response, err)
		}
		if token != want.token || state != want.state {
			t.Errorf("%.60q: %.30q %s, want %.30q %s", response, token, state, want.token, want.state)
		}
	}
}

func TestSASLInitialResponse(t *testing.T) {
	body := func(name string, n int32, rest string) []byte {
		return append(binary.BigEndian.AppendUint32(append([]byte(name), 0), uint32(n)), rest...)
	}
	for what, one := range map[string]struct {
		body  []byte
		given bool
		want  string // in the error
	}{
		"whole":             {body(mechanism, 3, "abc"), true, ""},
		"none":              {body(mechanism, -1, ""), false, ""},
		"empty":             {body(mechanism, 0, ""), true, ""},
		"cut off":           {body(mechanism, 4, "abc"), false, "not well-formed"},
		"a tail":            {body(mechanism, 2, "abc"), false, "not well-formed"},
		"none with a tail":  {body(mechanism, -1, "abc"), false, "not well-formed"},
		"a negative length": {body(mechanism, -2, ""), false, "not well-formed"},
		"a huge length":     {body(mechanism, 1<<31-1, "abc"), false, "not well-formed"},
		"another mechanism": {body("SCRAM-SHA-256", 3, "abc"), false, "was not offered"},
		"a password":        {[]byte("secret\x00"), false, "not well-formed"},
	} {
		_, given, err := saslInitialResponse('p', one.body)
		if one.want == "" && (err != nil || given != one.given) || one.want != "" && (err == nil || !strings.Contains(err.Error(), one.want)) {
			t.Errorf("%s: given %v, %v", what, given, err)
		}
	}
	if _, _, err := saslInitialResponse('Q', body(mechanism, 0, "")); err == nil {
		t.Error("a query was taken for a response")
	}
}

// Whatever comes: no panic, and a token is one.
func FuzzOAuthBearer(f *testing.F) {
	for r := range responses {
		f.Add([]byte(r), true)
		f.Add(append(binary.BigEndian.AppendUint32([]byte(mechanism+"\x00"), uint32(len(r))), r...), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, inner bool) {
		if !inner {
			response, given, err := saslInitialResponse('p', b)
			if err != nil || !given {
				if len(response) > 0 {
					t.Error("a response came with an error")
				}
				return
			}
			b = response
		}
		token, err := bearerToken(b)
		if err != nil && token != "" || token != "" && !isToken(token) {
			t.Errorf("%q, %v", token, err)
		}
	})
}
