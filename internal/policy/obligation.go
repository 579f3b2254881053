package policy

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Row is one row filter, as a policy wrote it. Its connector knows the language.
type Row struct {
	Text string `json:"text"`
	// ID is what `principal.id` means in it: the stable id of the party that the policy speaks of.
	ID string `json:"id"`
	// User is what `principal.user` means: the id of the user who asks, or for whom an agent asks; "" where
	// there is none.
	User string `json:"user,omitempty"`
}

// Rows say which rows of a table may be touched: those for which every clause holds, and a clause holds
// where one of its filters does. No clause is no filter; a clause without filters lets nothing through.
type Rows [][]Row

// And adds the clauses that are not there yet.
func (r Rows) And(more Rows) Rows {
	for _, clause := range more {
		if !r.has(clause) {
			r = append(slices.Clip(r), clause)
		}
	}
	return r
}

func (r Rows) has(clause []Row) bool {
	return slices.ContainsFunc(r, func(c []Row) bool { return slices.Equal(c, clause) })
}

// Within says whether every clause of r is one of s too: then what passes s passes r.
func (r Rows) Within(s Rows) bool {
	return !slices.ContainsFunc(r, func(clause []Row) bool { return !s.has(clause) })
}

// Limit bounds what one request may give back and how long it may run. A zero field is no bound.
type Limit struct {
	Rows    int64 `json:"rows,omitempty"`    // rows that it gives back
	Seconds int64 `json:"seconds,omitempty"` // of running
}

const maxSeconds = 7 * 24 * 3600

// ParseLimit reads "rows=1000,seconds=30"; each word at most once, at least one.
func ParseLimit(text string) (Limit, error) {
	var l Limit
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		field := &l.Rows
		switch strings.TrimSpace(name) {
		case "rows":
		case "seconds":
			field = &l.Seconds
			if n > maxSeconds {
				return Limit{}, fmt.Errorf("%q: a statement runs for at most %d seconds (a week)", text, maxSeconds)
			}
		default:
			return Limit{}, fmt.Errorf(`%q: write "rows=1000", "seconds=30", or "rows=1000,seconds=30"`, text)
		}
		if err != nil || n < 1 || *field != 0 {
			return Limit{}, fmt.Errorf("%q: %s takes one number of at least 1", text, name)
		}
		*field = n
	}
	return l, nil
}

// And is the smaller of two limits, each part by itself.
func (l Limit) And(m Limit) Limit {
	return Limit{Rows: smaller(l.Rows, m.Rows), Seconds: smaller(l.Seconds, m.Seconds)}
}

func smaller(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// compare orders limits by what they let through, the smallest first.
func (l Limit) compare(m Limit) int {
	return cmp.Or(cmp.Compare(uint64(l.Rows-1), uint64(m.Rows-1)), cmp.Compare(uint64(l.Seconds-1), uint64(m.Seconds-1)))
}

// Masks is a set of masks. A value that is under several shows what every one of them shows.
type Masks uint16

// Of is the set of one mask; of no mask the set is empty.
func (m Mask) set() Masks {
	if m >= MaskNone || m < 0 {
		return 0
	}
	return 1 << m
}

// List are the masks of the set, the one that shows least first.
func (m Masks) List() []Mask {
	out := make([]Mask, 0, bits.OnesCount16(uint16(m)))
	for one := MaskNull; one < MaskNone; one++ {
		if m&one.set() != 0 {
			out = append(out, one)
		}
	}
	return out
}

// shown is how a value is shown: under every mask of all. The zero value shows nothing.
type shown struct {
	mask  Mask // the least of all
	all   Masks
	width int64 // of bucket
}

// raw is the value as it is.
var raw = shown{mask: MaskNone}

func under(m Mask, width int64) shown { return shown{mask: m, all: m.set(), width: width} }

// and is what two ways of showing a value both show. Of two buckets the wider one holds where it is made of
// whole narrower ones; else a bucket shows nothing.
func (s shown) and(t shown) shown {
	out := shown{mask: min(s.mask, t.mask), all: s.all | t.all, width: max(s.width, t.width)}
	if bucket := MaskBucket.set(); s.all&t.all&bucket != 0 {
		if narrow := min(s.width, t.width); narrow == 0 || out.width%narrow != 0 {
			out.width = 0
		}
	}
	return out
}

// compare orders by what is shown, the least first.
func (s shown) compare(t shown) int {
	return cmp.Or(cmp.Compare(s.mask, t.mask), cmp.Compare(t.width, s.width))
}

// defaultWidth is that of a bucket without a number: ten units, or ten years.
const defaultWidth = 10

// parseMask reads a @mask: a mask's name, and after bucket its width.
func parseMask(text string) (shown, error) {
	name, width, wide := strings.Cut(text, ":")
	m, err := ParseMask(name)
	if err != nil {
		return shown{}, err
	}
	switch {
	case wide && m != MaskBucket:
		return shown{}, fmt.Errorf("%q: only bucket takes a number", text)
	case wide:
		n, err := strconv.ParseInt(width, 10, 64)
		if err != nil || n < 1 || n > 1e9 {
			return shown{}, fmt.Errorf("%q: the width of a bucket is a number from 1 to 1000000000", text)
		}
		return under(m, n), nil
	case m == MaskBucket:
		return under(m, defaultWidth), nil
	}
	return under(m, 0), nil
}

// filterable says whether rows can be filtered in what a touch does.
func filterable(t *Touch) bool {
	return slices.Contains(filtered, t.Action) && (t.Resource.Type == "Table" || t.Resource.Type == "Column")
}

// filtered are the actions whose rows can be filtered.
var filtered = []string{"read", "insert", "update", "delete"}
