// Package access says who may do what: one action for many principals, or all of them for one.
//
// It is pure: which principals and which things there are comes from its caller.
package access

import (
	"slices"
	"strings"

	"gatehouse/internal/policy"
	"gatehouse/internal/policy/cases"
)

// Answer is what the policies say to one action on one thing.
type Answer struct {
	// Effect is permit, hold or refuse.
	Effect string `json:"effect"`
	// Mask is how a column is shown that may be read; "none" as it is.
	Mask      string   `json:"mask,omitempty"`
	Rows      []string `json:"rows,omitempty"`
	Limit     string   `json:"limit,omitempty"`
	Approvals []string `json:"approvals,omitempty"`
	// Policies made the decision; none: no policy permits it.
	Policies []string `json:"policies,omitempty"`
	// Because says why where it is not the action itself that is refused.
	Because string `json:"because,omitempty"`
}

// Shown says how a column is shown to a slice: where its type is known, more exactly than the policies say.
type Shown func(s *policy.Slice, column policy.Resource) string

// Ask asks for one action; of a column the table is asked for too. With a connection that is not zero, who may not connect to it may do nothing else there.
func Ask(s *policy.Slice, connection policy.Resource, t policy.Touch, shown Shown) Answer {
	if connection.ID != "" && t.Action != "connect" && t.Resource.Type != "Gateway" {
		if v := s.Verdict(policy.Touch{Action: "connect", Resource: connection}); v.Effect != policy.Permit { // connecting is not held
			return Answer{Effect: policy.Refuse.String(), Policies: v.Policies, Because: "may not connect"}
		}
	}
	v := s.Verdict(t)
	if r := t.Resource; r.Type == "Column" && t.Action != "reveal" && len(r.Parents) > 0 && r.Parents[0].Type == "Table" {
		table := policy.Resource{Entity: r.Parents[0], Parents: r.Parents[1:]}
		v = both(v, s.Verdict(policy.Touch{Action: t.Action, Resource: table}))
	}
	out := Answer{Effect: v.Effect.String(), Mask: v.Mask, Rows: cases.RowsText(v.Rows), Limit: cases.LimitText(v.Limit), Policies: v.Policies}
	for _, a := range v.Approvals {
		out.Approvals = append(out.Approvals, cases.ApprovalText(a))
	}
	slices.Sort(out.Approvals)
	out.Approvals = slices.Compact(out.Approvals)
	if v.Mask != "" && shown != nil {
		if exact := shown(s, t.Resource); exact != "" {
			out.Mask = exact
		}
	}
	if len(v.Errors) > 0 {
		out.Because = strings.Join(v.Errors, "; ")
	}
	return out
}

// both is what a column's verdict is with that of its table: whoever touches a column touches the table too.
func both(column, table policy.Verdict) policy.Verdict {
	switch {
	case column.Effect == policy.Refuse:
		return column
	case table.Effect == policy.Refuse:
		return table
	}
	column.Effect = min(column.Effect, table.Effect)
	column.Rows, column.Limit = column.Rows.And(table.Rows), column.Limit.And(table.Limit)
	column.Approvals = append(slices.Clip(column.Approvals), table.Approvals...)
	column.Policies = slices.Compact(slices.Sorted(slices.Values(append(slices.Clip(column.Policies), table.Policies...))))
	return column
}

// Word is an answer in a word: yes, masked, rows (only some), hold, no.
func (a Answer) Word() string {
	switch {
	case a.Effect == policy.Hold.String():
		return "hold"
	case a.Effect != policy.Permit.String():
		return "no"
	case a.Mask != "" && a.Mask != policy.MaskNone.String():
		return "masked"
	case len(a.Rows) > 0:
		return "rows"
	}
	return "yes"
}

// Thing is one thing with the answer to every action on it.
type Thing struct {
	Resource policy.Resource
	// Actions are the answers by action.
	Actions map[string]Answer
	// Parts are the columns of a table, the fields of an endpoint.
	Parts []Thing
}

// Matrix asks for every action on every thing; a column stands among the parts of the table before it, a field among those of
// the endpoint.
func Matrix(s *policy.Slice, connection policy.Resource, things []policy.Resource, actions func(typ string) []string, shown Shown) []Thing {
	var out []Thing
	for _, r := range things {
		one := Thing{Resource: r, Actions: map[string]Answer{}}
		for _, a := range actions(r.Type) {
			one.Actions[a] = Ask(s, connection, policy.Touch{Action: a, Resource: r}, shown)
		}
		if last := len(out) - 1; policy.Labelled(r.Type) && last >= 0 {
			out[last].Parts = append(out[last].Parts, one)
			continue
		}
		out = append(out, one)
	}
	return out
}

// Read is how the columns of a table are read: yes, masked (some of them), part (some cannot be read), or what the
// table as a whole says.
func (t Thing) Read() string {
	word := t.Actions["read"].Word()
	if word == "no" || word == "hold" || len(t.Parts) == 0 {
		return word
	}
	hidden, masked := 0, 0
	for _, c := range t.Parts {
		switch c.Actions["read"].Word() {
		case "no":
			hidden++
		case "masked":
			masked++
		}
	}
	words := []string{}
	if word == "rows" {
		words = append(words, "rows")
	}
	if hidden > 0 {
		words = append(words, "part")
	}
	if masked > 0 {
		words = append(words, "masked")
	}
	if len(words) == 0 {
		return word
	}
	return strings.Join(words, "+")
}
