// Package recordtest helps to test what reads recordings while they are written.
package recordtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Patience is how long anything may take before a test gives up on it.
const Patience = 2 * time.Minute

// Must fails the test where there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Until waits until something is so.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came that " + what)
		}
	}
}

// Log can be looked at while it is written.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Clock moves when somebody waits for it.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock begins now.
func NewClock() *Clock { return &Clock{now: time.Now()} }

// Now is the time on it.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Wait moves it on, and takes a millisecond.
func (c *Clock) Wait(ctx context.Context, d time.Duration) bool {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	time.Sleep(time.Millisecond)
	return ctx.Err() == nil
}

// Address is a free one on loopback, outside of the range that the kernel takes client ports from: it stays free while a server
// is restarted on it.
func Address(t testing.TB) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(12000)))
		if err != nil {
			continue
		}
		address := l.Addr().String()
		Must(t, l.Close())
		return address
	}
	t.Fatal("no free port")
	return ""
}
