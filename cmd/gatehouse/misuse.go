package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// misread are what the command-line library says, and how a person would say it.
var misread = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`^(--?[\w-]+): expected .+ value but got "EOL" \(<EOL>\)$`), "$1 needs a value after it"},
	{regexp.MustCompile(`^(--?[\w-]+): expected an? .*\bint\b.* but got "(.*)"(?: \(.*\))?$`), `$1 should be a number, not "$2"`},
	{regexp.MustCompile(`^unexpected argument (.+?), did you mean (".+")\?$`), `"$1" is not a command: did you mean $2?`},
	{regexp.MustCompile(`^unexpected argument (.+)$`), `"$1" is one word too many: leave it out, or quote what has spaces in it`},
	{regexp.MustCompile(`^expected one of (.+)$`), "which one is missing: $1"},
	{regexp.MustCompile(`^expected "<([\w-]+)>.*"$`), "the $1 is missing"},
	{regexp.MustCompile(`^expected "([a-z]+)"$`), `a word is missing: "$1"`},
	{regexp.MustCompile(`^<[\w-]+>(?: \.\.\.)?: stat (.+): no such file or directory$`), "there is no file $1"},
	{regexp.MustCompile(`^missing flags?: (.+)$`), "$1 is missing"},
	{regexp.MustCompile(`^(--?[\w-]+) must be one of (.+) but got (".*")$`), "$1 cannot be $3: it is one of $2"},
}

// misuse says plainly how gatehouse was called wrongly.
func misuse(err error) string {
	text := err.Error()
	for _, m := range misread {
		if m.from.MatchString(text) {
			return strings.ReplaceAll(m.from.ReplaceAllString(text, m.to), `","`, `", "`)
		}
	}
	return text
}

// helpFor is the command that helps with what was called wrongly.
func helpFor(err error) string {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if n := p.Context.Selected(); n != nil {
			return "gatehouse " + strings.TrimSpace(n.Path()) + " --help"
		}
		var words []string
		for _, step := range p.Context.Path {
			if step.Command != nil {
				words = append(words, step.Command.Name)
			}
		}
		if len(words) > 0 {
			return "gatehouse " + strings.Join(words, " ") + " --help"
		}
	}
	return "gatehouse --help"
}

// count is a number with its noun: "1 connection", "2 connections".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "y") {
		noun = strings.TrimSuffix(noun, "y") + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
