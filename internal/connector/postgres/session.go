package postgres

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// maxBatches is how many batches may wait for their answers; then the client is not read.
const maxBatches = 64

// session is one signed-in client. The judge (run) owns the prepared statements and the portals; the
// answering goroutine owns what is written to the client and the transaction status.
type session struct {
	server *server
	target *target
	gate   *gate.Session
	conn   net.Conn
	in     *wireReader
	socket socket // of conn
	pid    uint32

	facts    *Facts
	blocks   bool              // the database begins a block for what is pipelined
	settings map[string]string // what the client set when it connected
	up       *upstream         // nil until the first statement

	// The judge's own.
	statements map[string]*prepared
	portals    map[string]*portal
	batch      []message // the messages since the last end of a batch
	batchBytes int
	executes   int
	frames     []byte // of a batch that was sent, to be used again
	kept       share  // of the memory: the large messages of the batch
	texts      share  // the long texts of prepared statements
	judging    int64  // what the simple query under way adds to these
	discarding bool   // until the next Sync: a batch was refused
	unsynced   bool   // a batch without a Sync went upstream
	sequence   uint64
	seen       sight
	state      *guard.State // what statements left behind, as far as their answers are known
	copy       *copyIn      // of the batch under way, where it has a COPY FROM STDIN
	ground     ground
	temporary  *temporaries            // nil: it never had a temporary table
	admitting  context.Context         // of the batches that are admitted; another one after a hold
	withdraw   context.CancelCauseFunc // ends admitting
	held       bool                    // the batch that is being admitted was held

	// Between the two.
	queue       chan []item
	outstanding atomic.Int64  // lists of items that were pushed and not yet taken
	dead        chan struct{} // closed when the answering goroutine has ended
	lookout     *lookout      // while the judge reads the database
	inlinedOver func()        // inlineEnds
	listening   atomic.Bool   // notifications are passed on as they come
	reading     sync.Mutex    // held by the judge while it answers, and while notifications are looked for
	answered    atomic.Uint64 // the last batch after which no transaction was open

	answering // the answering goroutine's own

	writing sync.Mutex // whole messages to the client

	mu       sync.Mutex
	waiting  context.CancelCauseFunc // ends the wait for a hold; nil: the session waits for none
	killed   *killing
	stop     context.CancelFunc // ends what is under way for the session
	reported map[string]string  // settings that the database reported

	keyed     bool     // judge: the upstream session holds the key of pseudonyms; nobody may call a function then
	operators []string // judge: the schemas that the upstream session finds operators in
}

// killing is why a session was ended from outside.
type killing struct {
	reason  string
	refusal *gate.Refusal
}

// prepared is a prepared statement. Whether the database took it is known later.
type prepared struct {
	name, text string
	types      []uint32
	declared   declaredTypes // types, with their key
	plan       *guard.Plan
	failed     atomic.Bool
	era        atomic.Uint64          // in which the database read its literals; 0: not yet
	described  atomic.Pointer[[]byte] // the body of its RowDescription
}

// portal is a bound statement: the entry is the key to executing it.
type portal struct {
	statement *prepared
	results   []int16
	entry     *gate.Entry
	plan      *guard.Plan
	sequence  uint64
	server    string   // its name at the database, for a cursor that was declared in SQL
	asked     *request // of the batch that binds it
	given     uint64   // answering goroutine: rows that it gave so far
	described []byte   // answering goroutine: the body of its RowDescription
}

func newSession(s *server, t *target, c *client, who string, catalog *guard.Catalog) *session {
	one := &session{
		server:     s,
		target:     t,
		conn:       c.conn,
		in:         c.in,
		socket:     socket{rawOf(c.conn), &t.company, t.company.join()},
		settings:   c.settings,
		statements: map[string]*prepared{},
		portals:    map[string]*portal{},
		queue:      make(chan []item, maxBatches),
		dead:       make(chan struct{}),
		reported:   map[string]string{},
		operators:  catalog.OperatorPath,
	}
	one.kept, one.texts = s.memory.share(who), s.memory.share(who)
	one.in.room, one.in.weight = s.memory.share(who), 1
	one.status = 'I'
	one.lookout = newLookout(one)
	one.inlinedOver = one.inlineEnds
	return one
}

// run serves the client until it leaves, its token ends, or it is ended from outside.
func (s *session) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.stop = cancel
	killed := s.killed != nil
	s.mu.Unlock()
	if killed {
		cancel()
	}
	expiry := time.AfterFunc(time.Until(s.gate.Expires())+gate.Grace, func() {
		s.kill("expired", &gate.Refusal{
			Code:   gate.IdentityRejected,
			Reason: "The token that this session was opened with has expired.",
			Remedy: "Get a fresh token (`gatehouse token`) and connect again.",
		})
	})
	go s.answer()
	err := s.judge(ctx)
	expiry.Stop()
	cancel()
	close(s.queue)
	if err != nil {
		s.conn.SetReadDeadline(time.Now()) // nothing more is read from it
		if s.killing() == nil && !gone(err) {
			s.farewell(err)
		}
	}
	if s.up != nil {
		// A statement that still runs is stopped; its outcome is unknown.
		if s.pending.Load() > 0 {
			stop, cancel := context.WithTimeout(context.Background(), time.Second)
			s.up.cancel(stop)
			cancel()
		}
		s.up.conn.SetReadDeadline(time.Now().Add(time.Second))
		<-s.dead
		s.up.conn.Close()
	} else {
		<-s.dead
	}
	s.lookout.close()
	s.in.release()
	if s.up != nil {
		s.up.in.release()
	}
	s.kept.hold(0)
	s.texts.hold(0)
	s.server.cancels.forget(s.pid)
	s.server.remove(s)
	reason, detail := "client", ""
	if k := s.killing(); k != nil {
		reason, detail = k.reason, k.refusal.Reason
	} else if err != nil && !gone(err) {
		r, _ := refusalFrom(err)
		reason, detail = "error", r.Reason
	}
	if err := s.gate.Close(reason, detail); err != nil {
		s.target.log.Error("the end of a session was not recorded", "session", s.gate.ID(), "error", err)
	}
}

// gone says whether an error only means that the client has left, or was ended.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, errTerminate) || errors.As(err, new(*net.OpError))
}

// farewell tells the client why its session ends.
func (s *session) farewell(err error) {
	r, internal := refusalFrom(err)
	if internal {
		s.target.log.Error("a session ended with an error", "session", s.gate.ID(), "error", err)
	}
	s.writeNow(encodeError(nil, 'E', errorFields("FATAL", r)))
}

// kill ends the session from outside; the refusal is what the client is told.
func (s *session) kill(reason string, r *gate.Refusal) {
	s.mu.Lock()
	if s.killed != nil {
		s.mu.Unlock()
		return
	}
	s.killed = &killing{reason, r}
	waiting, up, stop := s.waiting, s.up, s.stop
	s.mu.Unlock()
	s.gate.End(r)
	if stop != nil {
		stop()
	}
	if up != nil {
		up.conn.SetDeadline(time.Now().Add(time.Second)) // whoever reads or writes it ends
	}
	if waiting != nil {
		waiting(nil)
	}
	s.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	s.writeNow(encodeError(nil, 'E', errorFields("FATAL", r)))
	s.conn.Close()
}

// terminate is kill for who ends a session by its id: drivers know admin_shutdown.
func (s *session) terminate(reason string, r *gate.Refusal) {
	own := *r
	own.SQLState = "57P01"
	s.kill(reason, &own)
}

func (s *session) killing() *killing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killed
}

// cancel does what a CancelRequest for this session asks for: it withdraws the hold that the client
// waits for, or stops what the database runs.
func (s *session) cancel() {
	s.mu.Lock()
	waiting, up := s.waiting, s.up
	s.mu.Unlock()
	switch {
	case waiting != nil:
		waiting(gate.ErrWithdrawn)
	case up != nil && s.pending.Load() > 0:
		ctx, cancel := context.WithTimeout(context.Background(), dialTime)
		defer cancel()
		if err := up.cancel(ctx); err != nil {
			s.target.log.Warn("a statement could not be cancelled", "session", s.gate.ID(), "error", err)
		}
	}
}

// writeNow writes whole messages to the client, past what the answering goroutine has gathered.
func (s *session) writeNow(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.conn.Write(b)
	return err
}

// connect opens the upstream session at the first statement.
func (s *session) connect(ctx context.Context) error {
	if s.up != nil {
		return nil
	}
	catalog, _, err := s.target.catalogs.Current(ctx)
	if err != nil {
		return s.target.unreachable(err)
	}
	s.keyed = !guard.MayCall(catalog, s.gate.Slice())
	up, reported, err := s.target.dial(ctx, s.settings, s.operators, s.keyed, s.socket.session)
	if err != nil {
		s.target.log.Error("the database cannot be reached", "session", s.gate.ID(), "error", err)
		return upstreamDown(s.target.connection.Name)
	}
	up.in.room, up.in.weight = s.server.memory.share(s.kept.who), 4 // a row is given on, recorded and sealed
	s.mu.Lock()
	maps.Copy(s.reported, reported)
	s.up = up
	s.mu.Unlock()
	return nil
}

// meaningSettings decide what the text of a date, a time or an interval means. The database reports each change.
var meaningSettings = []string{"DateStyle", "IntervalStyle", "TimeZone"}

// meaning are the settings that change what a text means.
func (s *session) meaning() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for _, p := range s.facts.parameters(s.settings) { // what they are before the upstream session is opened
		if slices.Contains(meaningSettings, p[0]) {
			out[p[0]] = p[1]
		}
	}
	for _, name := range meaningSettings {
		if v := s.reported[name]; v != "" {
			out[name] = v
		}
	}
	return out
}
