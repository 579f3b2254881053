package mask

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// Kinds of values that are recognised by how they look.
const (
	DetectedEmail = "email"
	DetectedCard  = "card" // 12 to 19 digits with a good check digit (Luhn, ISO/IEC 7812-1)
	DetectedIBAN  = "iban" // with good check digits (ISO 13616)
	DetectedJWT   = "jwt"  // three parts, the first one a header that names an algorithm (RFC 7519)
	DetectedKey   = "key"  // a cloud service's key: AWS, Google, GitHub, GitLab, Slack, Stripe, Azure
	DetectedPEM   = "pem"  // a private key
)

// Detected is a value that was recognised: b[From:To].
type Detected struct {
	From, To int
	Kind     string
}

// maxDetected bounds how far a value is followed, in bytes.
const maxDetected = 16 << 10

// Detect finds values that look like what nobody should keep. It goes by looks alone: what is not written in a usual form it does
// not find, and a number may be taken for a card that is none. They are in order, and none is in another.
func Detect(b []byte) (out []Detected) {
	for i := 0; i < len(b); {
		d, ok := detectAt(b, i)
		if !ok || len(out) > 0 && d.From < out[len(out)-1].To {
			i++
			continue
		}
		out = append(out, d)
		i = d.To
	}
	return out
}

// Stars puts stars where Detect finds something, byte for byte, so that everything stays where it was.
func Stars(b []byte) {
	for _, d := range Detect(b) {
		for i := d.From; i < d.To; i++ {
			b[i] = '*'
		}
	}
}

// Conceal is Stars in a copy. What it gives is b itself where nothing was found.
func Conceal(b []byte) []byte {
	if len(Detect(b)) == 0 {
		return b
	}
	out := append(make([]byte, 0, len(b)), b...)
	Stars(out)
	return out
}

// ConcealText is Conceal of a text.
func ConcealText(s string) string {
	found := Detect([]byte(s))
	if len(found) == 0 {
		return s
	}
	return string(Conceal([]byte(s)))
}

func detectAt(b []byte, i int) (Detected, bool) {
	c := b[i]
	switch {
	case c == '@':
		return detectEmail(b, i)
	case c >= '0' && c <= '9':
		if i == 0 || !alphanumeric(b[i-1]) {
			return card(b, i)
		}
	case c == '-':
		return pem(b, i)
	case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		if i > 0 && (alphanumeric(b[i-1]) || b[i-1] == '_') {
			return Detected{}, false
		}
		if c == 'e' {
			if d, ok := jwt(b, i); ok {
				return d, true
			}
		}
		if d, ok := key(b, i); ok {
			return d, true
		}
		return iban(b, i)
	}
	return Detected{}, false
}

func digit(c byte) bool        { return c >= '0' && c <= '9' }
func letter(c byte) bool       { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func upper(c byte) bool        { return c >= 'A' && c <= 'Z' }
func alphanumeric(c byte) bool { return digit(c) || letter(c) }

// detectEmail looks around an @.
func detectEmail(b []byte, at int) (Detected, bool) {
	from := at
	for from > 0 && at-from < 64 && (alphanumeric(b[from-1]) || strings.IndexByte("._%+-'&~", b[from-1]) >= 0 || b[from-1] >= 0x80) {
		from--
	}
	for from < at && strings.IndexByte(".-'&~%", b[from]) >= 0 { // quotes and the like before it
		from++
	}
	to, dot, label := at+1, -1, 0
	for to < len(b) && to-at <= 255 && (alphanumeric(b[to]) || b[to] == '-' || b[to] == '.' || b[to] >= 0x80) {
		if b[to] == '.' {
			if label == 0 {
				break
			}
			dot, label = to, 0
		} else {
			label++
		}
		to++
	}
	if label == 0 && dot > 0 { // a full stop after it
		to = dot
		dot = strings.LastIndexByte(string(b[at:to]), '.') + at
		if dot < at+1 {
			dot = -1
		}
	}
	if from == at || dot < 0 || to-dot-1 < 2 || !letter(b[dot+1]) && b[dot+1] < 0x80 {
		return Detected{}, false
	}
	return Detected{from, to, DetectedEmail}, true
}

// card looks at digits, alone or in groups with one space or hyphen between them.
func card(b []byte, from int) (Detected, bool) {
	if b[from] < '2' || b[from] > '6' { // the networks' first digits
		return Detected{}, false
	}
	var digits [20]byte
	n, to := 0, from
	for i := from; i < len(b); i++ {
		switch c := b[i]; {
		case digit(c):
			if n == len(digits)-1 {
				return Detected{}, false
			}
			digits[n] = c - '0'
			n++
			to = i + 1
			continue
		case (c == ' ' || c == '-') && i+1 < len(b) && digit(b[i+1]) && i > from && digit(b[i-1]):
			continue
		}
		break
	}
	if n < 12 || to < len(b) && (alphanumeric(b[to]) || b[to] == '_') {
		return Detected{}, false
	}
	sum := 0
	for i := range n {
		d := int(digits[n-1-i])
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return Detected{from, to, DetectedCard}, sum%10 == 0
}

// ibanLength is how long the numbers of a country are (SWIFT's IBAN registry).
var ibanLength = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24,
	"DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
	"HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
	"LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
	"QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29,
	"VA": 22, "VG": 24, "XK": 20,
}

// iban looks at a country and digits, as one word or in groups of four.
func iban(b []byte, from int) (Detected, bool) {
	if from+15 > len(b) || !upper(b[from]) || !upper(b[from+1]) || !digit(b[from+2]) || !digit(b[from+3]) {
		return Detected{}, false
	}
	want := ibanLength[string(b[from:from+2])]
	var text [34]byte
	n, to := 0, from
	for i := from; i < len(b) && n < want; i++ {
		c := b[i]
		if c == ' ' && n%4 == 0 && n > 0 {
			continue
		}
		if !digit(c) && !upper(c) {
			break
		}
		text[n] = c
		n++
		to = i + 1
	}
	if want == 0 || n != want || to < len(b) && alphanumeric(b[to]) {
		return Detected{}, false
	}
	rest := 0
	for i := range n {
		c := text[(i+4)%n]
		if digit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return Detected{from, to, DetectedIBAN}, rest == 1
}

func base64url(c byte) bool { return alphanumeric(c) || c == '-' || c == '_' }

// jwt looks at three parts with dots between them.
func jwt(b []byte, from int) (Detected, bool) {
	if from+3 > len(b) || string(b[from:from+3]) != "eyJ" {
		return Detected{}, false
	}
	to, parts, start, header := from, 0, from, ""
	for ; to < len(b) && to-from < maxDetected; to++ {
		if base64url(b[to]) {
			continue
		}
		if b[to] != '.' || to == start || parts == 2 {
			break
		}
		if parts++; parts == 1 {
			header = string(b[from:to])
		}
		start = to + 1
	}
	if parts != 2 || to == start {
		return Detected{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(header)
	var h struct {
		Algorithm string `json:"alg"`
	}
	if err != nil || json.Unmarshal(raw, &h) != nil || h.Algorithm == "" {
		return Detected{}, false
	}
	return Detected{from, to, DetectedJWT}, true
}

// keyShape is how a service's keys look: what they begin with, and how many letters follow.
type keyShape struct {
	begin    string
	min, max int
	of       func(byte) bool
}

func awsLetter(c byte) bool { return upper(c) || c >= '2' && c <= '7' }
func base64Std(c byte) bool { return alphanumeric(c) || c == '+' || c == '/' || c == '=' }
func word(c byte) bool      { return alphanumeric(c) || c == '_' }
func hyphened(c byte) bool  { return alphanumeric(c) || c == '-' || c == '_' }

var keyShapes = [256][]keyShape{
	'A': {{"AKIA", 16, 16, awsLetter}, {"ASIA", 16, 16, awsLetter}, {"AIza", 35, 35, hyphened}, {"AccountKey=", 86, 90, base64Std}},
	'g': {{"ghp_", 36, 255, alphanumeric}, {"gho_", 36, 255, alphanumeric}, {"ghu_", 36, 255, alphanumeric}, {"ghs_", 36, 255, alphanumeric}, {"ghr_", 36, 255, alphanumeric}, {"github_pat_", 60, 255, word}, {"glpat-", 20, 255, hyphened}},
	'x': {{"xoxb-", 20, 255, hyphened}, {"xoxp-", 20, 255, hyphened}, {"xoxa-", 20, 255, hyphened}, {"xoxr-", 20, 255, hyphened}, {"xoxs-", 20, 255, hyphened}, {"xapp-", 20, 255, hyphened}},
	's': {{"sk_live_", 20, 255, alphanumeric}},
	'r': {{"rk_live_", 20, 255, alphanumeric}},
	'G': {{"GOCSPX-", 28, 28, hyphened}},
}

func key(b []byte, from int) (Detected, bool) {
	for _, k := range keyShapes[b[from]] {
		if from+len(k.begin)+k.min > len(b) || string(b[from:from+len(k.begin)]) != k.begin {
			continue
		}
		to := from + len(k.begin)
		for to < len(b) && k.of(b[to]) && to-from-len(k.begin) <= k.max {
			to++
		}
		if n := to - from - len(k.begin); n < k.min || n > k.max {
			continue
		}
		return Detected{from, to, DetectedKey}, true
	}
	return Detected{}, false
}

// pem looks at a private key between its lines, or what there is of one.
func pem(b []byte, from int) (Detected, bool) {
	const begin, end = "-----BEGIN ", "-----END "
	if from+len(begin) > len(b) || string(b[from:from+len(begin)]) != begin {
		return Detected{}, false
	}
	part := string(b[from:min(len(b), from+maxDetected)])
	label, _, ok := strings.Cut(part[len(begin):], "-----")
	if !ok || len(label) > 64 || !strings.HasSuffix(label, "PRIVATE KEY") {
		return Detected{}, false
	}
	to := len(part)
	if at := strings.Index(part, end+label+"-----"); at >= 0 {
		to = at + len(end) + len(label) + len("-----")
	}
	return Detected{from, from + to, DetectedPEM}, true
}
