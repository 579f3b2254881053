package test

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// output is a text that grows, and can be waited for.
type output struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
	mark  int // where the process that runs now began
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(b)
	close(o.grown)
	o.grown = make(chan struct{})
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// wait blocks until the text is as it should be; it gives up when gone is closed, or after patience.
func (o *output) wait(t testing.TB, good func(string) bool, gone <-chan struct{}, what string) string {
	t.Helper()
	late := time.After(patience)
	for {
		o.mu.Lock()
		text, grown := o.b.String(), o.grown
		o.mu.Unlock()
		if good(text) {
			return text
		}
		select {
		case <-grown:
		case <-gone:
			if text = o.String(); good(text) {
				return text
			}
			t.Fatalf("%s:\n%s", what, text)
		case <-late:
			t.Fatalf("%s:\n%s", what, text)
		}
	}
}

// eventually polls until something has come true.
func eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !true(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it did not come true in time: %s", what)
		}
	}
}
