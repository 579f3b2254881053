package postgres

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/gate"
)

// TestPreparedLength: what a session keeps of its prepared statements is bounded.
func TestPreparedLength(t *testing.T) {
	server := &server{memory: newMemory(0)}
	s := &session{server: server, statements: map[string]*prepared{}, texts: server.memory.share("one")}
	text := "SELECT '" + strings.Repeat("x", 1<<20) + "'"
	kept := 0
	for ; kept < maxStatements; kept++ {
		d := s.draft([]message{{typ: 'P', parse: parseMessage{name: fmt.Sprint("s", kept), text: text}}})
		if d.err != nil {
			if d.err.Code != gate.LimitExceeded {
				t.Fatal(d.err)
			}
			break
		}
		s.statements[fmt.Sprint("s", kept)] = &prepared{text: text}
	}
	if sum := kept * len(text); sum > maxPrepared || sum < maxPrepared/2 {
		t.Errorf("%d bytes are kept", sum)
	}
	closed := message{typ: 'C', describe: describeMessage{kind: 'S', name: "s0"}}
	again := message{typ: 'P', parse: parseMessage{name: "s0", text: text}}
	if d := s.draft([]message{closed, again}); d.err != nil {
		t.Errorf("after a Close: %v", d.err)
	}
	if d := s.draft([]message{{typ: 'P', parse: parseMessage{name: "small", text: "SELECT 1"}}}); d.err != nil {
		t.Errorf("a small one: %v", d.err)
	}
}
