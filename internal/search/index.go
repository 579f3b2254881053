// Package search finds recorded requests: by who asked, on which connection, when, how it was decided, by which policy,
// what it touched, and by the words of its text.
//
// The index is a file of its own beside the recordings and is made from them: it can be deleted at any time, and is made
// again. It has the words of requests, but not in their order, no results and no parameters; what is shown of a request
// is read from the recording. One process at a time writes it; others read.
package search

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

//go:embed schema.sql
var schema string

// format is raised when schema.sql or the marks change: an older index is made again.
const format = "2"

const (
	// batch is how many requests are indexed in one transaction.
	batch = 20_000
	// Run works for a slice of time, and then rests for so many slices: it takes a tenth of a processor at most, from
	// whoever sends requests.
	slice = 50 * time.Millisecond
	rest  = 9
	// maxText is how much of a request's text is indexed, in bytes.
	maxText = 64 << 10
	// maxTouches is how many touches of a request are indexed.
	maxTouches = 2000
)

// Index is the index of a recordings folder. Until it writes, CatchUp may open its file anew: nobody searches meanwhile.
type Index struct {
	dir  string
	db   *sql.DB
	lock *os.File // nil: another process writes it
	log  *slog.Logger

	memory // the writer's own
}

// memory is what the writer knows of what it wrote; it can be forgotten at any time.
type memory struct {
	sessions   map[string]session
	principals map[string]int64
	verdicts   map[hash]verdict     // by the body of the decision
	waiting    map[requestKey]int64 // requests without an outcome yet
	walks      map[string]walk
	next       int64 // 0: not known
}

func newMemory() memory {
	return memory{sessions: map[string]session{}, principals: map[string]int64{}, verdicts: map[hash]verdict{}, waiting: map[requestKey]int64{}, walks: map[string]walk{}}
}

// maxMemory bounds each of its maps.
const maxMemory = 100_000

// room makes room in a map.
func room[K comparable, V any](m map[K]V) {
	if len(m) >= maxMemory {
		clear(m)
	}
}

type requestKey struct {
	session int64
	number  uint64
}

type verdict struct {
	id    int64
	marks string
}

type hash = [sha256.Size]byte

type session struct {
	id     int64
	marks  string
	opened int64
}

// Open opens the index of a recordings folder, which it makes where there is none. Where another process keeps it up to
// date, or this one may not write there, it can be searched, and CatchUp does nothing for as long as that is so.
func Open(ctx context.Context, dir string, log *slog.Logger) (_ *Index, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the index of the recordings in %s cannot be opened: %w", dir, err)
		}
	}()
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	x := &Index{dir: dir, log: log, memory: newMemory()}
	if err = x.take(ctx); err == nil && x.lock == nil {
		err = x.connect(x.path(), true)
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

func (x *Index) path() string { return filepath.Join(x.dir, "search.db") }

// take makes this process the one that writes the index, where no other does and it may.
func (x *Index) take(ctx context.Context) error {
	lock, err := os.OpenFile(filepath.Join(x.dir, "search.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil
	} else if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil
	}
	if x.db != nil {
		if err := x.db.Close(); err != nil {
			return errors.Join(err, lock.Close())
		}
	}
	if err = x.renew(ctx, x.path()); err == nil {
		err = x.connect(x.path(), false)
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	x.lock, x.memory = lock, newMemory()
	return nil
}

func (x *Index) connect(path string, readOnly bool) error {
	if _, err := os.Stat(path); readOnly && err != nil {
		return err
	}
	q := url.Values{"_pragma": {"busy_timeout(5000)", "synchronous(normal)", "cache_size(-65536)", "mmap_size(1073741824)"}, "_txlock": {"immediate"}}
	if readOnly {
		q.Set("mode", "ro")
	} else {
		q.Add("_pragma", "journal_mode(wal)")
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil { // not for others to read
			return err
		} else if err := f.Close(); err != nil {
			return err
		}
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return err
	}
	x.db = db
	return nil
}

// renew makes sure that there is an index of this format, of these recordings.
func (x *Index) renew(ctx context.Context, path string) error {
	if err := x.connect(path, false); err != nil {
		return err
	}
	var found string
	err := x.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'format'").Scan(&found)
	if err == nil && found == format {
		return x.db.Close()
	}
	if err := x.db.Close(); err != nil {
		return err
	}
	return x.rebuild(ctx, path)
}

// rebuild begins an index anew.
func (x *Index) rebuild(ctx context.Context, path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := x.connect(path, false); err != nil {
		return err
	}
	_, err := x.db.ExecContext(ctx, "BEGIN;"+schema+"INSERT INTO meta VALUES ('format', '"+format+"'), ('cursor', '{}'); COMMIT")
	return errors.Join(err, x.db.Close())
}

// Close closes the index.
func (x *Index) Close() error {
	var err error
	if x.db != nil {
		err = x.db.Close()
	}
	if x.lock != nil {
		err = errors.Join(err, x.lock.Close())
	}
	return err
}

// Writes says whether this process is the one that keeps the index up to date.
func (x *Index) Writes() bool { return x.lock != nil }

// Behind is how many bytes of the recordings are not in the index yet.
func (x *Index) Behind(ctx context.Context) (int64, error) {
	at, err := x.cursor(ctx)
	if err != nil {
		return 0, err
	}
	return record.Size(x.dir, at)
}

func (x *Index) cursor(ctx context.Context) (at record.Cursor, err error) {
	var text string
	if err := x.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'cursor'").Scan(&text); err != nil {
		return at, err
	}
	return at, json.Unmarshal([]byte(text), &at)
}

// Run keeps the index up to date until ctx ends, looking every interval for what was recorded meanwhile.
func (x *Index) Run(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	said := ""
	for {
		err := x.update(ctx, nil, true)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			x.log.Error("recordings cannot be indexed: searches do not find the newest", "error", err)
		}
		if said = ""; err != nil {
			said = err.Error()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// CatchUp indexes what the index does not have yet. progress is told now and then how many bytes were read; it may be nil.
func (x *Index) CatchUp(ctx context.Context, progress func(bytes int64, requests int)) error {
	return x.update(ctx, progress, false)
}

func (x *Index) update(ctx context.Context, progress func(int64, int), paced bool) error {
	if x.lock == nil {
		if err := x.take(ctx); err != nil || x.lock == nil {
			return err
		}
	}
	if err := x.catchUp(ctx, progress, paced); errors.Is(err, record.ErrGone) {
		// The recordings before it were taken away: what is there now is indexed from its beginning.
		if err := x.db.Close(); err != nil {
			return err
		}
		if err := x.rebuild(ctx, x.path()); err != nil {
			return err
		}
		x.memory = newMemory()
		if err := x.connect(x.path(), false); err != nil {
			return err
		}
		return x.catchUp(ctx, progress, paced)
	} else if err != nil {
		return err
	}
	return nil
}

func (x *Index) catchUp(ctx context.Context, progress func(int64, int), paced bool) error {
	at, err := x.cursor(ctx)
	if err != nil {
		return err
	}
	if behind, err := record.Size(x.dir, at); err != nil || behind == 0 {
		return err
	}
	var w *writer
	var bytes int64
	requests := 0
	commit := func() error {
		if w == nil {
			return nil
		}
		err := w.commit(ctx, at)
		requests += w.requests
		w = nil
		if err != nil { // what was remembered of it is not in the file
			x.memory = newMemory()
		}
		if progress != nil && err == nil {
			progress(bytes, requests)
		}
		return err
	}
	begun := time.Now()
	for f, err := range record.After(ctx, x.dir, at) {
		if err == nil && w == nil {
			w, err = x.begin(ctx)
		}
		if err == nil {
			err = w.entry(ctx, f)
		}
		if err != nil {
			if w != nil {
				w.tx.Rollback()
				w = nil
				x.memory = newMemory()
			}
			return err
		}
		if f.At.Segment == f.Next.Segment {
			bytes += f.Next.Offset - f.At.Offset
		}
		at = f.Next
		late := paced && time.Since(begun) >= slice
		if late || w.requests >= batch {
			if err := commit(); err != nil {
				return err
			}
		}
		if late {
			select {
			case <-time.After(rest * time.Since(begun)):
			case <-ctx.Done():
				return ctx.Err()
			}
			begun = time.Now()
		}
	}
	return commit()
}

// Forget takes everything that the index of a recordings folder has of a session out of it, whoever writes it. Where there is
// no index nothing is to be done.
func Forget(ctx context.Context, dir, name string) (err error) {
	x := &Index{dir: dir}
	if _, err := os.Stat(x.path()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := x.connect(x.path(), false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, text := range []string{
		"DELETE FROM words WHERE rowid IN (SELECT r.id FROM requests r JOIN sessions s ON s.id = r.session WHERE s.name = ?)",
		"DELETE FROM places WHERE session = (SELECT id FROM sessions WHERE name = ?)",
		"DELETE FROM requests WHERE session = (SELECT id FROM sessions WHERE name = ?)",
		"DELETE FROM sessions WHERE name = ?",
	} {
		if _, err := tx.ExecContext(ctx, text, name); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// writer is one transaction of the index.
type writer struct {
	*Index
	tx       *sql.Tx
	requests int
	request  *sql.Stmt
	words    *sql.Stmt
	status   *sql.Stmt
	mark     *sql.Stmt
	place    *sql.Stmt
}

func (x *Index) begin(ctx context.Context) (*writer, error) {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	w := &writer{Index: x, tx: tx}
	if x.next == 0 {
		err = tx.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) + 1 FROM requests").Scan(&x.next)
	}
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&w.request, "INSERT INTO requests (id, session, number, at, segment, offset, verdict) VALUES (?, ?, ?, ?, ?, ?, ?)"},
		{&w.words, "INSERT INTO words (rowid, text, marks) VALUES (?, ?, ?)"},
		{&w.place, "INSERT INTO places VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&w.mark, "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO NOTHING"},
		{&w.status, "UPDATE requests SET status = ? WHERE id = ?"},
	} {
		if err == nil {
			*p.to, err = tx.PrepareContext(ctx, p.sql)
		}
	}
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return w, nil
}

func (w *writer) commit(ctx context.Context, at record.Cursor) error {
	text, err := json.Marshal(at)
	if err == nil {
		_, err = w.tx.ExecContext(ctx, "UPDATE meta SET value = ? WHERE key = 'cursor'", string(text))
	}
	if err != nil {
		return errors.Join(err, w.tx.Rollback())
	}
	return w.tx.Commit()
}

// entry indexes an entry.
func (w *writer) entry(ctx context.Context, f record.Followed) error {
	texts := map[uint64]string{}
	for _, ev := range f.Events {
		var err error
		switch ev.Kind {
		case gate.SessionOpened:
			err = w.open(ctx, f.Session, ev)
		case gate.Requested:
			var b gate.RequestBody
			if b, err = record.Body[gate.RequestBody](ev); err == nil {
				texts[ev.Request] = textOf(b.Intent)
			}
		case gate.Decided:
			err = w.decided(ctx, f, ev, texts[ev.Request])
		case gate.Responded:
			err = w.responded(ctx, f.Session, ev)
		}
		if err != nil {
			return fmt.Errorf("session %s, entry %d: %w", f.Session, f.Number, err)
		}
	}
	return w.walked(ctx, f)
}

// textOf is what a request is found by: what its client sent, else what ran.
func textOf(i gate.Intent) string {
	text := i.Received
	if text == "" {
		text = strings.Join(append([]string{i.Text}, i.Means...), " ")
	}
	return text[:min(len(text), maxText)]
}

func (w *writer) open(ctx context.Context, name string, ev record.Event) error {
	info, err := record.Body[gate.SessionInfo](ev)
	if err != nil {
		return err
	}
	body, err := json.Marshal(info.Principal)
	if err != nil {
		return err
	}
	who, ok := w.principals[string(body)]
	if !ok {
		if _, err := w.tx.ExecContext(ctx, "INSERT INTO principals (body, text) VALUES (?, ?) ON CONFLICT DO NOTHING", string(body), strings.ToLower(wordsOf(info.Principal))); err != nil {
			return err
		}
		if err := w.tx.QueryRowContext(ctx, "SELECT id FROM principals WHERE body = ?", string(body)).Scan(&who); err != nil {
			return err
		}
		w.principals[string(body)] = who
	}
	r, err := w.tx.ExecContext(ctx, "INSERT INTO sessions (name, principal, connection, protocol, opened) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		name, who, info.Connection, info.Protocol, info.Opened.UnixMicro())
	if err != nil {
		return err
	}
	id, err := r.LastInsertId()
	if err != nil {
		return err
	}
	w.remember(name, session{id, markOfPrincipal(who) + " " + markOfConnection(info.Connection), info.Opened.UnixMicro()})
	return nil
}

func (w *writer) remember(name string, s session) {
	room(w.sessions)
	w.sessions[name] = s
}

// session is one that was opened earlier: zero where its beginning is not in these recordings.
func (w *writer) session(ctx context.Context, name string) (session, error) {
	if s, ok := w.sessions[name]; ok {
		return s, nil
	}
	var s session
	var who int64
	var connection string
	err := w.tx.QueryRowContext(ctx, "SELECT id, principal, connection, opened FROM sessions WHERE name = ?", name).Scan(&s.id, &who, &connection, &s.opened)
	if errors.Is(err, sql.ErrNoRows) {
		return session{}, nil
	} else if err != nil {
		return session{}, err
	}
	s.marks = markOfPrincipal(who) + " " + markOfConnection(connection)
	w.remember(name, s)
	return s, nil
}

func (w *writer) decided(ctx context.Context, f record.Followed, ev record.Event, text string) error {
	s, err := w.session(ctx, f.Session)
	if err != nil || s.id == 0 {
		return err
	}
	v, err := w.verdict(ctx, ev)
	if err != nil {
		return err
	}
	if _, err := w.request.ExecContext(ctx, w.next, s.id, ev.Request, f.Time.UnixMicro(), f.At.Segment, f.At.Offset, v.id); err != nil {
		return err
	}
	if _, err := w.words.ExecContext(ctx, w.next, text, s.marks+v.marks); err != nil {
		return err
	}
	room(w.waiting)
	w.waiting[requestKey{s.id, ev.Request}] = w.next
	w.next++
	w.requests++
	return nil
}

func (w *writer) responded(ctx context.Context, name string, ev record.Event) error {
	s, err := w.session(ctx, name)
	if err != nil || s.id == 0 {
		return err
	}
	key := requestKey{s.id, ev.Request}
	id, ok := w.waiting[key]
	if !ok {
		return nil
	}
	delete(w.waiting, key)
	o, err := record.Body[gate.Outcome](ev)
	if err != nil {
		return err
	}
	_, err = w.status.ExecContext(ctx, o.Status, id)
	return err
}

// verdict keeps what was decided, once for equal ones. What a refusal says differs from request to request, and is not
// a part of it.
func (w *writer) verdict(ctx context.Context, ev record.Event) (v verdict, err error) {
	body := ev.Body
	if at := bytes.Index(body, []byte(`,"refusal":{"`)); at >= 0 { // in a string quotes are escaped
		body = body[:at]
	}
	key := sha256.Sum256(body)
	if v, ok := w.verdicts[key]; ok {
		return v, nil
	}
	d, err := record.Body[gate.DecisionBody](ev)
	if err != nil {
		return v, err
	}
	policies, err := json.Marshal(policiesOf(&d))
	if err != nil {
		return v, err
	}
	touches, err := json.Marshal(d.Touches[:min(len(d.Touches), maxTouches)])
	if err != nil {
		return v, err
	}
	effect := d.Decision.Effect.String()
	sum := sha256.Sum256(slices.Concat([]byte(effect), []byte{0}, policies, []byte{0}, touches))
	err = w.tx.QueryRowContext(ctx, "SELECT id FROM verdicts WHERE hash = ?", sum[:]).Scan(&v.id)
	if errors.Is(err, sql.ErrNoRows) {
		v.id, err = w.newVerdict(ctx, sum, effect, string(policies), string(touches), marksOf(&d))
	}
	if err != nil {
		return v, err
	}
	v.marks = fmt.Sprintf(" e_%s %s", effect, markOfVerdict(v.id))
	room(w.verdicts)
	w.verdicts[key] = v
	return v, nil
}

func (w *writer) newVerdict(ctx context.Context, sum hash, effect, policies, touches string, marks [][]byte) (int64, error) {
	r, err := w.tx.ExecContext(ctx, "INSERT INTO verdicts (hash, effect, policies, touches) VALUES (?, ?, ?, ?)", sum[:], effect, policies, touches)
	if err != nil {
		return 0, err
	}
	id, err := r.LastInsertId()
	if err != nil {
		return 0, err
	}
	for _, m := range marks {
		if _, err := w.mark.ExecContext(ctx, m, id); err != nil {
			return 0, err
		}
	}
	return id, nil
}

// policiesOf are the policies that made a decision, those that forbid included.
func policiesOf(d *gate.DecisionBody) []string {
	all := slices.Concat(d.Decision.Policies, d.Decision.Forbidden)
	slices.Sort(all)
	return slices.Compact(all)
}

// wordsOf is what a search for a part of a principal looks at.
func wordsOf(p policy.Principal) string { return p.ID + " " + p.String() }

// mark is what a verdict or a request is found by, beside words: a kind of thing, and which.
func mark(kind byte, of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return append([]byte{kind}, sum[:15]...)
}

// The words in which requests have their marks.
func markOfPrincipal(id int64) string     { return fmt.Sprintf("p_%d", id) }
func markOfVerdict(id int64) string       { return fmt.Sprintf("v_%d", id) }
func markOfConnection(name string) string { return fmt.Sprintf("c_%x", mark('c', name)[1:9]) }

// marksOf are the marks of a decision: its policies, and what it touches, with what that is in.
func marksOf(d *gate.DecisionBody) [][]byte {
	var out [][]byte
	seen := map[string]bool{}
	add := func(kind byte, of string) {
		if m := mark(kind, of); !seen[string(m)] {
			seen[string(m)] = true
			out = append(out, m)
		}
	}
	for _, p := range policiesOf(d) {
		add('y', p)
	}
	for _, t := range d.Touches[:min(len(d.Touches), maxTouches)] {
		action, object := touchOf(t)
		add('a', action)
		for _, o := range objectsOf(object) {
			add('o', o)
			add('t', action+" "+o)
		}
	}
	return out
}

// touchOf takes a touch as it is recorded apart: "read column shop/public.customers.email" is read and the object's id.
func touchOf(t string) (action, object string) {
	action, rest, _ := strings.Cut(t, " ")
	_, object, _ = strings.Cut(rest, " ")
	return action, object
}

// objectsOf are the names by which an object is found: its own and those of what it is in, with the connection and
// without.
func objectsOf(id string) []string {
	connection, name, ok := strings.Cut(id, "/")
	if !ok {
		return []string{id}
	}
	out := []string{connection}
	for {
		out = append(out, name, connection+"/"+name)
		dot := strings.LastIndexByte(name, '.')
		if dot <= 0 {
			return out
		}
		name = name[:dot]
	}
}
