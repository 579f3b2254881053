package postgres

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// WithoutValues is a printed text with every constant replaced by $n: what may be shown where values may not be.
// It is "" where a constant could be left: what was not taken out is not shown.
func WithoutValues(printed string) string {
	text, err := pg.Normalize(printed)
	if err != nil || strings.ContainsAny(text, "'") || strings.Contains(text, "--") || strings.Contains(text, "/*") {
		return ""
	}
	if hasNumber(text) {
		return ""
	}
	return text
}

// hasNumber says whether a number stands in a text outside of names, parameters and quoted names.
func hasNumber(text string) bool {
	quoted, word := false, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			quoted, word = !quoted, false
		case quoted:
		case c >= '0' && c <= '9':
			if !word {
				return true
			}
		default:
			word = c == '$' || c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
		}
	}
	return false
}
