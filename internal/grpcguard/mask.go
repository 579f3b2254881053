package grpcguard

import (
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"gatehouse/internal/mask"
)

// Plan is how the labelled fields of a schema are shown. Immutable.
type Plan struct {
	schema *Schema
	rules  []*mask.Rule // by label; nil: as it is
	raw    bool
}

// Under gives fields their rules. A labelled field without one is not shown at all.
func (s *Schema) Under(rules map[*Field]mask.Rule) *Plan {
	p := &Plan{schema: s, rules: make([]*mask.Rule, len(s.labelled)), raw: true}
	for i, f := range s.labelled {
		r := rules[f]
		if !r.Raw() {
			p.rules[i], p.raw = &r, false
		}
	}
	return p
}

// Raw says whether everything is shown as it is.
func (p *Plan) Raw() bool { return p != nil && p.raw }

// Mask appends to dst what is shown of a message. Fields that the descriptors do not have are left out, and so is an Any
// of a type that they do not have. After an error nothing of dst may be given out.
func (p *Plan) Mask(dst, b []byte, m *Message) ([]byte, error) {
	if p == nil {
		return dst, malformed("there is no plan for it")
	}
	w := masker{plan: p, dst: dst}
	err := w.message(b, m, 0, nil)
	return w.dst, err
}

type masker struct {
	plan *Plan
	dst  []byte
}

// message appends what is shown of a message's content. inner is the rule of a wrapper's value.
func (w *masker) message(b []byte, m *Message, depth int, inner *mask.Rule) error {
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
		raw := b[:p.rawSize]
		b = b[p.rawSize:]
		f := p.field
		if f == nil {
			continue
		}
		rule := inner
		if f.label >= 0 && rule == nil {
			rule = w.plan.rules[f.label]
		}
		switch {
		case rule != nil:
			err = w.masked(&p, rule, depth)
		case p.packed:
			if err = p.each(func([]byte) {}); err == nil {
				w.dst = append(w.dst, raw...)
			}
		case f.message == nil:
			w.dst = append(w.dst, raw...)
		default:
			err = w.nested(&p, depth, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nested appends a message within another with its tag and its length.
func (w *masker) nested(p *part, depth int, inner *mask.Rule) error {
	w.dst = protowire.AppendTag(w.dst, p.number, p.typ)
	if p.typ == protowire.StartGroupType {
		if err := w.message(p.value, p.field.message, depth+1, inner); err != nil {
			return err
		}
		w.dst = protowire.AppendTag(w.dst, p.number, protowire.EndGroupType)
		return nil
	}
	room := protowire.SizeVarint(uint64(len(p.value)))
	start := len(w.dst)
	w.dst = append(w.dst, make([]byte, room)...)
	if err := w.message(p.value, p.field.message, depth+1, inner); err != nil {
		return err
	}
	w.closeLength(start, room)
	return nil
}

// closeLength writes the length of what was appended behind room bytes that were left for it at start.
func (w *masker) closeLength(start, room int) {
	n := len(w.dst) - start - room
	size := protowire.SizeVarint(uint64(n))
	if size > room {
		w.dst = append(w.dst, make([]byte, size-room)...)
	}
	if size != room {
		copy(w.dst[start+size:], w.dst[start+room:start+room+n])
		w.dst = w.dst[:start+size+n]
	}
	protowire.AppendVarint(w.dst[start:start:start+size], uint64(n))
}

func (w *masker) any(b []byte, m *Message, depth int) error {
	url, value, _, err := readAny(b, m)
	if err != nil {
		return err
	}
	inner := w.plan.schema.messageOf(url)
	if inner == nil {
		return nil
	}
	w.dst = protowire.AppendString(protowire.AppendTag(w.dst, 1, protowire.BytesType), url)
	p := part{number: 2, typ: protowire.BytesType, value: value, field: &Field{message: inner}}
	return w.nested(&p, depth, nil)
}

// masked appends a labelled field as its rule shows it. What is not shown is left out; in a list, and where the field is
// required, it comes as the value that a field has when it is not there.
func (w *masker) masked(p *part, r *mask.Rule, depth int) error {
	f := p.field
	switch {
	case p.packed:
		typ := f.wireType()
		var values []byte
		if err := p.each(func(v []byte) {
			shown, ok := scalar(nil, f, typ, v, r)
			if !ok {
				shown = zero(nil, typ)
			}
			values = append(values, shown...)
		}); err != nil {
			return err
		}
		w.dst = protowire.AppendBytes(protowire.AppendTag(w.dst, p.number, protowire.BytesType), values)
		return nil
	case f.message != nil:
		return w.maskedMessage(p, r, depth)
	}
	before := len(w.dst)
	w.dst = protowire.AppendTag(w.dst, p.number, p.typ)
	shown, ok := scalar(w.dst, f, p.typ, p.value, r)
	switch {
	case ok:
		w.dst = shown
	case f.list || f.required:
		w.dst = zero(w.dst, p.typ)
	default:
		w.dst = w.dst[:before]
	}
	return nil
}

// maskedMessage appends a labelled message: of a Timestamp and of a wrapper its value may be shown, of any other nothing.
func (w *masker) maskedMessage(p *part, r *mask.Rule, depth int) error {
	f := p.field
	before := len(w.dst)
	switch f.message.special {
	case wrapper:
		if err := w.nested(p, depth, r); err != nil {
			return err
		}
		if v := w.dst[before+protowire.SizeTag(p.number):]; len(v) > 1 || len(p.value) == 0 {
			return nil
		}
	case timestamp:
		seconds, err := readTimestamp(p.value, f.message)
		if err != nil {
			return err
		}
		if shown, ok := r.Seconds(seconds); ok {
			content := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(shown))
			w.dst = protowire.AppendBytes(protowire.AppendTag(w.dst, p.number, protowire.BytesType), content)
			return nil
		}
	}
	w.dst = w.dst[:before]
	if f.entries || !f.list && !f.required {
		return nil
	}
	if w.dst = protowire.AppendTag(w.dst, p.number, p.typ); p.typ == protowire.StartGroupType {
		w.dst = protowire.AppendTag(w.dst, p.number, protowire.EndGroupType)
		return nil
	}
	w.dst = append(w.dst, 0)
	return nil
}

func readTimestamp(b []byte, m *Message) (seconds int64, err error) {
	for len(b) > 0 {
		p, err := next(b, m)
		if err != nil {
			return 0, err
		}
		b = b[p.rawSize:]
		if p.field != nil && p.number == 1 {
			v, _ := protowire.ConsumeVarint(p.value)
			seconds = int64(v)
		}
	}
	return seconds, nil
}

// zero is the value of a field that is not there.
func zero(dst []byte, typ protowire.Type) []byte {
	switch typ {
	case protowire.Fixed32Type:
		return append(dst, 0, 0, 0, 0)
	case protowire.Fixed64Type:
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return append(dst, 0)
}

// scalar appends a value as a rule shows it; ok is false where nothing is shown.
func scalar(dst []byte, f *Field, typ protowire.Type, v []byte, r *mask.Rule) (_ []byte, ok bool) {
	switch f.kind {
	case protoreflect.StringKind:
		shown, ok := r.Text(string(v))
		if !ok {
			return dst, false
		}
		return protowire.AppendString(dst, strings.ToValidUTF8(shown, "")), true
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return float(dst, f.kind, v, r)
	case protoreflect.BytesKind, protoreflect.BoolKind, protoreflect.EnumKind:
		return dst, false
	}
	n, unsigned := integer(f.kind, typ, v)
	text := strconv.FormatInt(n, 10)
	if unsigned {
		text = strconv.FormatUint(uint64(n), 10)
	}
	shown, ok := r.Number(text)
	if !ok {
		return dst, false
	}
	var back int64
	var err error
	if unsigned {
		var u uint64
		u, err = strconv.ParseUint(shown, 10, 64)
		back = int64(u)
	} else {
		back, err = strconv.ParseInt(shown, 10, 64)
	}
	if err != nil {
		return dst, false
	}
	switch f.kind {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.AppendVarint(dst, protowire.EncodeZigZag(back)), true
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.AppendFixed32(dst, uint32(back)), true
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.AppendFixed64(dst, uint64(back)), true
	}
	return protowire.AppendVarint(dst, uint64(back)), true
}

// integer reads a whole number as programs do: of more bits than its type has, the lower ones.
func integer(kind protoreflect.Kind, typ protowire.Type, v []byte) (n int64, unsigned bool) {
	var u uint64
	switch typ {
	case protowire.Fixed32Type:
		w, _ := protowire.ConsumeFixed32(v)
		u = uint64(w)
	case protowire.Fixed64Type:
		u, _ = protowire.ConsumeFixed64(v)
	default:
		u, _ = protowire.ConsumeVarint(v)
	}
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind, protoreflect.EnumKind:
		return int64(int32(u)), false
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return int64(uint32(u)), true
	case protoreflect.Sint32Kind:
		return int64(int32(protowire.DecodeZigZag(u & math.MaxUint32))), false
	case protoreflect.Sint64Kind:
		return protowire.DecodeZigZag(u), false
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return int64(u), true
	}
	return int64(u), false
}

func float(dst []byte, kind protoreflect.Kind, v []byte, r *mask.Rule) ([]byte, bool) {
	value, bits := readFloat(kind, v)
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return dst, false
	}
	shown, ok := r.Number(strconv.FormatFloat(value, 'g', -1, bits))
	if !ok {
		return dst, false
	}
	back, err := strconv.ParseFloat(shown, bits)
	if err != nil {
		return dst, false
	}
	if bits == 32 {
		return protowire.AppendFixed32(dst, math.Float32bits(float32(back))), true
	}
	return protowire.AppendFixed64(dst, math.Float64bits(back)), true
}

func readFloat(kind protoreflect.Kind, v []byte) (value float64, bits int) {
	if kind == protoreflect.FloatKind {
		u, _ := protowire.ConsumeFixed32(v)
		return float64(math.Float32frombits(u)), 32
	}
	u, _ := protowire.ConsumeFixed64(v)
	return math.Float64frombits(u), 64
}
