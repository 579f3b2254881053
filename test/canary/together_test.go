package canary

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTogether runs statements in sessions side by side, under masks and without, through one gateway: no session
// hangs, ends or shows another's values, and nothing races.
func TestTogether(t *testing.T) {
	g := start(t, "fourth")
	seen := newFinder(first.planted)
	count := min(*statements, 1000)
	t.Logf("seed %d, %d statements", *seed, count)
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for i := range 6 {
		who := []string{masked, masked, trusted}[i%3]
		c := session{dial(t, g.url(who)), g}
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < count && !failed.Load(); n = int(next.Add(1)) - 1 {
				s := generate(*seed+1, n, manner{known: first.planted})
				if err := c.together(s, seen, who); err != nil {
					failed.Store(true)
					t.Errorf("-seed %d, statement %d (%s, %s): %v\n%s", *seed, n, s.what, s.form, err, s)
				}
			}
		})
	}
	wg.Wait()
}

func (c session) together(s script, seen *finder, who string) error {
	answers, err := c.run(s)
	if err != nil {
		return err
	}
	for _, a := range answers {
		if column, found := seen.find(a.bytes()); column != "" && who == masked && !s.probe {
			return fmt.Errorf("the value of %s shows: %q in %.2000q", column, found, a.bytes())
		}
	}
	return nil
}
