package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"gatehouse/internal/gate"
)

// withFormats gives a RowDescription the result formats that a Bind asked for.
func withFormats(body []byte, formats []int16) []byte {
	columns, err := decodeRowDescription(body)
	if err != nil {
		return nil
	}
	out := binary.BigEndian.AppendUint16(nil, uint16(len(columns)))
	f := fields{b: body}
	f.int16()
	for i := range columns {
		out = append(append(out, f.string()...), 0)
		out = append(out, f.take(4+2+4+2+4)...)
		f.int16()
		out = binary.BigEndian.AppendUint16(out, uint16(resultFormat(formats, i)))
	}
	return out
}

// decoder reads recorded results.
type decoder struct{}

// Schema reads the body of a RowDescription.
func (decoder) Schema(data []byte) ([]gate.ResultColumn, error) {
	columns, err := decodeRowDescription(data)
	if err != nil {
		return nil, err
	}
	out := make([]gate.ResultColumn, len(columns))
	for i, c := range columns {
		out[i] = gate.ResultColumn{Name: c.name, Type: c.typ, Format: c.format}
	}
	return out, nil
}

// CutRows counts messages.
func (decoder) CutRows(data []byte, limit int) (kept, rows int) {
	for rest := data; len(rest) > 0; {
		_, _, next, ok := frame(rest)
		if !ok {
			break
		}
		if rest = next; rows < limit {
			kept = len(data) - len(rest)
		}
		rows++
	}
	return kept, rows
}

// Values finds those of DataRow messages, and CopyData whole.
func (decoder) Values(data []byte, each func([]byte)) {
	for len(data) > 0 {
		typ, body, rest, ok := frame(data)
		if !ok {
			return
		}
		data = rest
		if typ != 'D' {
			each(body)
			continue
		}
		f := fields{b: body}
		for range f.int16() {
			size := f.int32()
			if size == -1 {
				continue
			}
			if v := f.take(int(size)); !f.bad {
				each(v)
			}
		}
	}
}

// Rows reads DataRow messages, and CopyData as rows of one cell. A value in binary format is shown decoded where its type is a plain one,
// else as hex.
func (decoder) Rows(schema []gate.ResultColumn, data []byte, limit int) ([][]*string, error) {
	var out [][]*string
	for len(data) > 0 && len(out) < limit {
		typ, body, rest, ok := frame(data)
		if !ok {
			return out, fmt.Errorf("row %d is cut off", len(out)+1)
		}
		data = rest
		switch typ {
		case 'D':
			row, err := decodeRow(schema, body)
			if err != nil {
				return out, fmt.Errorf("row %d: %w", len(out)+1, err)
			}
			out = append(out, row)
		case 'd':
			out = append(out, []*string{copyCell(body)})
		default:
			return out, fmt.Errorf("row %d is not a DataRow message", len(out)+1)
		}
	}
	return out, nil
}

func decodeRow(schema []gate.ResultColumn, body []byte) ([]*string, error) {
	f := fields{b: body}
	n := f.int16()
	if f.bad || len(f.b) < 4*n {
		return nil, fmt.Errorf("%d columns in %d bytes", n, len(body))
	}
	row := make([]*string, n)
	for i := range row {
		size := f.int32()
		if size == -1 {
			continue
		}
		v := f.take(int(size))
		if f.bad {
			return nil, fmt.Errorf("column %d is cut off", i+1)
		}
		text := string(v)
		if i < len(schema) && schema[i].Format == 1 {
			text = binaryText(schema[i].Type, v)
		}
		row[i] = &text
	}
	return row, f.end("DataRow")
}

// binaryText shows a value in binary format.
func binaryText(typ uint32, v []byte) string {
	if text, ok := scanText(typ, v); ok {
		return text
	}
	return `\x` + hex.EncodeToString(v)
}
