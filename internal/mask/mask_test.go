package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gatehouse/internal/policy"
)

func rule(m policy.Mask) Rule {
	return Rule{Exposure: policy.Exposure{Visible: true, Mask: m, Width: 10}, Class: "pii", Key: []byte("a key of pseudonyms")}
}

func plan(t testing.TB, m policy.Mask, paths ...string) *Plan {
	t.Helper()
	p, err := Compile(paths)
	if err != nil {
		t.Fatal(err)
	}
	rules := make([]Rule, len(paths))
	for i := range rules {
		rules[i] = rule(m)
	}
	return p.Under(rules)
}

type writer interface {
	Write(dst, p []byte) ([]byte, error)
	End(dst []byte) ([]byte, error)
}

// run masks in parts of n bytes.
func run(w writer, in string, n int) (string, error) {
	var out []byte
	var err error
	for len(in) > 0 {
		part := in[:min(n, len(in))]
		in = in[len(part):]
		if out, err = w.Write(out, []byte(part)); err != nil {
			return string(out), err
		}
	}
	out, err = w.End(out)
	return string(out), err
}

func TestJSON(t *testing.T) {
	for _, c := range []struct {
		mask     policy.Mask
		path     string
		in, want string
	}{
		{policy.MaskEmail, "$.email", `{"id": 1, "email" : "ada@example.com", "x":[1]}`, `{"id": 1, "email" : "a***@***.invalid", "x":[1]}`},
		{policy.MaskEmail, "$.email", `{"email":"ada@example.com","email":"bob@example.com"}`, `{"email":"a***@***.invalid","email":"b***@***.invalid"}`},
		{policy.MaskEmail, "$.email", `{"\u0065mail":"ada\u0040example.com"}`, `{"\u0065mail":"a***@***.invalid"}`},
		{policy.MaskEmail, "$.email", `{"user":{"email":"kept@example.com"}}`, `{"user":{"email":"kept@example.com"}}`},
		{policy.MaskEmail, "$..email", `{"user":{"email":"ada@example.com"},"l":[{"email":"eve@x"}]}`, `{"user":{"email":"a***@***.invalid"},"l":[{"email":"e***@***.invalid"}]}`},
		{policy.MaskRedact, "$[*].n", `[{"n":"x","m":2},{"n":7},{"n":null},{"n":true}]`, `[{"n":"***","m":2},{"n":null},{"n":null},{"n":null}]`},
		{policy.MaskRedact, "$.items[1]", `{"items":["a","b","c"]}`, `{"items":["a","***","c"]}`},
		{policy.MaskRedact, "$.who", `{"who":{"a":[1,{"b":"c"}]},"z":1}`, `{"who":null,"z":1}`},
		{policy.MaskRedact, "$.*", `{"a":"x","b":["y"]}`, `{"a":"***","b":null}`},
		{policy.MaskRedact, "$", ` "secret" `, ` "***" `},
		{policy.MaskBucket, "$.n", `{"n":47,"m":47}`, `{"n":40,"m":47}`},
		{policy.MaskBucket, "$", `47`, `40`},
		{policy.MaskBucket, "$.n", `{"n":-12.75e1}`, `{"n":-120}`},
		{policy.MaskYear, "$.d", `{"d":"1815-12-10"}`, `{"d":"1815-01-01"}`},
		{policy.MaskYear, "$.d", `{"d":"2020-01-01T00:30:00+02:00"}`, `{"d":"2019-01-01T00:00:00Z"}`},
		{policy.MaskPartial, "$.p", `{"p":"+49 30 1234567"}`, `{"p":"***4567"}`},
		{policy.MaskNull, "$.p", `{"p":"x"}`, `{"p":null}`},
		{policy.MaskRedact, "$['a','b']", `{"a":"x","b":"y","c":"z"}`, `{"a":"***","b":"***","c":"z"}`},
	} {
		for n := 1; n <= len(c.in); n++ {
			got, err := run(plan(t, c.mask, c.path).Masker(false), c.in, n)
			if err != nil || got != c.want {
				t.Fatalf("%s of %s in parts of %d: got %s, %v, want %s", c.path, c.in, n, got, err, c.want)
			}
		}
	}
}

func TestPseudonyms(t *testing.T) {
	got, err := run(plan(t, policy.MaskToken, "$..e").Masker(true), `{"e":"a@b"} {"e":"a@b"} {"e":"c@d"}`, 7)
	lines := strings.Split(got, "} ")
	if err != nil || len(lines) != 3 || lines[0] != lines[1] || lines[0] == strings.TrimSuffix(lines[2], "}") || !strings.Contains(got, `"tok_`) {
		t.Fatalf("got %s, %v", got, err)
	}
}

func TestBadJSON(t *testing.T) {
	deep := strings.Repeat("[", maxDepth+1)
	for _, in := range []string{"", " ", "{", `{"a"`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{"a" 1}`, `01`, `1.`, `-`, `1e`, `+1`, `.5`, `tru`, `nulL`, `"\x"`, `"\u12g4"`, "\"\x01\"", "\"\xff\"", "\"\xc3",
		"\"\xed\xa0\x80\"", `{} {}`, `{}x`, "\xef\xbb\xbf{}", "'a'", `{a:1}`, deep, `[}`, `{]`, `]`, `"a`, "NaN", "{\"a\":1}\x00"} {
		for _, n := range []int{1, 3, 1000} {
			if got, err := run(plan(t, policy.MaskRedact, "$.a").Masker(false), in, n); !errors.Is(err, ErrNotJSON) {
				t.Errorf("%q: got %q, %v", in, got, err)
			}
		}
	}
}

func TestRefusedPaths(t *testing.T) {
	for _, p := range []string{"$[?@.a]", "$[1:2]", "$[-1]", "email", "", "$.", "$[?(1==1)]"} {
		if _, err := Compile([]string{p}); err == nil {
			t.Errorf("%q is compiled", p)
		}
	}
}

// TestLongValue: a value of 1 GiB is masked in the memory of a small one.
func TestLongValue(t *testing.T) {
	m := plan(t, policy.MaskEmail, "$.a").Masker(false)
	var out []byte
	var err error
	write := func(p string) {
		if out, err = m.Write(out[:0], []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"a":"`)
	part := strings.Repeat("x@", 32<<10)
	for range 1 << 14 {
		if write(part); len(out) > 0 {
			t.Fatal("something of a masked value came out")
		}
	}
	write(`"}`)
	if string(out) != `"***"}` || cap(m.kept) > 4*maxValue {
		t.Errorf("got %s, keeping %d bytes", out, cap(m.kept))
	}
}

func TestEvents(t *testing.T) {
	for _, c := range [][2]string{
		{"data: {\"e\":\"ada@x.org\"}\n\n", "data: {\"e\":\"***\"}\n\n"},
		{"event: a\nid:7\ndata:{\"e\":\"ada@x.org\"}\r\n\r\n: ada@x.org\n\ndata: [DONE]\n\n", "event: a\nid:7\ndata: {\"e\":\"***\"}\n\n:\n\ndata: [DONE]\n\n"},
		{"data: {\ndata: \"e\":\"ada@x.org\",\ndata: \"f\":1}\n\n", "data: {\ndata: \"e\":\"***\",\ndata: \"f\":1}\n\n"},
		{"data: {\"e\":[\ndata: \"ada@x.org\"\ndata: ]}\rother: ada@x.org\r\r", "data: {\"e\":null}\n\n"},
		{"\xef\xbb\xbfdata: 1\n\n", "data: 1\n\n"},
		{"data\n\n", "data: \n\n"},
	} {
		for n := 1; n <= len(c[0]); n++ {
			got, err := run(plan(t, policy.MaskRedact, "$.e").Events(), c[0], n)
			if err != nil || got != c[1] {
				t.Fatalf("%q in parts of %d: got %q, %v, want %q", c[0], n, got, err, c[1])
			}
		}
	}
	for _, bad := range []string{"data: ada@x.org\n\n", "data: {}", "data: {\nid: 1\n\n", "data: [DONE]x\n\n", "data: [DON\n\n", "x" + strings.Repeat("y", 2000)} {
		if got, err := run(plan(t, policy.MaskRedact, "$.e").Events(), bad, 3); err == nil {
			t.Errorf("%q: got %q", bad, got)
		}
	}
}

// FuzzMasker: without labels the output is the input; with one no witness comes out, and what comes out is JSON where the
// input is.
func FuzzMasker(f *testing.F) {
	for _, s := range []string{`{"a":"witness"}`, `[{"a":["witness"]},1.5e3,true]`, `{"\u0061":"wit\u006eess","b":"é"}`, `{"a":{"b":{"a":"witness"}}}`} {
		f.Add([]byte(s), uint8(3))
	}
	none, all, a := plan(f, policy.MaskRedact), plan(f, policy.MaskNull, "$..*", "$"), plan(f, policy.MaskRedact, "$..a")
	f.Fuzz(func(t *testing.T, in []byte, n uint8) {
		size := int(n)%64 + 1
		same, err := run(none.Masker(false), string(in), size)
		valid := json.Valid(in) && bytes.Equal(bytes.ToValidUTF8(in, []byte("?")), in)
		if (err == nil) && (!valid || same != string(in)) {
			t.Fatalf("%q became %q, valid %v", in, same, valid)
		}
		if err != nil && valid && bytes.Count(in, []byte("["))+bytes.Count(in, []byte("{")) < maxDepth {
			t.Fatalf("%q: %v", in, err)
		}
		nothing, _ := run(all.Masker(false), string(in), size)
		if s := strings.TrimSpace(nothing); s != "" && s != "null" {
			t.Fatalf("%q shows %q", in, nothing)
		}
		shown, err := run(a.Masker(false), string(in), size)
		if err != nil {
			return
		}
		if !json.Valid([]byte(shown)) {
			t.Fatalf("%q became %q", in, shown)
		}
		var v any
		if json.Unmarshal([]byte(shown), &v) == nil {
			witness(t, v, shown)
		}
		run(a.Events(), string(in), size)
	})
}

// witness fails where anything but a mask is below a labelled key.
func witness(t *testing.T, v any, text string) {
	switch v := v.(type) {
	case map[string]any:
		for k, one := range v {
			if k == "a" && one != nil && one != Redacted {
				t.Fatalf("%q shows %v", text, one)
			}
			witness(t, one, text)
		}
	case []any:
		for _, one := range v {
			witness(t, one, text)
		}
	}
}

func BenchmarkMasker(b *testing.B) {
	one := `{"id":4711,"name":"Ada Lovelace","email":"ada@example.com","phone":"+49 30 1234567","note":"a customer since the beginning, with a longer text about that","orders":[{"id":1,"total":12.50,"status":"paid"},{"id":2,"total":99.00,"status":"open"}]}`
	for name, in := range map[string]string{"1KiB": "[" + strings.Repeat(one+",", 3) + one + "]", "100KiB": "[" + strings.Repeat(one+",", 400) + one + "]"} {
		b.Run(name, func(b *testing.B) {
			p := plan(b, policy.MaskEmail, "$[*].email", "$[*].phone")
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				m := p.Masker(false)
				var err error
				if out, err = m.Write(out[:0], []byte(in)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
