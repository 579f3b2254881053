package postgres

import (
	"sync"

	guard "gatehouse/internal/sqlguard/postgres"
)

// Bounds of the plan cache of a connection. Two generations are kept, so that twice as much can be held.
const (
	maxPlans     = 2048
	maxPlanBytes = 16 << 20
	maxPlanText  = 64 << 10 // longer texts are not kept
)

// planKey is everything that a plan depends on besides the guard itself: the exact text, the catalog, and
// what the policies say to the principal. (A fingerprint of the text would not do: LIMIT 10 and LIMIT
// 1000000 have the same one.)
type planKey struct {
	text  string
	epoch uint64
	slice string
	path  string // the search path that the client chose, as it spelled it
}

// plans is a cache in two generations: what was not asked for since the last turn is forgotten.
type plans struct {
	mu       sync.RWMutex
	young    map[planKey]*guard.Plan
	old      map[planKey]*guard.Plan
	youngSum int
}

func (c *plans) get(k planKey) *guard.Plan {
	c.mu.RLock()
	p := c.young[k]
	if p != nil {
		c.mu.RUnlock()
		return p
	}
	p = c.old[k]
	c.mu.RUnlock()
	if p != nil {
		c.put(k, p)
	}
	return p
}

func (c *plans) put(k planKey, p *guard.Plan) {
	size := len(k.text) + len(p.Text)
	if size > maxPlanText {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= maxPlans || c.youngSum+size > maxPlanBytes {
		c.old, c.young, c.youngSum = c.young, map[planKey]*guard.Plan{}, 0
	}
	c.young[k] = p
	c.youngSum += size
}
