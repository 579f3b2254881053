package cases

import (
	"strings"
	"testing"

	"gatehouse/internal/policy"
)

func same(id string) string { return id }

func touch(action, typ, id string) policy.Touch {
	return policy.Touch{Action: action, Resource: policy.Resource{Entity: policy.Entity{Type: typ, ID: id}}}
}

// TestAgainst: each thing that is not as expected is a difference, and nothing else is.
func TestAgainst(t *testing.T) {
	held := Of(policy.Decision{Effect: policy.Hold, Policies: []string{"w"}, Approvals: []policy.Approval{{Group: "lead", Quorum: 2}, {Group: "dba", Quorum: 1}}, Limit: policy.Limit{Rows: 5}},
		map[string]string{"o/p.t.a": "email", "o/p.t.b": "none"}, map[string]policy.Rows{"o/p.t": {{{Text: "x = 1"}, {Text: "a = 1"}}, {{Text: "b = 1"}}}})
	refused := Of(policy.Decision{Effect: policy.Refuse, Missing: []policy.Touch{touch("read", "Table", "o/p.t")}, Barred: []policy.Touch{touch("drop", "Table", "o/p.t")}}, map[string]string{"o/p.t.a": "none"}, nil)
	observed := Of(policy.Decision{Effect: policy.Permit, Would: "refuse", Missing: []policy.Touch{touch("read", "Table", "o/p.t")}}, map[string]string{"o/p.t.a": "email"}, nil)
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		want Want
		of   Outcome
		got  string // the differences
	}{
		"nothing is expected":    {Want{}, held, ""},
		"all of a hold":          {Want{Decision: "hold", Masks: map[string]string{"o/p.t.a": "email", "o/p.t.b": "none"}, Approvals: []string{"lead,2", "dba"}, Rows: map[string][]string{"o/p.t": {"b = 1", "a = 1 or x = 1"}}, Limit: text("rows=5"), Policies: []string{"w"}}, held, ""},
		"all of a refusal":       {Want{Decision: "refuse", Code: "policy_denied", Masks: map[string]string{}, Missing: []string{"read table o/p.t"}, Forbidden: []string{"drop table o/p.t"}}, refused, ""},
		"the decision":           {Want{Decision: "permit"}, held, "decision: got hold, want permit"},
		"no outcome":             {Want{}, Outcome{}, "decision: got none, want one"},
		"a mask":                 {Want{Masks: map[string]string{"o/p.t.a": "partial"}}, held, "mask: got o/p.t.a email, want partial"},
		"a mask too many":        {Want{Masks: map[string]string{}}, held, "mask: got o/p.t.a email, want no mask on it"},
		"raw and masked":         {Want{Masks: map[string]string{"o/p.t.a": "email", "o/p.t.b": "email"}}, held, "mask: got o/p.t.b none, want email"},
		"a column is not read":   {Want{Masks: map[string]string{"o/p.t.a": "email", "o/p.t.c": "email"}}, held, "mask: got o/p.t.c not read, want email"},
		"nothing masked runs":    {Want{Masks: map[string]string{"o/p.t.a": "none"}}, refused, "mask: got o/p.t.a not read, want none"},
		"an approval less":       {Want{Approvals: []string{"dba"}}, held, "approvals: got [dba, lead,2], want [dba]"},
		"no approvals":           {Want{Approvals: []string{}}, held, "approvals: got [dba, lead,2], want none"},
		"missing":                {Want{Missing: []string{"read table o/p.u"}}, refused, "missing: got [read table o/p.t], want [read table o/p.u]"},
		"nothing is forbidden":   {Want{Forbidden: []string{}}, refused, "forbidden: got [drop table o/p.t], want none"},
		"rows":                   {Want{Rows: map[string][]string{"o/p.t": {"b = 1"}}}, held, "rows: got {o/p.t: a = 1 or x = 1 and b = 1}, want {o/p.t: b = 1}"},
		"no limit":               {Want{Limit: text("")}, held, "limit: got rows=5, want none"},
		"a policy that was not":  {Want{Policies: []string{"v"}}, held, "policies: got [w], want among them [v]"},
		"a code where none is":   {Want{Code: "policy_denied"}, held, "code: got none, want policy_denied"},
		"what is only observed":  {Want{Decision: "permit", Would: "refuse", Missing: []string{"read table o/p.t"}, Masks: map[string]string{"o/p.t.a": "email"}}, observed, ""},
		"it would be held":       {Want{Would: "hold"}, observed, "would: got refuse, want hold"},
		"it would be as it is":   {Want{Would: "none"}, observed, "would: got refuse, want none"},
		"nothing is observed":    {Want{Would: "refuse"}, held, "would: got none, want refuse"},
		"several things at once": {Want{Decision: "refuse", Limit: text("rows=6")}, held, "decision: got hold, want refuse; limit: got rows=5, want rows=6"},
	} {
		var lines []string
		for _, d := range c.want.Against(c.of, same) {
			lines = append(lines, d.String())
		}
		if got := strings.Join(lines, "; "); got != c.got {
			t.Errorf("%s: %q, want %q", name, got, c.got)
		}
	}
}
