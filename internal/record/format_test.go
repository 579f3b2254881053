package record

import (
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/internal/gate"
)

// TestEncodedEventsAreReadBack: bodies of every length of their length.
func TestEncodedEventsAreReadBack(t *testing.T) {
	for _, n := range []int{0, 100, 110, 111, 112, 113, 114, 115, 128, 16360, 16365, 16366, 16367, 16368, 16369, 16370, 16390, 3 << 20} {
		o := gate.Outcome{Status: "ok", Summary: strings.Repeat("x", n)}
		b, err := encodeEvents([]byte("before"), len("before"), []gate.Event{
			{Kind: gate.Responded, Request: 7, Body: o, Data: []byte("data")}, {Kind: gate.ResultRows, Data: []byte("more")},
		})
		if err != nil {
			t.Fatal(err)
		}
		events, err := decodeEvents(b[len("before"):])
		if err != nil || len(events) != 2 || string(events[0].Data) != "data" || string(events[1].Data) != "more" {
			t.Fatalf("%d: %v %+v", n, err, events)
		}
		var got gate.Outcome
		if err := json.Unmarshal(events[0].Body, &got); err != nil || got != o {
			t.Errorf("%d: %v", n, err)
		}
	}
}
