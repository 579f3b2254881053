package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Verdict is the decision on one touch by itself. The zero value refuses.
type Verdict struct {
	Effect Effect
	// Mask is how a column that is read is shown, as MaskText writes it: "none" is the raw value, "" is said of
	// everything else.
	Mask string
	// Rows are the rows that may be touched.
	Rows  Rows
	Limit Limit
	// Approvals must all be given; set on Hold.
	Approvals []Approval
	// Policies made the decision, sorted. On Refuse they are the forbids; none: no policy permits it.
	Policies []string
	// Errors name the policies whose evaluation failed.
	Errors []string
}

// Verdict decides one touch by itself.
func (s *Slice) Verdict(t Touch) Verdict {
	if s == nil || s.set == nil {
		return Verdict{}
	}
	j := s.judge(&t)
	v := Verdict{Effect: j.effect, Policies: slices.Sorted(slices.Values(j.policies)), Errors: j.errors}
	if j.effect == Refuse {
		return v
	}
	v.Rows, v.Limit, v.Approvals = j.rows, j.limit, j.approvals
	if readsColumn(&t) {
		v.Mask = MaskText(Exposure{Visible: true, Mask: j.shown.mask, All: j.shown.all, Width: j.shown.width})
	}
	return v
}

// Judged is a touch with the decision on it.
type Judged struct {
	Touch
	Verdict
}

// MaskText writes how something is shown, the mask that shows least first: "none", "email", "bucket:10",
// "partial+email".
func MaskText(e Exposure) string {
	list := e.All.List()
	if len(list) == 0 {
		return e.Mask.String()
	}
	words := make([]string, len(list))
	for i, m := range list {
		words[i] = m.String()
		if m == MaskBucket {
			words[i] += ":" + strconv.FormatInt(e.Width, 10)
		}
	}
	return strings.Join(words, "+")
}

// MasksOf reads what MaskText writes: each mask as an annotation @mask names it, none for the raw value.
func MasksOf(text string) ([]string, error) {
	if text == MaskNone.String() {
		return nil, nil
	}
	words := strings.Split(text, "+")
	for _, w := range words {
		name, width, wide := strings.Cut(w, ":")
		if _, err := ParseMask(name); err != nil {
			return nil, err
		}
		if n, err := strconv.ParseInt(width, 10, 64); wide && (err != nil || n < 0 || name != MaskBucket.String()) {
			return nil, fmt.Errorf("%q is not a mask", w)
		}
	}
	return words, nil
}

// Reveals says whether more of something is shown under one mask than under another, as MaskText writes them:
// 1 where a shows more, -1 where b does, 0 where that cannot be said of all values.
func Reveals(a, b string) int {
	x, errA := MasksOf(a)
	y, errB := MasksOf(b)
	if errA != nil || errB != nil || a == b {
		return 0
	}
	least := func(words []string) Mask {
		m := MaskNone
		for _, w := range words {
			name, _, _ := strings.Cut(w, ":")
			one, _ := ParseMask(name)
			m = min(m, one)
		}
		return m
	}
	switch p, q := least(x), least(y); {
	case p > q:
		return 1
	case p < q:
		return -1
	}
	return 0
}

// PrincipalKey is equal for principals that every set decides alike: the kind, the id and the groups, also of the user
// that an agent acts for.
func PrincipalKey(p Principal) string { return principalKey(p) }

// String is the approval as an annotation writes it: "dba", "dba,2".
func (a Approval) String() string {
	if a.Quorum <= 1 {
		return a.Group
	}
	return a.Group + "," + strconv.Itoa(a.Quorum)
}

// String is the limit as an annotation writes it: "rows=1000,seconds=30"; "" where there is none.
func (l Limit) String() string {
	var parts []string
	if l.Rows > 0 {
		parts = append(parts, "rows="+strconv.FormatInt(l.Rows, 10))
	}
	if l.Seconds > 0 {
		parts = append(parts, "seconds="+strconv.FormatInt(l.Seconds, 10))
	}
	return strings.Join(parts, ",")
}

// DefaultMask is the mask of a column with these labels where the permit names none; MaskNone without labels.
func DefaultMask(labels []string) Mask { return defaultMask(labels) }

// ReadsSource says whether any policy reads the client's address.
func (s *Set) ReadsSource() bool { return s.readsSource }
