package postgres

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// The messages of the extended protocol that a client sends, decoded. Source: PostgreSQL documentation,
// 55.7 "Message Formats".

type parseMessage struct {
	name, text string
	types      []uint32
}

type bindMessage struct {
	portal, statement string
	formats           []int16
	values            [][]byte // nil: a null
	results           []int16
	body              []byte // as it came
}

type describeMessage struct {
	kind byte // 'S' or 'P'; also of a Close
	name string
}

type executeMessage struct {
	portal string
	rows   int32
}

const (
	maxParameters = 65535
	maxValues     = 48 << 20 // bytes of all parameters of a statement: they are recorded in one entry, as text
	maxName       = 1 << 10
)

// keptText is how much of a statement's text is kept: one that is longer is refused for its length, and neither
// copied nor recorded whole.
const keptText = guard.MaxText + 1

// maxTextMessage is the size from which a Query or Parse is read in part: its text is longer than keptText, since a
// name and the types of parameters have less than the rest.
const maxTextMessage = keptText + 512<<10

// longText is the beginning of the text of a message that was read in part; ok is false where it ends within it.
func longText(b []byte) (text string, ok bool) {
	if len(b) < keptText || bytes.IndexByte(b[:keptText], 0) >= 0 {
		return "", false
	}
	return string(b[:keptText]), true
}

func decodeQuery(body []byte) (string, error) {
	if len(body) >= maxTextMessage {
		text, ok := longText(body)
		if !ok {
			return "", &errMessage{"22021", "The statement has a NUL byte in it."}
		}
		return text, nil
	}
	f := fields{b: body}
	text := f.text(keptText)
	if err := f.end("Query"); err != nil {
		if !f.bad {
			return "", &errMessage{"22021", "The statement has a NUL byte in it."}
		}
		return "", err
	}
	return text, validText(text)
}

func validText(text string) error {
	if len(text) < keptText && !utf8.ValidString(text) {
		return &errMessage{"22021", "The statement is not valid UTF-8."}
	}
	return nil
}

func validName(name string) error {
	if len(name) > maxName || !utf8.ValidString(name) {
		return &errMessage{"42602", "The name of a prepared statement or portal is too long or not valid UTF-8."}
	}
	return nil
}

func decodeParse(body []byte) (parseMessage, error) {
	f := fields{b: body}
	if len(body) >= maxTextMessage {
		m := parseMessage{name: f.text(maxName + 1)}
		var ok bool
		if m.text, ok = longText(f.b); !ok || f.bad {
			return m, &errMessage{"08P01", "A Parse message is not well-formed."}
		}
		return m, validName(m.name)
	}
	m := parseMessage{name: f.string(), text: f.text(keptText)}
	n := f.int16()
	if !f.bad && len(f.b) == 4*n {
		m.types = make([]uint32, n)
		for i := range m.types {
			m.types[i] = uint32(f.int32())
		}
	} else {
		f.bad = true
	}
	if err := f.end("Parse"); err != nil {
		return m, err
	}
	if err := validName(m.name); err != nil {
		return m, err
	}
	return m, validText(m.text)
}

func decodeBind(body []byte) (bindMessage, error) {
	if len(body) > maxValues {
		return bindMessage{}, &errMessage{"54000", fmt.Sprintf("The parameters of the statement have %d bytes; the limit is %d.", len(body), maxValues)}
	}
	f := fields{b: body}
	m := bindMessage{portal: f.string(), statement: f.string(), body: body}
	m.formats = f.formats()
	n := f.int16()
	if !f.bad && len(f.b) >= 4*n {
		m.values = make([][]byte, n)
		for i := range m.values {
			if size := f.int32(); size != -1 {
				m.values[i] = f.take(int(size))
				if m.values[i] == nil {
					f.bad = true
				}
			}
		}
	} else {
		f.bad = true
	}
	m.results = f.formats()
	if err := f.end("Bind"); err != nil {
		return m, err
	}
	if len(m.formats) > 1 && len(m.formats) != n {
		return m, &errMessage{"08P01", fmt.Sprintf("A Bind message has %d parameter formats for %d parameters.", len(m.formats), n)}
	}
	if err := validName(m.portal); err != nil {
		return m, err
	}
	return m, validName(m.statement)
}

func (f *fields) formats() []int16 {
	n := f.int16()
	if f.bad || len(f.b) < 2*n {
		f.bad = true
		return nil
	}
	out := make([]int16, n)
	for i := range out {
		out[i] = int16(f.int16())
		if out[i] != 0 && out[i] != 1 {
			f.bad = true
		}
	}
	return out
}

func decodeDescribe(body []byte, message string) (describeMessage, error) {
	f := fields{b: body}
	m := describeMessage{kind: f.byte(), name: f.string()}
	if err := f.end(message); err != nil {
		return m, err
	}
	if m.kind != 'S' && m.kind != 'P' {
		return m, &errMessage{"08P01", fmt.Sprintf("A %s message names neither a statement nor a portal.", message)}
	}
	return m, validName(m.name)
}

func decodeExecute(body []byte) (executeMessage, error) {
	f := fields{b: body}
	m := executeMessage{portal: f.string(), rows: f.int32()}
	if err := f.end("Execute"); err != nil {
		return m, err
	}
	return m, validName(m.portal)
}

// parameters are the values as they are recorded and hashed.
func (m *bindMessage) parameters(types []uint32) []gate.Parameter {
	out := make([]gate.Parameter, len(m.values))
	for i, v := range m.values {
		p := &out[i]
		if i < len(types) {
			p.Type = types[i]
		}
		format := int16(0)
		switch {
		case len(m.formats) == 1:
			format = m.formats[0]
		case i < len(m.formats):
			format = m.formats[i]
		}
		p.Format = "text"
		if format == 1 {
			p.Format = "binary"
		}
		p.Null, p.Value = v == nil, v
	}
	return out
}

// resultFormat is the format of the i-th result column that a Bind asked for.
func resultFormat(formats []int16, i int) int16 {
	switch {
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return 0
}

// rowField is one column of a RowDescription.
type rowField struct {
	name   string
	table  uint32 // OID of the table that the value comes from, 0: computed
	column int16  // its attribute number there
	typ    uint32
	format int16
}

func decodeRowDescription(body []byte) ([]rowField, error) {
	f := fields{b: body}
	n := f.int16()
	if f.bad || len(f.b) < 19*n {
		return nil, &errMessage{"08P01", "A RowDescription message is not well-formed."}
	}
	out := make([]rowField, n)
	for i := range out {
		c := &out[i]
		c.name = f.string()
		c.table = uint32(f.int32())
		c.column = int16(f.int16())
		c.typ = uint32(f.int32())
		f.take(2 + 4)
		c.format = int16(f.int16())
	}
	return out, f.end("RowDescription")
}

// decodeError reads an ErrorResponse or NoticeResponse: a value for each field's letter.
func decodeError(body []byte) (map[byte]string, error) {
	f := fields{b: body}
	out := map[byte]string{}
	for {
		code := f.byte()
		if f.bad || code == 0 {
			return out, f.end("ErrorResponse")
		}
		out[code] = f.string()
	}
}

// encodeError writes an ErrorResponse ('E') or NoticeResponse ('N').
func encodeError(b []byte, typ byte, values map[byte]string) []byte {
	var body []byte
	for _, code := range []byte("SVCMDHPpqWstcdnFLR") {
		if v := values[code]; v != "" {
			body = append(body, code)
			body = append(body, v...)
			body = append(body, 0)
		}
	}
	return appendMessage(b, typ, body, []byte{0})
}
