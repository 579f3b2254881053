// Package store keeps what must outlive the process and be decided once: held requests and their answers, and
// the versions of the policies.
//
// Every change of a hold's state, and of which version is the head, is a compare-and-set in one transaction that
// is on the disk before it returns. It must never decide anything itself.
package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"gatehouse/internal/notify"
)

//go:embed migrations/*.sql
var migrations embed.FS

// State is where a hold is in its life.
type State string

// The states: pending → approved | denied | expired | withdrawn; approved → running | expired | withdrawn;
// running → done | unknown. The others are final.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Expired   State = "expired"
	Withdrawn State = "withdrawn"
	Running   State = "running"
	Done      State = "done"
	Unknown   State = "unknown"
)

// What is held: a request, whose client waits, or a version of the policies that is to be published, for which
// nobody waits: it survives a restart.
const (
	HoldRequest = "request"
	HoldPublish = "publish"
)

// Hold is one held request as it is kept.
type Hold struct {
	ID         string
	Kind       string // HoldRequest where it is empty
	State      State
	Connection string
	Principal  string // id of who asked
	Hash       string
	Body       json.RawMessage
	Outcome    string
	Created    time.Time
	Expires    time.Time
	Changed    time.Time
	Answers    []Answer
}

// Answer is what one person said.
type Answer struct {
	Person  string // id
	Name    string
	Approve bool
	Reason  string
	Groups  []string // those of the person that the hold asked for
	MaxRows int64    // the person's bound on the rows that change; 0: none
	At      time.Time
}

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("store: there is no such hold")
	ErrConflict = errors.New("store: the hold is not in a state for that any more")
	ErrAnswered = errors.New("store: the person has answered already")
	ErrFull     = errors.New("store: too many holds are pending")
	ErrFullOne  = errors.New("store: too many holds of this principal are pending")
)

// Store is a database with the holds. Safe for concurrent use.
type Store struct {
	db   *sql.DB
	lock *os.File
}

// Open opens the store that the configuration names: sqlite:PATH. One process at a time has it. What
// ran when an earlier process ended has an unknown outcome; what waited can still be answered and used.
func Open(ctx context.Context, where string) (*Store, error) {
	path, ok := strings.CutPrefix(where, "sqlite:")
	if !ok || path == "" {
		if strings.HasPrefix(where, "postgres:") || strings.HasPrefix(where, "postgresql:") {
			return nil, errors.New("store: postgres is not built yet: use sqlite:PATH")
		}
		return nil, fmt.Errorf("store: %q is not a store: use sqlite:PATH", where)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("store: %s is used by another process: stop that, or name another store", path)
	}
	s := &Store{lock: lock}
	if err := s.open(ctx, path); err != nil {
		s.Close()
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	q := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}, "_txlock": {"immediate"}}
	if s.db, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode()); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.db, sub)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	_, err = s.db.ExecContext(ctx, `UPDATE holds SET state = CASE state WHEN 'running' THEN 'unknown' ELSE 'withdrawn' END,
		outcome = 'the gateway was restarted', changed = ? WHERE state = 'running' OR kind = 'publish' AND state = 'approved'`, now)
	return err
}

// Close closes the store.
func (s *Store) Close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// within runs a transaction.
func (s *Store) within(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Create adds a pending hold with the notifications of it, unless too many are pending: all, or of its principal.
func (s *Store) Create(ctx context.Context, h Hold, all, each int, tell ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		if h.Kind == "" {
			h.Kind = HoldRequest
		}
		var pending, own int
		err := tx.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN principal = ? THEN 1 END) FROM holds WHERE state IN ('pending', 'approved')`, h.Principal).Scan(&pending, &own)
		switch {
		case err != nil:
			return err
		case pending >= all:
			return ErrFull
		case own >= each:
			return ErrFullOne
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO holds (id, kind, state, connection, principal, hash, body, created, expires, changed) VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?)`,
			h.ID, h.Kind, h.Connection, h.Principal, h.Hash, string(h.Body), h.Created.UnixMicro(), h.Expires.UnixMicro(), h.Created.UnixMicro())
		if err != nil {
			return err
		}
		return enqueue(ctx, tx, tell)
	})
}

// Get finds a hold with its answers.
func (s *Store) Get(ctx context.Context, id string) (Hold, error) {
	var h Hold
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		h, err = get(ctx, tx, id)
		return err
	})
	return h, err
}

const columns = `id, kind, state, connection, principal, hash, body, outcome, created, expires, changed`

var withoutBody = strings.Replace(columns, "body", "'{}'", 1)

func scan(row interface{ Scan(...any) error }) (Hold, error) {
	var h Hold
	var body string
	var created, expires, changed int64
	err := row.Scan(&h.ID, &h.Kind, &h.State, &h.Connection, &h.Principal, &h.Hash, &body, &h.Outcome, &created, &expires, &changed)
	h.Body = json.RawMessage(body)
	h.Created, h.Expires, h.Changed = time.UnixMicro(created), time.UnixMicro(expires), time.UnixMicro(changed)
	return h, err
}

func get(ctx context.Context, tx *sql.Tx, id string) (Hold, error) {
	h, err := scan(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM holds WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return h, ErrNotFound
	}
	if err != nil {
		return h, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT person, name, approve, reason, groups, max_rows, at FROM answers WHERE hold = ? ORDER BY at, person`, id)
	if err != nil {
		return h, err
	}
	defer rows.Close()
	for rows.Next() {
		var a Answer
		var groups string
		var at int64
		if err := rows.Scan(&a.Person, &a.Name, &a.Approve, &a.Reason, &groups, &a.MaxRows, &at); err != nil {
			return h, err
		}
		if err := json.Unmarshal([]byte(groups), &a.Groups); err != nil {
			return h, err
		}
		a.At = time.UnixMicro(at)
		h.Answers = append(h.Answers, a)
	}
	return h, rows.Err()
}

// List gives the newest holds, of one state or (with "") of all: at most so many, and no more after their bodies
// have so many bytes.
func (s *Store) List(ctx context.Context, state State, limit, bytes int) ([]Hold, error) {
	var out []Hold
	err := s.within(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id FROM holds WHERE ? IN ('', state) ORDER BY created DESC, id LIMIT ?`, string(state), limit)
		if err != nil {
			return err
		}
		var ids []string
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				rows.Close()
				return err
			}
			ids = append(ids, id)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, id := range ids {
			h, err := get(ctx, tx, id)
			if err != nil {
				return err
			}
			out = append(out, h)
			if bytes -= len(h.Body); bytes <= 0 {
				break
			}
		}
		return nil
	})
	return out, err
}

// Left gives the newest holds of a principal on a connection that are pending or approved, without their bodies.
func (s *Store) Left(ctx context.Context, connection, principal string, limit int) ([]Hold, error) {
	return s.some(ctx, `SELECT `+withoutBody+` FROM holds WHERE state IN ('pending', 'approved') AND connection = ? AND principal = ? ORDER BY created DESC, id LIMIT ?`, connection, principal, limit)
}

// Late gives holds that are pending since before their end, or approved since before a time.
func (s *Store) Late(ctx context.Context, now, approved time.Time, limit int) ([]Hold, error) {
	return s.some(ctx, `SELECT `+columns+` FROM holds WHERE state = 'pending' AND expires <= ? OR state = 'approved' AND changed < ? LIMIT ?`, now.UnixMicro(), approved.UnixMicro(), limit)
}

// some reads holds without their answers.
func (s *Store) some(ctx context.Context, query string, args ...any) ([]Hold, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Hold
	for rows.Next() {
		h, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, rows.Err()
}

// Answer adds a person's answer to a pending hold. next is given the hold with all answers and says the
// state that it then has, and what is to be told of it; it runs inside the transaction.
func (s *Store) Answer(ctx context.Context, id string, a Answer, next func(Hold) (State, []notify.Message)) (Hold, error) {
	var h Hold
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		if h, err = get(ctx, tx, id); err != nil {
			return err
		}
		if h.State != Pending || !a.At.Before(h.Expires) {
			return ErrConflict
		}
		for _, b := range h.Answers {
			if b.Person == a.Person {
				return ErrAnswered
			}
		}
		groups, err := json.Marshal(a.Groups)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO answers (hold, person, name, approve, reason, groups, max_rows, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			id, a.Person, a.Name, a.Approve, a.Reason, string(groups), a.MaxRows, a.At.UnixMicro()); err != nil {
			return err
		}
		h.Answers = append(h.Answers, a)
		to, tell := next(h)
		if to == Pending {
			return enqueue(ctx, tx, tell)
		}
		h.State, h.Changed = to, a.At
		if err := move(ctx, tx, id, []State{Pending}, to, "", a.At); err != nil {
			return err
		}
		return enqueue(ctx, tx, tell)
	})
	return h, err
}

// Move takes a hold from one of the states to another, with the notifications of it; ErrConflict where it is in
// none of them.
func (s *Store) Move(ctx context.Context, id string, from []State, to State, outcome string, at time.Time, tell ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		if err := move(ctx, tx, id, from, to, outcome, at); err != nil {
			return err
		}
		return enqueue(ctx, tx, tell)
	})
}

// Start takes an approved hold to running, if its hash is this one and it was approved after the time.
func (s *Store) Start(ctx context.Context, id, hash string, after, at time.Time) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		h, err := get(ctx, tx, id)
		if err != nil {
			return err
		}
		if h.State != Approved || h.Hash != hash || hash == "" || h.Changed.Before(after) {
			return ErrConflict
		}
		return move(ctx, tx, id, []State{Approved}, Running, "", at)
	})
}

func move(ctx context.Context, tx *sql.Tx, id string, from []State, to State, outcome string, at time.Time) error {
	marks := strings.TrimSuffix(strings.Repeat("?,", len(from)), ",")
	args := []any{string(to), outcome, at.UnixMicro(), id}
	for _, f := range from {
		args = append(args, string(f))
	}
	r, err := tx.ExecContext(ctx, `UPDATE holds SET state = ?, outcome = ?, changed = ? WHERE id = ? AND state IN (`+marks+`)`, args...)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		if _, err := get(ctx, tx, id); err != nil {
			return err
		}
		return ErrConflict
	}
	return nil
}
