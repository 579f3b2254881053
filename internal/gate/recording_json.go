package gate

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
)

// The bodies that every request has are written without reflection: what they write is what encoding/json does.

// AppendJSON appends the body as JSON.
func (r RequestBody) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"id":`...), r.ID)
	b = append(b, `,"intent":`...)
	return append(r.Intent.appendJSON(b), '}')
}

func (i Intent) appendJSON(b []byte) []byte {
	b = append(b, '{')
	b = textMember(b, "received", i.Received)
	b = textMember(b, "text", i.Text)
	if len(i.Means) > 0 {
		b = append(member(b, "means"), marshal(i.Means)...)
	}
	if len(i.Parameters) > 0 {
		b = append(member(b, "parameters"), '[')
		for k := range i.Parameters {
			if k > 0 {
				b = append(b, ',')
			}
			b = i.Parameters[k].appendJSON(b)
		}
		b = append(b, ']')
	}
	if len(i.Objects) > 0 {
		b = append(member(b, "objects"), marshal(i.Objects)...)
	}
	if len(i.Settings) > 0 {
		b = append(member(b, "settings"), marshal(i.Settings)...)
	}
	b = textMember(b, "position", i.Position)
	b = flagMember(b, "durable", i.Durable)
	b = flagMember(b, "prepare", i.Prepare)
	return append(b, '}')
}

func (p Parameter) appendJSON(b []byte) []byte {
	b = append(b, '{')
	b = countMember(b, "type", uint64(p.Type))
	b = textMember(b, "format", p.Format)
	b = flagMember(b, "null", p.Null)
	if len(p.Value) > 0 {
		b = append(member(b, "value"), '"')
		b = append(base64.StdEncoding.AppendEncode(b, p.Value), '"')
	}
	return append(b, '}')
}

// AppendJSON appends the body as JSON.
func (o Outcome) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"status":`...), o.Status)
	b = textMember(b, "summary", o.Summary)
	b = textMember(b, "error", o.Error)
	b = countMember(b, "rows", o.Rows)
	b = countMember(b, "bytes", o.Bytes)
	return append(b, '}')
}

// member appends the name of a member, with a comma where it is not the object's first.
func member(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(append(b, '"'), name...)
	return append(b, '"', ':')
}

func textMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(member(b, name), value)
}

func countMember(b []byte, name string, value uint64) []byte {
	if value == 0 {
		return b
	}
	return strconv.AppendUint(member(b, name), value, 10)
}

func flagMember(b []byte, name string, value bool) []byte {
	if !value {
		return b
	}
	return append(member(b, name), "true"...)
}

// appendString appends a string. One with anything in it that JSON spells otherwise is left to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return append(b, marshal(s)...)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}

// marshal is of strings, and of lists, maps and structs of them, which can always be written.
func marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("gate: " + err.Error())
	}
	return text
}
