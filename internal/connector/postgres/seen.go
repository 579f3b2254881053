package postgres

import (
	"sync"

	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// maxSeen bounds what is kept of what principals see of the catalog.
const maxSeen = 64

// seen keeps what principals see of the catalog: it is the same for every statement until one of the two changes.
type seen struct {
	mu   sync.Mutex
	kept map[planKey]*guard.Seen
}

func (s *seen) of(c *guard.Catalog, slice *policy.Slice) *guard.Seen {
	key := planKey{epoch: c.Epoch, slice: slice.Key()}
	if c.Temporary != nil {
		key.temp = c.Temporary.Version
	}
	s.mu.Lock()
	found := s.kept[key]
	s.mu.Unlock()
	if found != nil {
		return found
	}
	found = guard.NewSeen(c, slice)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || len(s.kept) >= maxSeen {
		s.kept = map[planKey]*guard.Seen{}
	}
	s.kept[key] = found
	return found
}
