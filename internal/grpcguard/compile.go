package grpcguard

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// compile makes of the descriptors what messages are walked by.
func (s *Schema) compile(labels Labels) error {
	var extensions []protoreflect.ExtensionDescriptor
	var services []protoreflect.ServiceDescriptor
	var err error
	s.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		err = s.declare(f.Messages())
		extensions = appendExtensions(extensions, f.Extensions(), f.Messages())
		for i := range f.Services().Len() {
			services = append(services, f.Services().Get(i))
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	given := map[string]bool{}
	s.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		err = s.define(f.Messages(), labels, given)
		return err == nil
	})
	if err != nil {
		return err
	}
	for _, x := range extensions {
		of := s.messages[x.ContainingMessage().FullName()]
		if of == nil {
			return fmt.Errorf("the extension %s extends a message that is not there", x.FullName())
		}
		if err := s.field(of, x, labels, given); err != nil {
			return err
		}
	}
	for name := range labels {
		if !given[name] {
			return &UnknownField{Name: name, Known: s.Fields()}
		}
	}
	slices.SortFunc(s.labelled, func(a, b *Field) int { return strings.Compare(a.Name, b.Name) })
	for i, f := range s.labelled {
		f.label = i
	}
	s.reach()
	for _, d := range services {
		s.services = append(s.services, string(d.FullName()))
		for i := range d.Methods().Len() {
			if err := s.method(d, d.Methods().Get(i)); err != nil {
				return err
			}
		}
	}
	slices.Sort(s.services)
	return nil
}

// UnknownField is a label on a field that the descriptors do not have.
type UnknownField struct {
	Name string
	// Known are the fields that there are, in order.
	Known []string
}

func (e *UnknownField) Error() string {
	return fmt.Sprintf("there is no field %s: a label is on the full name of a message's field, such as shop.v1.Customer.email", e.Name)
}

// Fields are the full names of every field of every message, in order.
func (s *Schema) Fields() []string {
	var out []string
	for _, m := range s.messages {
		for f := range m.all() {
			out = append(out, f.Name)
		}
	}
	slices.Sort(out)
	return out
}

// all are the fields of a message.
func (m *Message) all() func(func(*Field) bool) {
	return func(yield func(*Field) bool) {
		for _, f := range m.low {
			if f != nil && !yield(f) {
				return
			}
		}
		for _, f := range m.high {
			if !yield(f) {
				return
			}
		}
	}
}

func appendExtensions(to []protoreflect.ExtensionDescriptor, these protoreflect.ExtensionDescriptors, within protoreflect.MessageDescriptors) []protoreflect.ExtensionDescriptor {
	for i := range these.Len() {
		to = append(to, these.Get(i))
	}
	for i := range within.Len() {
		to = appendExtensions(to, within.Get(i).Extensions(), within.Get(i).Messages())
	}
	return to
}

// declare makes the messages, without their fields.
func (s *Schema) declare(list protoreflect.MessageDescriptors) error {
	for i := range list.Len() {
		d := list.Get(i)
		m := &Message{name: string(d.FullName())}
		switch {
		case m.name == "google.protobuf.Any":
			m.special = anyMessage
		case m.name == "google.protobuf.Timestamp":
			m.special = timestamp
		case strings.HasPrefix(m.name, "google.protobuf.") && strings.HasSuffix(m.name, "Value") && d.Fields().Len() == 1 && d.Fields().Get(0).Name() == "value" && d.Fields().Get(0).Message() == nil:
			m.special = wrapper
		}
		s.messages[d.FullName()] = m
		if err := s.declare(d.Messages()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) define(list protoreflect.MessageDescriptors, labels Labels, given map[string]bool) error {
	for i := range list.Len() {
		d := list.Get(i)
		for k := range d.Fields().Len() {
			if err := s.field(s.messages[d.FullName()], d.Fields().Get(k), labels, given); err != nil {
				return err
			}
		}
		if err := s.define(d.Messages(), labels, given); err != nil {
			return err
		}
	}
	return nil
}

// field adds a field to its message.
func (s *Schema) field(m *Message, d protoreflect.FieldDescriptor, labels Labels, given map[string]bool) error {
	if s.fields++; s.fields > maxFields {
		return fmt.Errorf("there are more than %d fields", maxFields)
	}
	f := &Field{
		Name: string(d.FullName()), of: m, short: string(d.Name()), number: int32(d.Number()), kind: d.Kind(),
		list: d.Cardinality() == protoreflect.Repeated, entries: d.IsMap(), required: d.Cardinality() == protoreflect.Required, label: -1,
	}
	if d.IsExtension() {
		f.short = "[" + f.Name + "]"
	}
	if d.Message() != nil {
		if f.message = s.messages[d.Message().FullName()]; f.message == nil {
			return fmt.Errorf("the message of the field %s is not there", f.Name)
		}
	}
	if d.Enum() != nil {
		f.enum = d.Enum().Values()
	}
	if f.Labels = slices.Clone(labels[f.Name]); len(f.Labels) > 0 {
		if strings.HasPrefix(f.Name, "google.protobuf.") {
			return fmt.Errorf("%s is in everybody's messages: label the field that has it in it", f.Name)
		}
		given[f.Name] = true
		s.labelled = append(s.labelled, f)
	}
	switch at := m.field(f.number); {
	case at != nil:
		return fmt.Errorf("%s and %s have the same number", at.Name, f.Name)
	case int(f.number) < len(m.low):
		m.low[f.number] = f
	default:
		if m.high == nil {
			m.high = map[int32]*Field{}
		}
		m.high[f.number] = f
	}
	return nil
}

// field is the field of a number; nil where there is none.
func (m *Message) field(number int32) *Field {
	if number >= 0 && int(number) < len(m.low) {
		return m.low[number]
	}
	return m.high[number]
}

// reach finds the messages that a labelled field can be in: an Any can have any of them in it.
func (s *Schema) reach() {
	if len(s.labelled) == 0 {
		return
	}
	in := map[*Message][]*Message{} // the messages that one is a part of
	var open []*Message
	add := func(m *Message) {
		if !m.reaches {
			m.reaches = true
			open = append(open, m)
		}
	}
	for _, m := range s.messages {
		for f := range m.all() {
			if f.message != nil {
				in[f.message] = append(in[f.message], m)
			}
			if f.label >= 0 {
				add(m)
			}
		}
		if m.special == anyMessage {
			add(m)
		}
	}
	for len(open) > 0 {
		m := open[len(open)-1]
		open = open[:len(open)-1]
		for _, outer := range in[m] {
			add(outer)
		}
	}
}

// within are the labelled fields that a message can have in it, by name.
func (s *Schema) within(m *Message) []*Field {
	if !m.reaches {
		return nil
	}
	seen, open := map[*Message]bool{m: true}, []*Message{m}
	found := map[int]bool{}
	for len(open) > 0 {
		one := open[len(open)-1]
		open = open[:len(open)-1]
		if one.special == anyMessage {
			return s.labelled
		}
		for f := range one.all() {
			if f.label >= 0 {
				found[f.label] = true
			}
			if f.message != nil && f.message.reaches && !seen[f.message] {
				seen[f.message] = true
				open = append(open, f.message)
			}
		}
	}
	var out []*Field
	for i, f := range s.labelled {
		if found[i] {
			out = append(out, f)
		}
	}
	return out
}

func (s *Schema) method(of protoreflect.ServiceDescriptor, d protoreflect.MethodDescriptor) error {
	m := &Method{
		Service: string(of.FullName()), Name: string(d.Name()), Input: s.messages[d.Input().FullName()], Output: s.messages[d.Output().FullName()],
		ClientStreams: d.IsStreamingClient(), ServerStreams: d.IsStreamingServer(),
	}
	if m.Input == nil || m.Output == nil {
		return fmt.Errorf("the messages of %s are not there", m)
	}
	if o, ok := d.Options().(*descriptorpb.MethodOptions); ok {
		m.Reads = o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	}
	m.Asked, m.Answered = s.within(m.Input), s.within(m.Output)
	s.methods[m.Path()] = m
	return nil
}
