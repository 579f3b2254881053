package policy_test

import (
	"slices"
	"testing"

	"gatehouse/internal/policy"
)

func TestMaskText(t *testing.T) {
	set := compile(t, `
@mask("bucket:20") permit(principal, action == Action::"read", resource);
@mask("bucket:10") forbid(principal in Group::"a", action == Action::"read", resource);
@mask("email") forbid(principal in Group::"b", action == Action::"read", resource);
permit(principal in Group::"c", action == Action::"read", resource);`)
	read := policy.Touch{Action: "read", Resource: policy.Resource{Entity: policy.Entity{Type: "Column", ID: "o/s.t.c"}}}
	for group, want := range map[string]string{"": "bucket:20", "a": "bucket:20", "b": "bucket:20+email", "c": "none"} {
		v := set.For(policy.Principal{Kind: policy.User, ID: "u", Groups: []string{group}}).Verdict(read)
		masks, err := policy.MasksOf(v.Mask)
		if v.Mask != want || err != nil || (want == "none") != (len(masks) == 0) {
			t.Errorf("in %q: %q %v %v, want %q", group, v.Mask, masks, err, want)
		}
	}
	if v := (*policy.Slice)(nil).Verdict(read); v.Effect != policy.Refuse || v.Mask != "" {
		t.Errorf("no slice: %+v", v)
	}
	for _, bad := range []string{"", "mail", "bucket:x", "email:3", "email+", "none+email"} {
		if m, err := policy.MasksOf(bad); err == nil {
			t.Errorf("%q is read as %v", bad, m)
		}
	}
}

func TestReveals(t *testing.T) {
	order := []string{"null", "redact", "bucket:10", "year", "token", "partial", "email", "none"}
	for i, a := range order {
		for k, b := range order {
			if got, want := policy.Reveals(a, b), slices.Index([]bool{i < k, i == k, i > k}, true)-1; got != want {
				t.Errorf("%s against %s: %d, want %d", a, b, got, want)
			}
		}
	}
}
