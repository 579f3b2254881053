package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPolicyCheck: what is wrong and what is hardly meant, by file, line and column, for people and for editors, with a
// configuration and without one.
func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	g.ok("", []string{"valid: policies ", "warning"}, "policy", "check")
	draft := g.path("draft")
	g.write("draft/a.cedar", `@id("all") permit (principal, action == Action::"read", resource);
@id("held") @approval("dba") permit (principal in Group::"ai-agents", action == Action::"read", resource in Table::"shop/public.orders");
@id("typo") permit (principal in Group::"dab", action == Action::"update", resource in Connection::"shpo") when { resource is Column && resource.labels.contains("pii.emial") };
@id("раураl") forbid (principal, action == Action::"drop", resource);
`)
	r := g.cli("", "policy", "check", draft)
	contains(t, r.err,
		`a.cedar:2:13: its approval is never asked for: "all" permits the same without one`,
		`a.cedar:3:34: no issuer gives anyone the group "dab"`, `a.cedar:3:88: there is no connection "shpo": is "shop" meant?`,
		`a.cedar:3:162: no column of any connection has the label "pii.emial": is "pii.email" meant?`, `a.cedar:4:5: "раураl" has letters of Cyrillic and of Latin in one word`)
	if r.code != 0 || !strings.Contains(r.out, "1 file, 5 warnings") {
		t.Errorf("exit %d\n%s", r.code, r.out)
	}
	if r := g.cli("", "policy", "check", "--strict", draft); r.code != 1 || !strings.Contains(r.err, "5 warnings, which --strict does not let pass") {
		t.Errorf("exit %d\n%s", r.code, r.err)
	}
	type problem struct {
		File                                    string
		Line, Column                            int
		EndLine                                 int `json:"end_line"`
		EndColumn                               int `json:"end_column"`
		Severity, Code, Policy, Message, Remedy string
	}
	list := func(out string) (found []problem) {
		t.Helper()
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return found
	}
	found := list(g.ok("", nil, "policy", "check", "-o", "json", draft))
	if p := found[0]; len(found) != 5 || p.Line != 2 || p.Column != 13 || p.EndLine != 2 || p.EndColumn != 22 || p.Severity != "warning" || p.Code != "shadowed-obligation" || p.Policy != "held" || p.Remedy == "" || filepath.Base(p.File) != "a.cedar" {
		t.Errorf("%+v", found)
	}
	g.write("draft/b.cedar", "@id(\"all\") permit (principal, action == Action::\"reed\", resource);\n@id(\"deep\") permit (principal, action, resource) when { "+strings.Repeat("(", 200)+"true"+strings.Repeat(")", 200)+" };")
	r = g.cli("", "policy", "check", "-o", "json", draft)
	if found = list(r.out); r.code != 1 || len(found) != 1 || found[0].Severity != "error" || found[0].Code != "too-large" || found[0].Line != 2 {
		t.Errorf("exit %d %+v", r.code, found)
	}
	g.write("draft/b.cedar", "@id(\"all\") permit (principal, action == Action::\"reed\", resource);\n")
	r = g.cli("", "policy", "check", "-o", "json", draft)
	if found = list(r.out); r.code != 1 || len(found) < 2 || found[0].Code != "duplicate-id" || found[0].Column != 1 || found[1].Code != "type" || !strings.Contains(found[1].Message, "reed") {
		t.Errorf("exit %d %+v", r.code, found)
	}
	// Without a configuration names are not looked at, only what the files say themselves.
	alone := t.TempDir()
	text, err := os.ReadFile(g.path("draft/a.cedar"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(alone, "a.cedar"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := offline(t, alone, "policy", "check", "a.cedar"); r.code != 0 || !strings.Contains(r.out, "2 warnings") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	for args, code := range map[string]int{"nowhere.cedar": 2, "nowhere": 2, "": 1} {
		if r := offline(t, t.TempDir(), append([]string{"policy", "check"}, strings.Fields(args)...)...); r.code != code || r.err == "" {
			t.Errorf("%s: exit %d %s", args, r.code, r.err)
		}
	}
}
