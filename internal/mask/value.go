// Package mask shows values under masks where no database does it: texts, numbers and the fields of JSON.
//
// What each mask shows is what the SQL guards write as expressions; docs/policies.md says it for both. The package is
// pure, and it fails closed: a mask that does not fit a value shows nothing.
package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/internal/policy"
)

// Redacted is what redact shows of a text.
const Redacted = "***"

// Rule says how one value is shown.
type Rule struct {
	policy.Exposure
	// Class is the data class that pseudonyms are made for: equal values of one class have equal ones.
	Class string
	// Key is the key of pseudonyms; without one token shows what redact does.
	Key []byte
}

// Raw says whether the value is shown as it is.
func (r *Rule) Raw() bool { return r.Visible && r.Mask == policy.MaskNone && len(r.All.List()) == 0 }

// least is the mask that is used of all that a value is under: the one that shows least of a kind of value.
func (r *Rule) least(fits func(policy.Mask) policy.Mask) policy.Mask {
	if !r.Visible {
		return policy.MaskNull
	}
	all := r.All.List()
	if len(all) == 0 {
		all = []policy.Mask{r.Mask}
	}
	least := policy.MaskNone
	if slices.Contains(all, policy.MaskEmail) && slices.Contains(all, policy.MaskPartial) {
		least = policy.MaskRedact // they show different parts of a value
	}
	for _, m := range all {
		least = min(least, fits(m))
	}
	return least
}

// Text shows a text; ok is false where nothing is shown.
func (r *Rule) Text(s string) (shown string, ok bool) {
	day, isTime := readTime(s)
	m := r.least(func(m policy.Mask) policy.Mask {
		switch {
		case (m == policy.MaskYear || m == policy.MaskBucket) && !isTime, m == policy.MaskBucket && r.Width < 1:
			return policy.MaskNull
		case m == policy.MaskToken && len(r.Key) == 0:
			return policy.MaskRedact
		}
		return m
	})
	switch m {
	case policy.MaskNone:
		return s, true
	case policy.MaskRedact:
		return Redacted, true
	case policy.MaskPartial:
		return partial(s), true
	case policy.MaskEmail:
		return email(s), true
	case policy.MaskToken:
		return r.token(s), true
	case policy.MaskYear:
		return day.year(1)
	case policy.MaskBucket:
		return day.year(r.Width)
	}
	return "", false
}

// partial is the last four characters of a text of eight or more; each byte that a character has beyond its first
// takes one of them away.
func partial(s string) string {
	if len(s) > 10 {
		if rest := dropRunes(s, len(s)-4); rest != "" {
			return Redacted + rest
		}
	}
	n := utf8.RuneCountInString(s)
	if n < 8 {
		return Redacted
	}
	return Redacted + dropRunes(s, n-4)
}

// dropRunes is a text without its first n characters.
func dropRunes(s string, n int) string {
	for ; n > 0 && s != ""; n-- {
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return s
}

// email is the first character of an address whose name has three or more.
func email(s string) string {
	at := strings.IndexByte(s, '@')
	if at < 0 || utf8.RuneCountInString(s[:at]) < 3 {
		return Redacted
	}
	_, size := utf8.DecodeRuneInString(s)
	return s[:size] + "***@***.invalid"
}

func (r *Rule) token(s string) string {
	class := sha256.Sum256([]byte(r.Class))
	h := hmac.New(sha256.New, r.Key)
	h.Write(class[:16])
	h.Write([]byte(s))
	return "tok_" + hex.EncodeToString(h.Sum(nil)[:12])
}

// moment is a date or a time that was written as a text.
type moment struct {
	at     time.Time
	suffix string // after the date, of the first moment of a year
}

var layouts = []struct{ layout, suffix string }{
	{time.DateOnly, ""}, {time.RFC3339Nano, "T00:00:00Z"}, {"2006-01-02T15:04:05.999999999", "T00:00:00"},
	{"2006-01-02 15:04:05.999999999", " 00:00:00"}, {"2006-01-02 15:04:05.999999999Z07:00", " 00:00:00Z"},
}

func readTime(s string) (moment, bool) {
	if len(s) < 10 || len(s) > 40 || s[4] != '-' {
		return moment{}, false
	}
	for _, l := range layouts {
		if t, err := time.Parse(l.layout, s); err == nil {
			return moment{t.UTC(), l.suffix}, true
		}
	}
	return moment{}, false
}

func (m moment) year(width int64) (string, bool) {
	y := int64(m.at.Year())
	if y < 1 || y > 9998 { // as the SQL guards have it
		return "", false
	}
	if width > 1 {
		y = max(y-y%width, 1)
	}
	digits := strconv.FormatInt(y, 10)
	return "0000"[len(digits):] + digits + "-01-01" + m.suffix, true
}

// Number shows a number as JSON writes it; ok is false where nothing is shown. Only bucket shows anything of one.
func (r *Rule) Number(s string) (shown string, ok bool) {
	m := r.least(func(m policy.Mask) policy.Mask {
		if m == policy.MaskNone || m == policy.MaskBucket && r.Width > 0 {
			return m
		}
		return policy.MaskNull
	})
	switch m {
	case policy.MaskNone:
		return s, true
	case policy.MaskBucket:
		return bucket(s, r.Width)
	}
	return "", false
}

func bucket(s string, width int64) (string, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return strconv.FormatInt(n-n%width, 10), true
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsInf(f, 0) || math.Abs(f) >= 1e15:
		return "", false
	case math.Abs(f) < float64(width):
		return "0", true
	}
	return strconv.FormatFloat(math.Trunc(f/float64(width))*float64(width), 'f', -1, 64), true
}

// Seconds shows a moment, in seconds since 1970, by the first of its year or of a bucket of years; ok is false where
// nothing is shown.
func (r *Rule) Seconds(s int64) (shown int64, ok bool) {
	const first, last = -62135596800, 253402300799 // the years 1 to 9999
	if s < first || s > last {
		return 0, false
	}
	text, ok := r.Text(time.Unix(s, 0).UTC().Format(time.RFC3339))
	if !ok {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, false
	}
	return t.Unix(), true
}
