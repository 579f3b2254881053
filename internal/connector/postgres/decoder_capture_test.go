package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// TestDecoderParts tells rows and values apart, also where the next message begins like a letter of a value.
func TestDecoderParts(t *testing.T) {
	row := func(values ...string) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
		for _, v := range values {
			if v == "NULL" {
				b = binary.BigEndian.AppendUint32(b, 0xffffffff)
				continue
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		}
		return append(binary.BigEndian.AppendUint32([]byte{'D'}, uint32(len(b)+4)), b...)
	}
	copied := append(binary.BigEndian.AppendUint32([]byte{'d'}, 12), "1\tada@x\n"...)
	data := bytes.Join([][]byte{row("1", "ada@example.com"), row("2", "NULL", ""), copied}, nil)
	var got []string
	decoder{}.Values(data, func(v []byte) { got = append(got, string(v)) })
	if s := fmt.Sprintf("%q", got); s != `["1" "ada@example.com" "2" "" "1\tada@x\n"]` {
		t.Error(s)
	}
	first := len(row("1", "ada@example.com"))
	for limit, want := range map[int][2]int{0: {0, 3}, 1: {first, 3}, 3: {len(data), 3}, 100: {len(data), 3}} {
		if kept, rows := (decoder{}).CutRows(data, limit); kept != want[0] || rows != want[1] {
			t.Errorf("limit %d: %d bytes of %d rows, want %v", limit, kept, rows, want)
		}
	}
	for cut := range data { // nothing is read past an end
		part := data[:cut]
		decoder{}.Values(part, func(v []byte) {
			if len(v) > 0 && !strings.Contains(string(part), string(v)) {
				t.Fatalf("%q", v)
			}
		})
		if kept, _ := (decoder{}).CutRows(part, 100); kept > cut {
			t.Fatal("past the end")
		}
	}
}
