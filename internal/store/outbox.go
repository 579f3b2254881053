package store

import (
	"context"
	"database/sql"
	"time"

	"gatehouse/internal/notify"
)

// MaxOutbox is how many notifications for one target are kept; further ones are not, until some are delivered.
const MaxOutbox = 10_000

// enqueue puts notifications into the outbox, in the transaction that makes them true.
func enqueue(ctx context.Context, tx *sql.Tx, messages []notify.Message) error {
	for _, m := range messages {
		var kept int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM outbox WHERE target = ?`, m.Target).Scan(&kept); err != nil {
			return err
		}
		if kept >= MaxOutbox {
			continue
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO outbox (id, target, event, due, until, tries) VALUES (?, ?, ?, ?, ?, ?)`,
			m.ID, m.Target, string(m.Event), m.Due.UnixMicro(), m.Until.UnixMicro(), m.Tries); err != nil {
			return err
		}
	}
	return nil
}

// Tell adds notifications that belong to no change.
func (s *Store) Tell(ctx context.Context, messages ...notify.Message) error {
	return s.within(ctx, func(tx *sql.Tx) error { return enqueue(ctx, tx, messages) })
}

// Due gives the notifications for a target that are due, the oldest first. It implements notify.Outbox.
func (s *Store) Due(ctx context.Context, target string, now time.Time, limit int) ([]notify.Message, error) {
	var out []notify.Message
	err := s.within(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, target, event, due, until, tries FROM outbox WHERE target = ? AND due <= ? ORDER BY due, id LIMIT ?`, target, now.UnixMicro(), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m notify.Message
			var event string
			var due, until int64
			if err := rows.Scan(&m.ID, &m.Target, &event, &due, &until, &m.Tries); err != nil {
				return err
			}
			m.Event, m.Due, m.Until = []byte(event), time.UnixMicro(due), time.UnixMicro(until)
			out = append(out, m)
		}
		return rows.Err()
	})
	return out, err
}

// Next says when the first notification for a target comes due. It implements notify.Outbox.
func (s *Store) Next(ctx context.Context, target string) (time.Time, error) {
	var due sql.NullInt64
	if err := s.db.QueryRowContext(ctx, `SELECT min(due) FROM outbox WHERE target = ?`, target).Scan(&due); err != nil || !due.Valid {
		return time.Time{}, err
	}
	return time.UnixMicro(due.Int64), nil
}

// Remove takes a notification out of the outbox. It implements notify.Outbox.
func (s *Store) Remove(ctx context.Context, id string) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM outbox WHERE id = ?`, id)
	return err
}

// Postpone keeps a notification for later. It implements notify.Outbox.
func (s *Store) Postpone(ctx context.Context, id string, due time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE outbox SET due = ?, tries = tries + 1 WHERE id = ?`, due.UnixMicro(), id)
	return err
}
