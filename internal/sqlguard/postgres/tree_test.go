package postgres

import (
	"path/filepath"
	"slices"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// goldenTrees are the trees of the golden cases, and those of what is printed for them, encoded.
func goldenTrees(t *testing.T) (trees []*pg.ParseResult, printed [][]byte) {
	t.Helper()
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, c := range cases(t, file) {
			if tree, err := pg.Parse(c.sql); err == nil {
				trees = append(trees, tree)
			}
			plan, err := g.Analyze(shop(), c.sql)
			if err != nil {
				continue
			}
			for _, s := range plan.Statements {
				b, err := parser.ParseToProtobuf(s.Text)
				if err != nil {
					t.Fatalf("%s: %v", s.Text, err)
				}
				printed = append(printed, b)
			}
		}
	}
	if len(trees) < 500 || len(printed) < 300 {
		t.Fatalf("%d trees, %d prints", len(trees), len(printed))
	}
	return trees, printed
}

// below are the messages right below one, as protoreflect finds them.
func below(m protoreflect.Message) (out []proto.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				out = append(out, v.List().Get(i).Message().Interface())
			}
		default:
			out = append(out, v.Message().Interface())
		}
		return true
	})
	return out
}

// levels are how many levels a tree has.
func levels(m protoreflect.Message) (n int) {
	for _, one := range below(m) {
		n = max(n, levels(one.ProtoReflect()))
	}
	return n + 1
}

// TestWalkSeesAll: a walk finds every message of a tree that protoreflect finds, and each has a layout.
func TestWalkSeesAll(t *testing.T) {
	trees, _ := goldenTrees(t)
	var check func(m proto.Message)
	check = func(m proto.Message) {
		var found []proto.Message
		each(m, func(one proto.Message) bool {
			found = append(found, one)
			return true
		})
		want := below(m.ProtoReflect())
		for _, one := range want {
			if !slices.Contains(found, one) {
				t.Fatalf("below %T the walk does not see %T", m, one)
			}
			check(one)
		}
		if len(found) != len(want) {
			t.Fatalf("below %T the walk sees %d messages, want %d", m, len(found), len(want))
		}
	}
	for _, tree := range trees {
		check(tree)
		if n := levels(tree.ProtoReflect()); deeper(tree, n) || !deeper(tree, n-1) {
			t.Fatalf("a tree of %d levels: deeper than %d %v, than %d %v", n, n, deeper(tree, n), n-1, deeper(tree, n-1))
		}
	}
	descriptors := pg.File_pg_query_proto.Messages()
	var reach func(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool)
	reach = func(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			if f := d.Fields().Get(i); f.Message() != nil {
				reach(f.Message(), seen)
			}
		}
	}
	seen := map[protoreflect.FullName]bool{}
	reach(descriptors.ByName("ParseResult"), seen)
	if len(seen) != len(layouts()) || len(seen) < 200 {
		t.Errorf("%d layouts of %d messages", len(layouts()), len(seen))
	}
}

// TestSameWire: two encoded trees are the same exactly if they are but for places. What is printed for the golden cases
// never needs the slower comparison.
func TestSameWire(t *testing.T) {
	_, printed := goldenTrees(t)
	top := layoutOf(&pg.ParseResult{})
	changed, moved := 0, 0
	for i, theirs := range printed {
		if !testAll && i%2 != 0 {
			continue
		}
		var tree pg.ParseResult
		if err := proto.Unmarshal(theirs, &tree); err != nil {
			t.Fatal(err)
		}
		ours, err := proto.Marshal(&tree)
		if err != nil {
			t.Fatal(err)
		}
		if !sameWire(top, ours, theirs) {
			t.Errorf("the same tree is encoded in another way: %s", tree.String())
			continue
		}
		var all []protoreflect.Message
		var gather func(m protoreflect.Message)
		gather = func(m protoreflect.Message) {
			all = append(all, m)
			for _, one := range below(m) {
				gather(one.ProtoReflect())
			}
		}
		gather(tree.ProtoReflect())
		for _, m := range all {
			fields := m.Descriptor().Fields()
			for i := range fields.Len() {
				f := fields.Get(i)
				if f.IsList() || f.Kind() == protoreflect.MessageKind || f.ContainingOneof() != nil {
					continue
				}
				before := m.Get(f)
				m.Set(f, another(f, before))
				now, err := proto.Marshal(&tree)
				m.Set(f, before)
				if err != nil {
					t.Fatal(err)
				}
				place := f.Kind() == protoreflect.Int32Kind && slices.Contains(places, f.Name())
				if sameWire(top, now, theirs) != place {
					t.Fatalf("another %s of %s: the same is %v", f.Name(), m.Descriptor().Name(), !place)
				}
				if place {
					moved++
				} else {
					changed++
				}
			}
		}
		for _, cut := range []int{1, len(theirs) / 2, len(theirs) - 1} {
			if sameWire(top, theirs[:cut], theirs) || sameWire(top, theirs, theirs[:cut]) {
				t.Fatal("a part of a tree is taken for all of it")
			}
		}
		moveAll := proto.Clone(&tree).(*pg.ParseResult)
		forgetPlaces(moveAll)
		if b, _ := proto.Marshal(moveAll); !sameWire(top, b, theirs) {
			t.Fatal("a tree without places is another")
		}
	}
	if changed < 10_000 || moved < 1000 {
		t.Errorf("%d changes, %d places", changed, moved)
	}
}

// another is another value of a field than the one given.
func another(f protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!v.Bool())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String() + "x")
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(v.Enum() + 1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(v.Int()) + 1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(v.Int() + 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()) + 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint() + 1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(v.Float() + 1)
	}
	panic("a field of kind " + f.Kind().String())
}

// FuzzSameWire: it never panics, and never takes two trees that differ for one.
func FuzzSameWire(f *testing.F) {
	for _, sql := range []string{"SELECT 1", "SELECT a, 'b' FROM t WHERE c = $1", "INSERT INTO t VALUES (1, NULL, 1.5)"} {
		b, err := parser.ParseToProtobuf(sql)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
		c, err := parser.ParseToProtobuf("  " + sql)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, c)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if !sameWire(layoutOf(&pg.ParseResult{}), a, b) {
			return
		}
		var x, y pg.ParseResult
		if proto.Unmarshal(a, &x) != nil || proto.Unmarshal(b, &y) != nil {
			return
		}
		forgetPlaces(&x)
		forgetPlaces(&y)
		// Floats that are no number are not equal to themselves; bytes tell.
		m := proto.MarshalOptions{Deterministic: true}
		one, err1 := m.Marshal(&x)
		two, err2 := m.Marshal(&y)
		if err1 != nil || err2 != nil || !proto.Equal(&x, &y) && string(one) != string(two) {
			t.Fatalf("taken for the same:\n%x\n%x", a, b)
		}
	})
}
