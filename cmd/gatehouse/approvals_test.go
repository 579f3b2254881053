package main

import (
	"bytes"
	"strings"
	"testing"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
)

// TestShowApproval: an approver sees all that decides what a statement means, and nothing that the requester hid
// in it.
func TestShowApproval(t *testing.T) {
	var out bytes.Buffer
	showApproval(&out, approval.View{ID: "ap-1", State: "pending", Hold: gate.Hold{Intents: []gate.Intent{{
		Means:    []string{"UPDATE u SET v = $1"},
		Text:     "DELETE FROM t WHERE d < '01/02/2026'",
		Settings: map[string]string{"TimeZone": "UTC", "DateStyle": "ISO, DMY"},
	}}}})
	for _, want := range []string{"which uses, by its name:\n    UPDATE u SET v = $1\n", "DELETE FROM t WHERE d < '01/02/2026'\n", "setting      DateStyle = ISO, DMY\nsetting      TimeZone = UTC\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	for _, r := range "\x00\x1b\r\x7f\u0085\u009b\u00ad\u061c\u180e\u200b\u200e\u202e\u2028\u2029\u2060\u2064\u2067\ufe0f\ufeff\u3164\u2800\U000e0041\U000e0100" {
		if got := plain("a" + string(r) + "b"); got != "a·b" {
			t.Errorf("%U shows as %q", r, got)
		}
	}
	for _, same := range []string{"SELECT 'é', 'Ünï', '漢字', 'עברית', '🙂'", "a b"} {
		if got := plain(same); got != same {
			t.Errorf("%q shows as %q", same, got)
		}
	}
}
