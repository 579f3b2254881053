package postgres

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// places are the fields of the tree, all of type int32, that say where in a text a node stood.
var places = []protoreflect.Name{"location", "stmt_location", "stmt_len", "name_location", "arg_location", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"}

// layout is what a walk needs to know of a kind of message. (protoreflect finds it out anew for each message, which
// takes most of the time of a walk.)
type layout struct {
	frame  bool     // see frames
	json   bool     // see jsonNodes
	parts  []int    // fields of the struct that hold messages: a pointer, a slice of pointers, or a oneof
	places []int    // fields of the struct that are places
	wire   []inWire // by field number
}

// inWire is what stands behind a field number of an encoded message.
type inWire struct {
	place   bool
	message *layout // nil: a scalar
}

// layouts has the layout of every message that a tree can hold, by its struct. Nobody writes to it.
var layouts = sync.OnceValue(func() map[reflect.Type]*layout {
	all := map[reflect.Type]*layout{}
	var of func(d protoreflect.MessageDescriptor) *layout
	of = func(d protoreflect.MessageDescriptor) *layout {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			panic(err) // the package that is imported has registered it
		}
		typ := reflect.TypeOf(kind.Zero().Interface()).Elem()
		if l := all[typ]; l != nil {
			return l
		}
		l := &layout{frame: frames[string(d.Name())], json: jsonNodes[string(d.Name())]}
		all[typ] = l
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			in := inWire{place: f.Kind() == protoreflect.Int32Kind && !f.IsList() && slices.Contains(places, f.Name())}
			if f.Kind() == protoreflect.MessageKind {
				in.message = of(f.Message())
			}
			l.wire = append(l.wire, make([]inWire, max(0, int(f.Number())+1-len(l.wire)))...)
			l.wire[f.Number()] = in
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			t := f.Type
			if t.Kind() == reflect.Slice {
				t = t.Elem()
			}
			switch {
			case t.Kind() == reflect.Interface, t.Kind() == reflect.Pointer:
				l.parts = append(l.parts, i)
			case isPlace(f):
				l.places = append(l.places, i)
			}
		}
		return l
	}
	of((&pg.ParseResult{}).ProtoReflect().Descriptor())
	return all
})

// isPlace says whether a field of a struct is a place, by the name that protoc-gen-go keeps in its tag.
func isPlace(f reflect.StructField) bool {
	for word := range strings.SplitSeq(f.Tag.Get("protobuf"), ",") {
		if name, ok := strings.CutPrefix(word, "name="); ok {
			return f.Type == reflect.TypeFor[int32]() && slices.Contains(places, protoreflect.Name(name))
		}
	}
	return false
}

// layoutOf is the layout of a message's kind.
func layoutOf(m proto.Message) *layout { return layouts()[reflect.TypeOf(m).Elem()] }

// each calls f for every message right below one, in the order of its fields, until f says false. It says whether f
// never did.
func each(m proto.Message, f func(proto.Message) bool) bool {
	v := reflect.ValueOf(m)
	if v.IsNil() {
		return true
	}
	v = v.Elem()
	for _, i := range layouts()[v.Type()].parts {
		field := v.Field(i)
		switch field.Kind() {
		case reflect.Slice:
			for j := range field.Len() {
				if one := field.Index(j); !one.IsNil() && !f(one.Interface().(proto.Message)) {
					return false
				}
			}
			continue
		case reflect.Interface:
			if field.IsNil() || field.Elem().IsNil() {
				continue
			}
			if field = field.Elem().Elem().Field(0); field.Kind() != reflect.Pointer {
				continue // a oneof of scalars
			}
		}
		if !field.IsNil() && !f(field.Interface().(proto.Message)) {
			return false
		}
	}
	return true
}

// inner is the message that a node holds; nil where it holds none.
func inner(n *pg.Node) (m proto.Message) {
	each(n, func(held proto.Message) bool {
		m = held
		return false
	})
	return m
}

// forgetPlaces clears places, so that two trees can be compared.
func forgetPlaces(m proto.Message) {
	if v := reflect.ValueOf(m).Elem(); v.IsValid() {
		for _, i := range layoutOf(m).places {
			v.Field(i).SetInt(0)
		}
	}
	each(m, func(m proto.Message) bool {
		forgetPlaces(m)
		return true
	})
}

// deeper says whether a tree has more levels than n.
func deeper(m proto.Message, n int) bool {
	return n == 0 || !each(m, func(m proto.Message) bool { return !deeper(m, n-1) })
}

// holds says whether a tree has a node that fits.
func holds(m proto.Message, fits func(proto.Message) bool) bool {
	return fits(m) || !each(m, func(m proto.Message) bool { return !holds(m, fits) })
}

// sameWire says whether two encoded messages of a kind are the same byte for byte but for places, and for the lengths
// of what holds them.
func sameWire(l *layout, a, b []byte) bool {
	for {
		x, a2, ok1 := nextField(l, a)
		y, b2, ok2 := nextField(l, b)
		if !ok1 || !ok2 || x.number != y.number || x.kind != y.kind {
			return false
		}
		if x.number == 0 {
			return true
		}
		if in := l.wire[x.number].message; in != nil {
			if x.kind != protowire.BytesType || !sameWire(in, x.value, y.value) {
				return false
			}
		} else if !bytes.Equal(x.value, y.value) {
			return false
		}
		a, b = a2, b2
	}
}

// field is one field of an encoded message; its number is 0 at the end.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  []byte // of a message or text without its length
}

// nextField is the next field that is no place, and what stands behind it; not ok where the bytes are no message of
// the kind.
func nextField(l *layout, b []byte) (f field, rest []byte, ok bool) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || int(number) >= len(l.wire) {
			return field{}, nil, false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return field{}, nil, false
		}
		value := b[:n]
		b = b[n:]
		if l.wire[number].place && kind == protowire.VarintType {
			continue
		}
		if kind == protowire.BytesType {
			if value, n = protowire.ConsumeBytes(value); n < 0 {
				return field{}, nil, false
			}
		}
		return field{number, kind, value}, b, true
	}
	return field{}, nil, true
}
