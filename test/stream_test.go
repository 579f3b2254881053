package test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/stream"
)

// TestStream: what a real psql does is in a file of JSON lines as its recording has it, masked where it was masked.
func TestStream(t *testing.T) {
	t.Parallel()
	g := start(t, options{change: func(config string) string {
		return strings.Replace(config, "recordings: file:recordings", `recordings:
  keep: file:recordings
  streams:
    - {name: siem, kind: jsonl, to: file:events.jsonl, results: true}`, 1)
	}})
	g.psql("SELECT id, email, national_id FROM customers WHERE id <= 40 ORDER BY id;\nDROP TABLE customers;\n")
	eventually(t, "the session is closed", func() bool { return strings.Contains(g.ok("", nil, "sessions", "list"), "closed") })
	var list []stream.Event
	var text string
	eventually(t, "it is streamed", func() bool {
		b, err := os.ReadFile(g.path("events.jsonl"))
		if err != nil {
			return false
		}
		list, text = nil, string(b)
		noRaw(t, "the stream", text)
		for line := range strings.Lines(string(b)) {
			var e stream.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			list = append(list, e)
		}
		return len(list) > 0 && list[len(list)-1].Kind == "session.close"
	})
	for i, e := range list {
		if e.Connection != "shop" || e.Protocol != "postgres" || e.Principal == "" {
			t.Errorf("%+v", e)
		}
		for _, row := range e.Rows {
			if len(row) != 3 || !strings.Contains(*row[1], "***@") {
				t.Errorf("event %d: %v", i, row)
			}
		}
	}
	contains(t, text, "session.open", "DROP TABLE", "result.rows", `"effect":"refuse"`)
	g.ok("", []string{"siem", "none", "ok"}, "recordings", "status")
}
