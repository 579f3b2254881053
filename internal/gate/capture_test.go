package gate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// kept is a recording that keeps what it gets.
type kept struct {
	Recording
	events []Event
}

func (k *kept) Append(_ bool, events ...Event) error {
	for _, e := range events {
		e.Data = bytes.Clone(e.Data)
		k.events = append(k.events, e)
	}
	return nil
}

// commas has rows that end with a comma.
type commas struct{ ResultDecoder }

// bars has values with bars between them, and nothing may touch the bars.
type bars struct{ ResultDecoder }

func (bars) Values(data []byte, each func([]byte)) {
	for v := range bytes.SplitSeq(data, []byte("|")) {
		each(v)
	}
}

func (commas) CutRows(data []byte, limit int) (kept, rows int) {
	for i, c := range data {
		if c == ',' {
			if rows < limit {
				kept = i + 1
			}
			rows++
		}
	}
	return kept, rows
}

func (k *kept) String() string {
	var out []string
	for _, e := range k.events {
		text := fmt.Sprintf("%s %d %s", e.Kind, e.Request, e.Data)
		if b, ok := e.Body.(LeftOutBody); ok {
			text = fmt.Sprintf("left_out %d: %d of %d rows, %d bytes, %.8s", e.Request, b.Rows-b.Recorded, b.Rows, b.Bytes, b.SHA256)
		}
		out = append(out, strings.TrimSpace(text))
	}
	return strings.Join(out, "; ")
}

// TestCapture: what is left out is counted, and what is recorded is the begin of what the client got.
func TestCapture(t *testing.T) {
	sum := sha256.Sum256([]byte("a,b,c,d,e,"))
	short := hex.EncodeToString(sum[:4])
	one := sha256.Sum256([]byte("z,"))
	for _, c := range []struct {
		capture string
		rows    ResultDecoder
		want    string
	}{
		{"{}", commas{}, "result.schema 1 cols; result.rows 1 a,b,; result.rows 1 c,d,e,; result.rows 2 z,; response 1; response 2; response 3"},
		{"{results: all}", commas{}, "result.schema 1 cols; result.rows 1 a,b,; result.rows 1 c,d,e,; result.rows 2 z,; response 1; response 2; response 3"},
		{"{results: rows=3}", commas{}, "result.schema 1 cols; result.rows 1 a,b,; result.rows 1 c,; result.rows 2 z,; left_out 1: 2 of 5 rows, 10 bytes, " + short + "; response 1; left_out 2: 0 of 1 rows, 2 bytes, " + hex.EncodeToString(one[:4]) + "; response 2; response 3"},
		{"{results: none}", commas{}, "result.schema 1 cols; left_out 1: 5 of 5 rows, 10 bytes, " + short + "; response 1; left_out 2: 1 of 1 rows, 2 bytes, " + hex.EncodeToString(one[:4]) + "; response 2; response 3"},
		{"{results: none}", nil, "result.schema 1 cols; left_out 1: 0 of 0 rows, 10 bytes, " + short + "; response 1; left_out 2: 0 of 0 rows, 2 bytes, " + hex.EncodeToString(one[:4]) + "; response 2; response 3"},
	} {
		var capture Capture
		if err := yaml.Unmarshal([]byte(c.capture), &capture); err != nil {
			t.Fatal(err)
		}
		k := &kept{}
		r := Connection{Recording: capture, Results: c.rows}.captured(k)
		buffer := []byte("a,b,")
		for _, events := range [][]Event{
			{{Kind: ResultSchema, Request: 1, Data: []byte("cols")}, {Kind: ResultRows, Request: 1, Data: buffer}},
			{{Kind: ResultRows, Request: 1, Data: []byte("c,d,e,")}},
			{{Kind: ResultRows, Request: 2, Data: []byte("z,")}},
			{{Kind: Responded, Request: 1, Body: Outcome{Status: "ok"}}},
			{{Kind: Responded, Request: 2, Body: Outcome{Status: "ok"}}, {Kind: Responded, Request: 3, Body: Outcome{Status: "refused"}}},
		} {
			if err := r.Append(false, events...); err != nil {
				t.Fatal(err)
			}
		}
		if got := k.String(); got != c.want {
			t.Errorf("%s:\n%s\n%s", c.capture, got, c.want)
		}
		if string(buffer) != "a,b," {
			t.Error("what is on the way to the client was changed")
		}
		if b, ok := r.(*capturing); ok && len(b.open) > 0 {
			t.Error("a request that has ended is remembered")
		}
	}
}

// TestMaskDetected: nothing that looks like a card or a mail address is recorded, and the client's bytes stay.
func TestMaskDetected(t *testing.T) {
	k := &kept{}
	r := Connection{Recording: Capture{MaskDetected: true}, Results: bars{}}.captured(k)
	row, value := []byte("1|ada@example.com|4111 1111 1111 1111"), []byte("ada@example.com")
	intent := Intent{Received: "SELECT 'ada@example.com'", Text: "SELECT 'ada@example.com'", Means: []string{"ada@example.com"}, Parameters: []Parameter{{Value: value}}}
	if err := r.Append(true,
		Event{Kind: Requested, Request: 1, Body: RequestBody{ID: "1", Intent: intent}},
		Event{Kind: Decided, Request: 1, Body: DecisionBody{Refusal: &Refusal{Reason: "about ada@example.com"}}},
		Event{Kind: ResultRows, Request: 1, Data: row},
		Event{Kind: Notified, Body: NotificationBody{Payload: "ada@example.com"}},
		Event{Kind: Approved, Request: 1, Body: ApprovalBody{Reason: "ada@example.com asked"}},
		Event{Kind: Responded, Request: 1, Body: Outcome{Status: "error", Error: "no ada@example.com"}}); err != nil {
		t.Fatal(err)
	}
	for _, e := range k.events {
		text, err := json.Marshal(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		all := string(text) + string(e.Data)
		if strings.Contains(all, "ada@") || strings.Contains(all, "4111") || bytes.Contains(text, []byte("YWRhQGV4YW1wbGUuY29t")) {
			t.Errorf("%s: %s", e.Kind, all)
		}
	}
	if string(row) != "1|ada@example.com|4111 1111 1111 1111" || string(value) != "ada@example.com" || intent.Means[0] != "ada@example.com" {
		t.Errorf("what the client sent or gets was changed: %s %s %v", row, value, intent)
	}
	if got := (Capture{MaskDetected: true}).Check(commas{}); got == nil {
		t.Error("results whose values are not known")
	}
	if got := string(k.events[2].Data); got != "1|***************|*******************" {
		t.Errorf("%s", got)
	}
}

func TestCaptureMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"{results: some}":         "should be all, none, or rows=N",
		"{results: rows=0}":       "should be rows=N",
		"{results: rows=-1}":      "should be rows=N",
		"{mask: true}":            "unknown key",
		"{mask_detected: please}": "should be true or false",
	} {
		var c Capture
		if err := yaml.Unmarshal([]byte(text), &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
