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
// 1000000 have the same one. A shape leaves open only literals that no rule looks at: decision 3.)
type planKey struct {
	text  string
	epoch uint64
	slice string
	path  string // the search path that the client chose, as it spelled it
	types string // that parameters were declared to be of
	temp  uint64 // the version of the session's temporary tables, which no other session shares; 0: it has none
	shape bool   // text is a shape's key
}

// known is what is remembered for a key: the plan of an exact text, or what texts of one shape have in common.
type known struct {
	plan     *guard.Plan
	template *guard.Template // nil: there is none, or the shape was seen once
	again    bool            // the shape was seen a second time, and a template was tried
}

// plans is a cache in two generations: what was not asked for since the last turn is forgotten.
type plans struct {
	mu       sync.RWMutex
	young    map[planKey]*known
	old      map[planKey]*known
	youngSum int
}

func (c *plans) get(k planKey) *known {
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

func (c *plans) put(k planKey, p *known) {
	size := len(k.text)
	if p.plan != nil {
		size += len(p.plan.Text)
	}
	if size > maxPlanText {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= maxPlans || c.youngSum+size > maxPlanBytes {
		c.old, c.young, c.youngSum = c.young, map[planKey]*known{}, 0
	}
	c.young[k] = p
	c.youngSum += size
}
