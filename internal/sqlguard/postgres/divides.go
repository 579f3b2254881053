package postgres

import "strings"

// Divides says whether a text of one statement ends a transaction or goes back in it, or says how one is to run: COMMIT,
// END, ROLLBACK, ABORT, PREPARE TRANSACTION, SET TRANSACTION, and BEGIN or START TRANSACTION with anything behind it. It
// goes by the words that the text begins with; one that is something else but begins so is no harm.
func Divides(text string) bool {
	first, rest := firstWord(text)
	switch first {
	case "commit", "end", "rollback", "abort":
		return true
	case "prepare", "set":
		second, rest := firstWord(rest)
		if second == "local" || second == "session" { // SET SESSION CHARACTERISTICS concerns the transactions to come
			second, _ = firstWord(rest)
		}
		return strings.HasPrefix(second, "transaction")
	case "begin", "start":
		second, rest := firstWord(rest)
		if second == "transaction" || second == "work" {
			second, _ = firstWord(rest)
		}
		return second != ""
	}
	return false
}

// firstWord is the first word of a text in small letters, and what stands behind it; "" where something else comes first.
// What the server's scanner passes over is passed over: white space, comments, and semicolons, which are empty statements.
func firstWord(text string) (word, rest string) {
	for {
		text = strings.TrimLeft(text, " \t\n\r\f\v;")
		switch {
		case strings.HasPrefix(text, "--"):
			end := strings.IndexAny(text, "\n\r")
			if end < 0 {
				return "", ""
			}
			text = text[end:]
			continue
		case strings.HasPrefix(text, "/*"):
			if text = afterComment(text); text == "" {
				return "", ""
			}
			continue
		}
		end := 0
		for end < len(text) && (text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z' || text[end] == '_') {
			end++
		}
		return strings.ToLower(text[:end]), text[end:]
	}
}

// afterComment is what stands behind the comment, which may hold others, that a text begins with; "" where it does not end.
func afterComment(text string) string {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return text[i+1:]
			}
		}
	}
	return ""
}
