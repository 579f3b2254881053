package gate

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

type appender interface{ AppendJSON([]byte) []byte }

func sameJSON(t *testing.T, v appender) {
	t.Helper()
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(v.AppendJSON([]byte("before")))[len("before"):]; got != string(want) {
		t.Errorf("%s\nencoding/json: %s", got, want)
	}
}

// fill gives every field of a value, and those within it, a value of its own: so that a field that is added is seen
// to be written.
func fill(t *testing.T, v reflect.Value, text string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(200)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), text+fmt.Sprint(i))
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{text: text, "b": "c"}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), text+v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("a field of kind %s", v.Kind())
	}
}

// TestBodiesAreWrittenAsJSON: the bodies that write themselves write what encoding/json does.
func TestBodiesAreWrittenAsJSON(t *testing.T) {
	for _, text := range []string{"plain ~", `"quoted" \ <&>`, "control\x00\x1f\n\u2028", "höher 💶", "not \xff UTF-8", "\x7f"} {
		for _, v := range []any{&RequestBody{}, &Outcome{}} {
			fill(t, reflect.ValueOf(v).Elem(), text)
			sameJSON(t, v.(appender))
		}
	}
	for _, v := range []appender{
		RequestBody{}, Outcome{}, Outcome{Rows: 1}, Outcome{Status: "ok", Bytes: 1 << 63},
		RequestBody{Intent: Intent{Parameters: []Parameter{{}, {Null: true}, {Value: []byte{}}, {Type: 1}}}},
		RequestBody{Intent: Intent{Position: "idle", Prepare: true}},
	} {
		sameJSON(t, v)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"", "\x00", "ä", "\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { sameJSON(t, Outcome{Status: s, Error: s}) })
}
