package gate

import (
	"testing"
	"time"
)

func TestCrowd(t *testing.T) {
	released := make(chan struct{}, 10)
	c := crowd{release: func() { released <- struct{}{} }}
	now := time.Now()
	var leave []func()
	for range 3 * crowdSize {
		leave = append(leave, c.enter(now))
	}
	<-released
	for _, f := range leave {
		f()
	}
	if c.waiting != 0 {
		t.Errorf("%d still wait", c.waiting)
	}
	for range crowdSize - 1 {
		c.enter(now.Add(time.Minute))
	}
	select {
	case <-released:
		t.Error("memory was given back twice")
	case <-time.After(1100 * time.Millisecond):
	}
	(&crowd{}).enter(now)()
}
