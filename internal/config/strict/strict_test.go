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
	Later any `yaml:"later" planned:"true"`
	Count int `yaml:"count"`
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"listen: {a: b}\nitems: [{name: x}]": "",
		"listn: {a: b}":                      `line 1: unknown key "listn": did you mean "listen"?`,
		"zzzzzzzz: 1":                        `line 1: unknown key "zzzzzzzz": the keys here are count, items, listen`,
		"count: 1\ncount: 2":                 `given twice`,
		"items: [{name: x}, {nam: y}]":       `unknown key "items[1].nam": did you mean "items[1].name"?`,
		"later: 1":                           `"later" is not built yet`,
		"items: {a: b}":                      "items should be a list",
		"listen: [1]":                        "listen should be a mapping",
		"count: [1]":                         "count should be a single value",
		"count: x":                           "cannot unmarshal",
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
