package grpcguard

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// MaxDepth is how deep messages may be within each other.
const MaxDepth = 100

// ErrNotUnderstood is in the chain of every error about the bytes of a message: they are not what the descriptors say.
var ErrNotUnderstood = errors.New("the message is not understood")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotUnderstood, fmt.Sprintf(format, args...))
}

func cutOff(m *Message) error {
	return malformed("the bytes of %s are cut off, or are none of a message", m.name)
}

// wireType is how a field's value is written where it is not packed.
func (f *Field) wireType() protowire.Type {
	switch f.kind {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}

// packs says whether many values of the field can be written as one.
func (f *Field) packs() bool {
	t := f.wireType()
	return f.list && (t == protowire.VarintType || t == protowire.Fixed32Type || t == protowire.Fixed64Type)
}

// part is one field as it is written.
type part struct {
	field   *Field // nil: the message has no field of that number
	number  protowire.Number
	typ     protowire.Type
	value   []byte // without its tag; of bytes and groups, their content
	packed  bool
	rawSize int
}

// next reads one field off the front of a message.
func next(b []byte, m *Message) (part, error) {
	number, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return part{}, cutOff(m)
	}
	p := part{number: number, typ: typ, field: m.field(int32(number))}
	rest := b[n:]
	var size int
	switch typ {
	case protowire.BytesType:
		p.value, size = protowire.ConsumeBytes(rest)
	case protowire.StartGroupType:
		p.value, size = protowire.ConsumeGroup(number, rest)
	default:
		if size = protowire.ConsumeFieldValue(number, typ, rest); size >= 0 {
			p.value = rest[:size]
		}
	}
	if size < 0 {
		return part{}, cutOff(m)
	}
	p.rawSize = n + size
	if f := p.field; f != nil && typ != f.wireType() {
		if p.packed = typ == protowire.BytesType && f.packs(); !p.packed {
			return part{}, malformed("the field %s is not written as its type is", f.Name)
		}
	}
	if f := p.field; f != nil && f.kind == protoreflect.StringKind && !utf8.Valid(p.value) {
		return part{}, malformed("the text of %s is not UTF-8", f.Name)
	}
	return p, nil
}

// each calls do with every value of a packed list.
func (p *part) each(do func(value []byte)) error {
	typ := p.field.wireType()
	for b := p.value; len(b) > 0; {
		n := protowire.ConsumeFieldValue(p.number, typ, b)
		if n < 0 {
			return malformed("the list %s is cut off", p.field.Name)
		}
		do(b[:n])
		b = b[n:]
	}
	return nil
}

// Inspect finds the labelled fields that a request has. What the descriptors do not have in it is an error: it would be
// forwarded without having been understood.
func (s *Schema) Inspect(b []byte, m *Message) ([]*Field, error) {
	w := inspection{schema: s}
	if m.reaches { // so does whatever can be in it that has a label
		w.seen = make([]bool, len(s.labelled))
	}
	if err := w.message(b, m, 0); err != nil {
		return nil, err
	}
	var out []*Field
	for i, seen := range w.seen {
		if seen {
			out = append(out, s.labelled[i])
		}
	}
	return out, nil
}

type inspection struct {
	schema *Schema
	seen   []bool
}

func (w *inspection) message(b []byte, m *Message, depth int) error {
	if depth > MaxDepth {
		return malformed("it nests deeper than %d messages", MaxDepth)
	}
	if m.special == anyMessage {
		return w.any(b, m, depth)
	}
	for len(b) > 0 {
		p, err := next(b, m)
		if err != nil {
			return err
		}
		b = b[p.rawSize:]
		f := p.field
		if f == nil {
			return malformed("%s has no field with the number %d", m.name, p.number)
		}
		if f.label >= 0 {
			w.seen[f.label] = true
		}
		switch {
		case p.packed:
			err = p.each(func([]byte) {})
		case f.message != nil:
			err = w.message(p.value, f.message, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *inspection) any(b []byte, m *Message, depth int) error {
	url, value, unknown, err := readAny(b, m)
	switch {
	case err != nil:
		return err
	case unknown:
		return malformed("%s has a field that it does not have", m.name)
	case url == "" && len(value) == 0:
		return nil
	}
	inner := w.schema.messageOf(url)
	if inner == nil {
		return malformed("an Any holds a type that the descriptors do not have")
	}
	return w.message(value, inner, depth+1)
}

// readAny reads an Any: of a field that is there several times, the last counts.
func readAny(b []byte, m *Message) (url string, value []byte, unknown bool, err error) {
	for len(b) > 0 {
		p, err := next(b, m)
		if err != nil {
			return "", nil, false, err
		}
		b = b[p.rawSize:]
		switch {
		case p.field != nil && p.number == 1:
			url = string(p.value)
		case p.field != nil && p.number == 2:
			value = p.value
		default:
			unknown = true
		}
	}
	return url, value, unknown, nil
}

// messageOf is the message that the URL of an Any names; nil where the descriptors do not have it.
func (s *Schema) messageOf(url string) *Message {
	return s.messages[protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])]
}
