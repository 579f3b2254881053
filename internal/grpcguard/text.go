package grpcguard

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// AppendText appends a message in the text format (protobuf.dev/reference/protobuf/textformat-spec), with its fields in
// the order in which they are written; after most bytes it ends with "…". Fields that the descriptors do not have come by
// their number, and what is no message as the number of its bytes.
func (s *Schema) AppendText(dst, b []byte, m *Message, most int) []byte {
	w := writer{schema: s, dst: dst, most: len(dst) + most}
	w.message(b, m, 0)
	if len(w.dst) > w.most {
		end := w.most
		for end > len(dst) && w.dst[end]&0xC0 == 0x80 { // not within a character
			end--
		}
		return append(w.dst[:end], "…"...)
	}
	return w.dst
}

type writer struct {
	schema *Schema
	dst    []byte
	most   int
}

func (w *writer) message(b []byte, m *Message, depth int) {
	if m.special == anyMessage && w.any(b, m, depth) {
		return
	}
	first := true
	for len(b) > 0 && len(w.dst) <= w.most {
		p, err := next(b, m)
		if err != nil || depth > MaxDepth {
			w.separate(&first)
			w.dst = append(strconv.AppendInt(append(w.dst, "# "...), int64(len(b)), 10), " bytes that are not understood"...)
			return
		}
		b = b[p.rawSize:]
		if p.packed {
			p.each(func(v []byte) {
				if len(w.dst) <= w.most {
					w.separate(&first)
					w.value(&part{field: p.field, number: p.number, typ: p.field.wireType(), value: v}, depth)
				}
			})
			continue
		}
		w.separate(&first)
		w.value(&p, depth)
	}
}

func (w *writer) separate(first *bool) {
	if !*first {
		w.dst = append(w.dst, ' ')
	}
	*first = false
}

// any writes an Any of a known type; false where it is none.
func (w *writer) any(b []byte, m *Message, depth int) bool {
	url, value, unknown, err := readAny(b, m)
	inner := w.schema.messageOf(url)
	if err != nil || unknown || inner == nil || depth > MaxDepth {
		return false
	}
	w.dst = append(append(append(w.dst, '['), url...), "] {"...)
	w.message(value, inner, depth+1)
	w.dst = append(w.dst, '}')
	return true
}

func (w *writer) value(p *part, depth int) {
	f := p.field
	if f == nil {
		w.dst = append(strconv.AppendInt(w.dst, int64(p.number), 10), ": "...)
		switch p.typ {
		case protowire.BytesType, protowire.StartGroupType:
			w.quote(p.value)
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(p.value)
			w.dst = strconv.AppendUint(w.dst, v, 10)
		case protowire.Fixed32Type:
			v, _ := protowire.ConsumeFixed32(p.value)
			w.dst = strconv.AppendUint(append(w.dst, "0x"...), uint64(v), 16)
		default:
			v, _ := protowire.ConsumeFixed64(p.value)
			w.dst = strconv.AppendUint(append(w.dst, "0x"...), v, 16)
		}
		return
	}
	w.dst = append(w.dst, f.short...)
	if f.message != nil {
		w.dst = append(w.dst, " {"...)
		w.message(p.value, f.message, depth+1)
		w.dst = append(w.dst, '}')
		return
	}
	w.dst = append(w.dst, ": "...)
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		w.quote(p.value)
	case protoreflect.BoolKind:
		v, _ := protowire.ConsumeVarint(p.value)
		w.dst = strconv.AppendBool(w.dst, v != 0)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		v, bits := readFloat(f.kind, p.value)
		w.dst = strconv.AppendFloat(w.dst, v, 'g', -1, bits)
	case protoreflect.EnumKind:
		n, _ := integer(f.kind, p.typ, p.value)
		if v := f.enum.ByNumber(protoreflect.EnumNumber(n)); v != nil {
			w.dst = append(w.dst, v.Name()...)
			return
		}
		w.dst = strconv.AppendInt(w.dst, n, 10)
	default:
		n, unsigned := integer(f.kind, p.typ, p.value)
		if unsigned {
			w.dst = strconv.AppendUint(w.dst, uint64(n), 10)
			return
		}
		w.dst = strconv.AppendInt(w.dst, n, 10)
	}
}

// quote writes a text, or bytes, no more of them than fit.
func (w *writer) quote(b []byte) {
	if left := w.most - len(w.dst); len(b) > left {
		b = b[:max(left+1, 0)]
	}
	w.dst = strconv.AppendQuote(w.dst, string(b))
}
