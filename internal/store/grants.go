package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"gatehouse/internal/notify"
)

// GrantState is where a grant is in its life: pending → granted | denied | withdrawn | lapsed; granted → expired | revoked.
// The others are final.
type GrantState string

// The states of grants.
const (
	GrantPending   GrantState = "pending"
	GrantGranted   GrantState = "granted"
	GrantDenied    GrantState = "denied"
	GrantWithdrawn GrantState = "withdrawn"
	GrantLapsed    GrantState = "lapsed" // nobody answered in time
	GrantExpired   GrantState = "expired"
	GrantRevoked   GrantState = "revoked"
)

// Grant is a grant as it is kept: that a principal is in a group on a connection. The body is its owner's.
type Grant struct {
	ID         string
	State      GrantState
	Connection string
	Kind       string // of the principal
	Principal  string // its id
	Group      string
	Body       json.RawMessage
	Asked      time.Time
	Used       time.Time // zero: never
}

// Errors of grants that callers tell apart.
var (
	ErrNoGrant    = errors.New("store: there is no such grant")
	ErrGrantAlive = errors.New("store: the principal has the group there, or has asked for it")
	ErrGrantState = errors.New("store: the grant is in another state")
	ErrGrants     = errors.New("store: too many grants are pending or in force")
)

const aliveGrants = `state IN ('pending', 'granted')`

// AskGrant adds a pending grant with the notifications of it, unless its principal has one for the group on the
// connection, or so many are alive.
func (s *Store) AskGrant(ctx context.Context, g Grant, all int, tell ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		var alive, own int
		err := tx.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN kind = ? AND principal = ? AND connection = ? AND grp = ? THEN 1 END) FROM grants WHERE `+aliveGrants,
			g.Kind, g.Principal, g.Connection, g.Group).Scan(&alive, &own)
		switch {
		case err != nil:
			return err
		case own > 0:
			return ErrGrantAlive
		case alive >= all:
			return ErrGrants
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO grants (id, state, connection, kind, principal, grp, body, asked) VALUES (?, 'pending', ?, ?, ?, ?, ?, ?)`,
			g.ID, g.Connection, g.Kind, g.Principal, g.Group, string(g.Body), g.Asked.UnixMicro()); err != nil {
			return err
		}
		return enqueue(ctx, tx, tell)
	})
}

// MoveGrant takes a grant from one state to another, with a new body; ErrGrantState where it is in another.
func (s *Store) MoveGrant(ctx context.Context, id string, from, to GrantState, body json.RawMessage, tell ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `UPDATE grants SET state = ?, body = ? WHERE id = ? AND state = ?`, string(to), string(body), id, string(from))
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			if list, err := grants(ctx, tx, `id = ?`, 1, id); err != nil {
				return err
			} else if len(list) == 0 {
				return ErrNoGrant
			}
			return ErrGrantState
		}
		return enqueue(ctx, tx, tell)
	})
}

// UsedGrant keeps when a grant was used last.
func (s *Store) UsedGrant(ctx context.Context, id string, at time.Time) error {
	return s.within(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE grants SET used = max(used, ?) WHERE id = ?`, at.UnixMicro(), id)
		return err
	})
}

// GetGrant finds a grant; ErrNoGrant where there is none.
func (s *Store) GetGrant(ctx context.Context, id string) (Grant, error) {
	list, err := s.someGrants(ctx, `id = ?`, 1, id)
	if err == nil && len(list) == 0 {
		return Grant{}, ErrNoGrant
	}
	if err != nil {
		return Grant{}, err
	}
	return list[0], nil
}

// AliveGrants are all that are pending or granted.
func (s *Store) AliveGrants(ctx context.Context) ([]Grant, error) {
	return s.someGrants(ctx, aliveGrants, 1<<20)
}

// ListGrants gives the newest grants, of one state or (with "") of all.
func (s *Store) ListGrants(ctx context.Context, state GrantState, limit int) ([]Grant, error) {
	return s.someGrants(ctx, `? IN ('', state)`, limit, string(state))
}

func (s *Store) someGrants(ctx context.Context, where string, limit int, args ...any) ([]Grant, error) {
	var out []Grant
	err := s.within(ctx, func(tx *sql.Tx) error {
		var err error
		out, err = grants(ctx, tx, where, limit, args...)
		return err
	})
	return out, err
}

func grants(ctx context.Context, tx *sql.Tx, where string, limit int, args ...any) ([]Grant, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, state, connection, kind, principal, grp, body, asked, used FROM grants WHERE `+where+` ORDER BY asked DESC, id LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Grant
	for rows.Next() {
		var g Grant
		var body string
		var asked, used int64
		if err := rows.Scan(&g.ID, &g.State, &g.Connection, &g.Kind, &g.Principal, &g.Group, &body, &asked, &used); err != nil {
			return nil, err
		}
		g.Body, g.Asked = json.RawMessage(body), time.UnixMicro(asked)
		if used > 0 {
			g.Used = time.UnixMicro(used)
		}
		out = append(out, g)
	}
	return out, rows.Err()
}
