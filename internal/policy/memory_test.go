package policy

import (
	"fmt"
	"testing"
)

// TestRemembersWithinBounds: whatever is asked, and at how many moments, what all slices remember together is bounded, and
// what was forgotten is decided again as before.
func TestRemembersWithinBounds(t *testing.T) {
	set, err := Compile(Input{Schemas: []Source{{Name: "test", Text: []byte(`entity Channel in [Connection];
action listen appliesTo { principal: [Agent, User], resource: [Channel] };`)}}, Policies: []Source{{Name: "p.cedar", Text: []byte(
		`permit (principal, action == Action::"listen", resource in Connection::"orders") when { context.time > datetime("2026-01-01") };`)}}})
	if err != nil {
		t.Fatal(err)
	}
	set.most = 100_000
	held := set.At(Principal{Kind: User, ID: "u"}, Moment{Millis: 1}) // by a session, for as long as it is open
	before := Moment{Millis: 1_700_000_000_000}
	for i := range int64(2000) {
		one := Touch{Action: "listen", Resource: Resource{Entity: Entity{Type: "Channel", ID: fmt.Sprintf("orders/c%d", i)}, Parents: []Entity{{Type: "Connection", ID: "orders"}}}}
		at := Moment{Millis: 1_800_000_000_000 + 100*i}
		if d := set.At(Principal{Kind: Agent, ID: "x"}, at).Decide([]Touch{one}); d.Effect != Permit {
			t.Fatalf("%+v", d)
		}
		if d := set.At(Principal{Kind: Agent, ID: "x"}, before).Decide([]Touch{one}); d.Effect != Refuse {
			t.Fatalf("%+v", d)
		}
		held.Decide([]Touch{one})
	}
	total := len(held.memo)
	for _, s := range set.slices {
		total += len(s.memo)
	}
	if total > 100_000/300 || set.kept > set.most || set.forgotten == 0 {
		t.Errorf("%d decisions are remembered, %d bytes, forgotten %d times", total, set.kept, set.forgotten)
	}
}
