package postgres

import (
	"fmt"
	"sync"

	"gatehouse/internal/gate"
)

// defaultMemory is the bound where the configuration has none, in bytes.
const defaultMemory = 1 << 30

// memory bounds what the messages of all sessions take together, as far as they are larger than what every session may
// have anyway (keepBuffer, keepText): nothing of that is allocated before there is room for it. One principal may have
// half. It is safe for concurrent use.
type memory struct {
	limit int64

	mu   sync.Mutex
	used int64
	by   map[string]int64 // principal → bytes
}

func newMemory(limit int64) *memory {
	if limit <= 0 {
		limit = defaultMemory
	}
	return &memory{limit: limit, by: map[string]int64{}}
}

// share is the part of one session; it belongs to one goroutine. The zero value has no room.
type share struct {
	of   *memory
	who  string
	held int64
}

// share is a part of the memory for a principal.
func (m *memory) share(who string) share { return share{of: m, who: who} }

// hold makes the part so many bytes large, and says whether there is room for that; where there is none it stays as it
// was. A part always gets smaller.
func (s *share) hold(n int64) bool {
	m := s.of
	if m == nil {
		return n == 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	more := n - s.held
	if more > 0 && (m.used+more > m.limit || m.by[s.who]+more > m.limit/2) {
		return false
	}
	m.used += more
	if m.by[s.who] += more; m.by[s.who] == 0 {
		delete(m.by, s.who)
	}
	s.held = n
	return true
}

// noRoom is the refusal of what there is no room for.
func noRoom(limit int64) *gate.Refusal {
	return &gate.Refusal{
		Code:     gate.LimitExceeded,
		SQLState: "53200",
		Reason:   fmt.Sprintf("The large messages of all sessions together may take %d MiB of the gateway's memory, those of one principal half of it, and there is no room for this one.", limit>>20),
		Remedy:   "Send it again when others have ended, or send the values in smaller parts.",
	}
}

// noRoomForAnswer ends a session: what is left of the answer cannot be read past.
func noRoomForAnswer(limit int64) *gate.Refusal {
	r := noRoom(limit)
	r.Reason = fmt.Sprintf("The large messages of all sessions together may take %d MiB of the gateway's memory, those of one principal half of it, and there is no room for a row of the answer, so the session ends.", limit>>20)
	r.Remedy = "Connect again when others have ended, or ask for less in one value."
	return r
}

// errNoRoom says that a message was read past: there was no room for it.
type errNoRoom struct{ limit int64 }

func (e *errNoRoom) Error() string { return noRoom(e.limit).Reason }
