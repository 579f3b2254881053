package postgres

import (
	"sync/atomic"
	"time"
)

// lookout has the client watched where the judge itself waits long for the database: nobody reads the client
// meanwhile. It costs a known statement two atomic operations: a timer that is set at most once in patience looks
// whether the wait that it sees is the one that it saw before. The zero value does nothing.
type lookout struct {
	session *session
	timer   *time.Timer
	// turn counts the waits in steps of two from the third bit on. Its lowest bit says that the judge waits now, the
	// next one that the client is watched for it.
	turn    atomic.Uint64
	armed   atomic.Bool
	seen    uint64        // the timer's own: the turn that it saw last
	watched chan struct{} // receives when unwatch is set
	unwatch func()
}

const (
	turnWaits   = 1
	turnWatched = 2
	turnStep    = 4
)

func newLookout(s *session) *lookout {
	l := &lookout{session: s, watched: make(chan struct{}, 1)}
	l.timer = time.AfterFunc(time.Hour, l.look)
	l.timer.Stop()
	return l
}

// begin says that the judge waits from now on; end must follow.
func (l *lookout) begin() {
	l.turn.Add(turnWaits)
	l.arm()
}

func (l *lookout) arm() {
	if !l.armed.Load() && l.armed.CompareAndSwap(false, true) {
		l.timer.Reset(patience)
	}
}

// end says that the wait is over. The judge may read the client when it returns.
func (l *lookout) end() {
	now := l.turn.Load()
	if now&turnWatched == 0 && l.turn.CompareAndSwap(now, now-turnWaits+turnStep) {
		return
	}
	<-l.watched
	l.unwatch()
	l.unwatch = nil
	l.turn.Store(now&^(turnWaits|turnWatched) + turnStep)
}

// look is the timer's.
func (l *lookout) look() {
	now := l.turn.Load()
	switch {
	case now&turnWaits == 0:
		l.armed.Store(false)
		if l.turn.Load()&turnWaits != 0 { // a wait has begun that found it armed
			l.arm()
		}
	case now != l.seen:
		l.seen = now
		l.timer.Reset(patience)
	case l.turn.CompareAndSwap(now, now|turnWatched):
		l.armed.Store(false)
		l.unwatch = l.session.watch(l.session.abandoned)
		l.watched <- struct{}{}
	default: // it ended just now
		l.timer.Reset(patience)
	}
}

// close ends the timer.
func (l *lookout) close() { l.timer.Stop() }
