package strict

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

type sample struct {
	Listen map[string]string `yaml:"listen"`
	Items  []struct {
		Name string `yaml:"name"`
	} `yaml:"items"`
	Later any  `yaml:"later" planned:"true"`
	Count int  `yaml:"count"`
	Sure  bool `yaml:"sure"`
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"listen: {a: b}\nitems: [{name: x}]": "",
		"listn: {a: b}":                      `line 1: unknown key "listn": did you mean "listen"?`,
		"zzzzzzzz: 1":                        `line 1: unknown key "zzzzzzzz": the keys here are count, items, listen, sure`,
		"count: 1\ncount: 2":                 `given twice`,
		"items: [{name: x}, {nam: y}]":       `unknown key "items[1].nam": did you mean "items[1].name"?`,
		"later: 1":                           `"later" is not built yet`,
		"items: {a: b}":                      "items should be a list",
		"listen: [1]":                        "listen should be a mapping",
		"count: [1]":                         "count should be a single value",
		"count: x":                           `line 1: count is "x" and should be a whole number`,
		"sure: yes":                          `line 1: sure is "yes" and should be true or false`,
		"listen: {a: }":                      "line 1: listen.a has no value: give it one, or take it out",
		"count:":                             "count has no value",
		"items: [~]":                         "items[0] has no value",
		"~":                                  "the file should be a mapping",
		"sure: true":                         "",
		"count: 99999999999999999999":        "should be a whole number",
		"? [a]\n: 1":                         "a key should be a word",
		"listen: {? [a] : b}":                "a key should be a word",
		"later: 1\n&x count: 1":              "line 1",
		"count: 1\n&x listen: {}":            "line 2: anchors",
		"<<: {count: 1}":                     `unknown key "<<"`,
		"a: &x 1\ncount: *x":                 "line 1",
		"count: &x 1":                        "anchors",
		"[1]":                                "the file should be a mapping",
		"listen: {a: b, a: c}":               "twice",
	} {
		var n yaml.Node
		err := yaml.Unmarshal([]byte(text), &n)
		if err == nil {
			var s sample
			err = Decode(&n, &s)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestFind(t *testing.T) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte("a:\n  - b: 1\n    c: 2\nd: 3"), &n); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path []any
		line int
	}{
		{nil, 1},
		{[]any{"d"}, 4},
		{[]any{"a", 0, "c"}, 3},
		{[]any{"a", 0, "z"}, 2},
		{[]any{"a", 1, "c"}, 2},
		{[]any{"z"}, 1},
		{[]any{"d", 0}, 4},
	} {
		if got := Find(&n, c.path...).Line; got != c.line {
			t.Errorf("%v is in line %d, want %d", c.path, got, c.line)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("listen: {a: b}\nitems: [{name: x}]")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) == nil {
			var s sample
			_ = Decode(&n, &s)
		}
	})
}
