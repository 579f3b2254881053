// Package cases says whether a decision is the one that somebody expects: what `gatehouse policy test` compares.
//
// It is pure: files, YAML and the understanding of texts are its caller's.
package cases

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/policy"
)

// Outcome is what became of one request, in the words that a case is written in. Things are named by their ids.
type Outcome struct {
	// Decision is permit, hold or refuse. The zero value is no outcome, and fits nothing.
	Decision string `json:"decision"`
	// Would is "refuse" or "hold" where the policies say that, and are only observed.
	Would string `json:"would,omitempty"`
	// Code is that of the refusal; empty where nothing is refused.
	Code string `json:"code,omitempty"`
	// Reason is why, in a sentence; for people to read.
	Reason string `json:"reason,omitempty"`
	// Masks are the columns that it reads and that come back masked, with their masks.
	Masks map[string]string `json:"mask,omitempty"`
	// Raw are the columns that come back as they are.
	Raw []string `json:"raw,omitempty"`
	// Missing are the touches that no policy permits, as policy.Touch.String writes them.
	Missing []string `json:"missing,omitempty"`
	// Forbidden are the touches that policies forbid, in the same way.
	Forbidden []string `json:"forbidden,omitempty"`
	// Approvals are "dba" or "dba,2".
	Approvals []string `json:"approvals,omitempty"`
	// Rows are the filters by table: all clauses hold, each written as its alternatives joined by " or ".
	Rows map[string][]string `json:"rows,omitempty"`
	// Limit is "rows=1000,seconds=30".
	Limit string `json:"limit,omitempty"`
	// Policies are those that made the decision.
	Policies []string `json:"policies,omitempty"`
}

// Of is the outcome of a decision. shown says how each column that is read comes back ("none" for raw), rows which
// filters its tables are under; both count only where the request runs.
func Of(d policy.Decision, shown map[string]string, rows map[string]policy.Rows) Outcome {
	o := Outcome{Decision: d.Effect.String(), Would: d.Would, Policies: d.Policies, Missing: lines(d.Missing), Forbidden: lines(d.Barred)}
	if d.Effect == policy.Refuse {
		o.Code = "policy_denied"
		return o
	}
	o.Limit = LimitText(d.Limit)
	for _, a := range d.Approvals {
		o.Approvals = append(o.Approvals, ApprovalText(a))
	}
	slices.Sort(o.Approvals)
	for column, mask := range shown {
		if mask == policy.MaskNone.String() {
			o.Raw = append(o.Raw, column)
			continue
		}
		if o.Masks == nil {
			o.Masks = map[string]string{}
		}
		o.Masks[column] = mask
	}
	slices.Sort(o.Raw)
	for table, r := range rows {
		if len(r) > 0 {
			if o.Rows == nil {
				o.Rows = map[string][]string{}
			}
			o.Rows[table] = RowsText(r)
		}
	}
	return o
}

// Touched says how a slice shows the columns among touches, and which filters the tables are under: what a request
// that is given as touches gets.
func Touched(s *policy.Slice, touches []policy.Touch) (shown map[string]string, rows map[string]policy.Rows) {
	shown, rows = map[string]string{}, map[string]policy.Rows{}
	for _, t := range touches {
		v := s.Verdict(t)
		if v.Effect == policy.Refuse {
			continue
		}
		switch {
		case t.Action == "read" && policy.Labelled(t.Resource.Type):
			shown[t.Resource.ID] = v.Mask
		case t.Resource.Type == "Table" && len(v.Rows) > 0:
			rows[t.Resource.ID] = rows[t.Resource.ID].And(v.Rows)
		}
	}
	return shown, rows
}

func lines(touches []policy.Touch) []string {
	var out []string
	for _, t := range touches {
		out = append(out, t.String())
	}
	slices.Sort(out)
	return out
}

// ApprovalText is an approval as an annotation writes it.
func ApprovalText(a policy.Approval) string {
	if a.Quorum <= 1 {
		return a.Group
	}
	return a.Group + "," + strconv.Itoa(a.Quorum)
}

// LimitText is a limit as an annotation writes it; empty where there is none.
func LimitText(l policy.Limit) string {
	var parts []string
	if l.Rows > 0 {
		parts = append(parts, "rows="+strconv.FormatInt(l.Rows, 10))
	}
	if l.Seconds > 0 {
		parts = append(parts, "seconds="+strconv.FormatInt(l.Seconds, 10))
	}
	return strings.Join(parts, ",")
}

// RowsText are the clauses of a filter, sorted.
func RowsText(r policy.Rows) []string {
	var out []string
	for _, clause := range r {
		var one []string
		for _, row := range clause {
			one = append(one, row.Text)
		}
		slices.Sort(one)
		out = append(out, strings.Join(slices.Compact(one), " or "))
	}
	slices.Sort(out)
	return out
}

// Want is what a case expects. A nil field expects nothing; an empty one that is not nil expects nothing to be there.
// Things are named by their ids.
type Want struct {
	Decision  string
	Would     string // "none": the policies say nothing else than what is done
	Code      string
	Masks     map[string]string // of every column that comes back masked; "none" says that one does not
	Missing   []string
	Forbidden []string
	Approvals []string
	Rows      map[string][]string
	Limit     *string
	Policies  []string // among those that made the decision
}

// Difference is one thing that is not as it was expected.
type Difference struct {
	// Field is its key in a case: decision, mask, missing, …
	Field string `json:"field"`
	Got   string `json:"got"`
	Want  string `json:"want"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: got %s, want %s", d.Field, d.Got, d.Want)
}

// Against says how an outcome differs from what is expected, in the order of the fields. name shortens an id for
// people to read.
func (w Want) Against(o Outcome, name func(id string) string) []Difference {
	var out []Difference
	differ := func(field, got, want string) { out = append(out, Difference{field, got, want}) }
	if w.Decision != "" && w.Decision != o.Decision || o.Decision == "" {
		differ("decision", cmp.Or(o.Decision, "none"), cmp.Or(w.Decision, "one"))
	}
	if would := cmp.Or(o.Would, "none"); w.Would != "" && w.Would != would {
		differ("would", would, w.Would)
	}
	if w.Code != "" && w.Code != o.Code {
		differ("code", cmp.Or(o.Code, "none"), w.Code)
	}
	if w.Masks != nil {
		w.masks(o, name, differ)
	}
	list := func(field string, want, got []string) {
		if want != nil && !slices.Equal(sorted(want), sorted(got)) {
			differ(field, listText(got, name), listText(want, name))
		}
	}
	list("missing", w.Missing, o.Missing)
	list("forbidden", w.Forbidden, o.Forbidden)
	list("approvals", w.Approvals, o.Approvals)
	if w.Rows != nil && !maps.EqualFunc(w.Rows, o.Rows, func(a, b []string) bool { return slices.Equal(sorted(a), sorted(b)) }) {
		differ("rows", rowsText(o.Rows, name), rowsText(w.Rows, name))
	}
	if w.Limit != nil && *w.Limit != o.Limit {
		differ("limit", cmp.Or(o.Limit, "none"), cmp.Or(*w.Limit, "none"))
	}
	if slices.ContainsFunc(w.Policies, func(p string) bool { return !slices.Contains(o.Policies, p) }) {
		differ("policies", listText(o.Policies, name), "among them "+listText(w.Policies, name))
	}
	return out
}

// masks compares the columns: those that are expected, and those that are masked besides.
func (w Want) masks(o Outcome, name func(string) string, differ func(field, got, want string)) {
	all := maps.Clone(o.Masks)
	if all == nil {
		all = map[string]string{}
	}
	for _, c := range o.Raw {
		all[c] = policy.MaskNone.String()
	}
	for _, c := range slices.Sorted(maps.Keys(w.Masks)) {
		if got := cmp.Or(all[c], "not read"); got != w.Masks[c] {
			differ("mask", name(c)+" "+got, w.Masks[c])
		}
	}
	for _, c := range slices.Sorted(maps.Keys(o.Masks)) {
		if _, expected := w.Masks[c]; !expected {
			differ("mask", name(c)+" "+o.Masks[c], "no mask on it")
		}
	}
}

func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

func listText(list []string, name func(string) string) string {
	if len(list) == 0 {
		return "none"
	}
	var out []string
	for _, one := range sorted(list) {
		if i := strings.LastIndex(one, " "); i > 0 && !strings.ContainsAny(one, `"(`) { // a touch: its last word is the id
			one = one[:i+1] + name(one[i+1:])
		}
		out = append(out, one)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func rowsText(rows map[string][]string, name func(string) string) string {
	var out []string
	for _, table := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, name(table)+": "+strings.Join(sorted(rows[table]), " and "))
	}
	if out == nil {
		return "none"
	}
	return "{" + strings.Join(out, ", ") + "}"
}
