package gate

import (
	"sync"
	"time"
)

// crowd counts requests that wait for people. They wait for minutes and do nothing, while the heap has room for what a busy
// gateway throws away: so with every so many of them that room is given back.
type crowd struct {
	release func() // gives memory back; nil: never

	mu      sync.Mutex
	waiting int
	last    time.Time
}

const (
	crowdSize = 256
	crowdRest = 5 * time.Second // between two releases
)

// enter counts one that waits, until leave is called.
func (c *crowd) enter(now time.Time) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	if c.waiting%crowdSize == 0 && now.Sub(c.last) >= crowdRest && c.release != nil {
		c.last = now
		time.AfterFunc(time.Second, c.release) // when those around it wait too
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiting--
	}
}
