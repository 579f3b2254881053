package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"gatehouse/internal/notify"
)

// WindowState is where a window, in which somebody breaks the glass, is in its life: open → ended → reviewed.
type WindowState string

// The states of windows.
const (
	WindowOpen     WindowState = "open"
	WindowEnded    WindowState = "ended"
	WindowReviewed WindowState = "reviewed"
)

// Window is a window as it is kept. The body is its owner's.
type Window struct {
	ID         string
	State      WindowState
	Connection string
	Kind       string // of the principal
	Principal  string // its id
	Body       json.RawMessage
	Opened     time.Time
	Sessions   []string // that used it, in order; at most MaxWindowSessions
}

// Errors of windows that callers tell apart.
var (
	ErrNoWindow    = errors.New("store: there is no such window")
	ErrWindowOpen  = errors.New("store: the principal has an open window on the connection already")
	ErrWindowState = errors.New("store: the window is in another state")
	ErrWindows     = errors.New("store: too many windows are open")
)

// MaxWindowSessions bounds how many sessions of a window are given back.
const MaxWindowSessions = 1000

// OpenWindow adds an open window with the notifications of it, unless its principal has one on the connection, or
// so many are open.
func (s *Store) OpenWindow(ctx context.Context, w Window, all int, tell ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		var open, own int
		err := tx.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN kind = ? AND principal = ? AND connection = ? THEN 1 END) FROM windows WHERE state = 'open'`,
			w.Kind, w.Principal, w.Connection).Scan(&open, &own)
		switch {
		case err != nil:
			return err
		case own > 0:
			return ErrWindowOpen
		case open >= all:
			return ErrWindows
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO windows (id, state, connection, kind, principal, body, opened) VALUES (?, 'open', ?, ?, ?, ?, ?)`,
			w.ID, w.Connection, w.Kind, w.Principal, string(w.Body), w.Opened.UnixMicro())
		if err != nil {
			return err
		}
		return enqueue(ctx, tx, tell)
	})
}

// MoveWindow takes a window from one state to another, with a new body; ErrWindowState where it is in another.
func (s *Store) MoveWindow(ctx context.Context, id string, from, to WindowState, body json.RawMessage, tell ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `UPDATE windows SET state = ?, body = ? WHERE id = ? AND state = ?`, string(to), string(body), id, string(from))
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			if list, err := windows(ctx, tx, `id = ?`, 1, id); err != nil {
				return err
			} else if len(list) == 0 {
				return ErrNoWindow
			}
			return ErrWindowState
		}
		return enqueue(ctx, tx, tell)
	})
}

// UseWindow keeps that a session uses an open window; ErrWindowState where it is not open any more.
func (s *Store) UseWindow(ctx context.Context, id, session string, at time.Time) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		list, err := windows(ctx, tx, `id = ?`, 1, id)
		switch {
		case err != nil:
			return err
		case len(list) == 0:
			return ErrNoWindow
		case list[0].State != WindowOpen:
			return ErrWindowState
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO window_sessions (window_id, session, since) VALUES (?, ?, ?) ON CONFLICT (window_id, session) DO NOTHING`, id, session, at.UnixMicro())
		return err
	})
}

// GetWindow finds a window with its sessions; ErrNoWindow where there is none.
func (s *Store) GetWindow(ctx context.Context, id string) (Window, error) {
	list, err := s.someWindows(ctx, `id = ?`, 1, id)
	if err == nil && len(list) == 0 {
		return Window{}, ErrNoWindow
	}
	if err != nil {
		return Window{}, err
	}
	return list[0], nil
}

// OpenWindows are all that are open.
func (s *Store) OpenWindows(ctx context.Context) ([]Window, error) {
	return s.someWindows(ctx, `state = 'open'`, 1<<20)
}

// ListWindows gives the newest windows, of one state or (with "") of all.
func (s *Store) ListWindows(ctx context.Context, state WindowState, limit int) ([]Window, error) {
	return s.someWindows(ctx, `? IN ('', state)`, limit, string(state))
}

func (s *Store) someWindows(ctx context.Context, where string, limit int, args ...any) ([]Window, error) {
	var out []Window
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		out, err = windows(ctx, tx, where, limit, args...)
		return err
	})
	return out, err
}

func windows(ctx context.Context, tx *sql.Tx, where string, limit int, args ...any) ([]Window, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, state, connection, kind, principal, body, opened FROM windows WHERE `+where+` ORDER BY opened DESC, id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	var out []Window
	for rows.Next() {
		var w Window
		var body string
		var opened int64
		if err := rows.Scan(&w.ID, &w.State, &w.Connection, &w.Kind, &w.Principal, &body, &opened); err != nil {
			rows.Close()
			return nil, err
		}
		w.Body, w.Opened = json.RawMessage(body), time.UnixMicro(opened)
		out = append(out, w)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Sessions, err = sessionsOf(ctx, tx, out[i].ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sessionsOf(ctx context.Context, tx *sql.Tx, id string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT session FROM window_sessions WHERE window_id = ? ORDER BY since, session LIMIT ?`, id, MaxWindowSessions)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var session string
		if err := rows.Scan(&session); err != nil {
			return nil, err
		}
		out = append(out, session)
	}
	return out, rows.Err()
}
