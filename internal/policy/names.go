package policy

import (
	"fmt"
	"strings"
)

// Names takes a dotted name apart: a."b.c".d has three. Quotes stay. Where a parenthesis opens, the rest belongs to
// the name: what a function's types are called is not looked into.
func Names(s string) ([]string, error) {
	var out []string
	start, quoted := 0, false
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '"':
			quoted = !quoted
			continue
		case i < len(s) && quoted:
			continue
		case i < len(s) && s[i] == '(':
			i = len(s)
		case i < len(s) && s[i] != '.':
			continue
		}
		if i == start || quoted {
			return nil, fmt.Errorf("a name is missing, or its quotes do not end")
		}
		out = append(out, s[start:i])
		start = i + 1
	}
	return out, nil
}

// depths are how many names stand behind the connection in the ids of types: orders/public.customers is a table's.
var depths = map[string]int{"Schema": 1, "Channel": 1, "Table": 2, "Function": 2, "Column": 3}

// misshapen says how the id of a type is written, where one can be nothing's; "" where it can be something's.
func misshapen(typ, id string) string {
	depth, known := depths[typ]
	if !known {
		return ""
	}
	connection, within, found := strings.Cut(id, "/")
	if names, err := Names(within); found && connection != "" && err == nil && len(names) == depth {
		return ""
	}
	if connection == "" || !found {
		connection = "CONNECTION"
	}
	return connection + "/" + map[string]string{"Schema": "SCHEMA", "Channel": "CHANNEL", "Table": "SCHEMA.TABLE", "Function": "SCHEMA.FUNCTION(TYPES)", "Column": "SCHEMA.TABLE.COLUMN"}[typ]
}
