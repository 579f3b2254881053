package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// kinName is the portal that the queries for children run in.
const kinName = "kin:000000000000000000000000\x00"

// seeKin reads the answer to a query for children. Where the transaction has one snapshot for all of its statements, it
// says what was so when that was taken.
func (s *session) seeKin(v *view, l look) error {
	types := []byte{'2', 'D', 'C', '3'}
	if l.fresh {
		types = []byte{'1', '2', 'D', 'C', '3'}
	}
	for _, typ := range types {
		body, err := s.own(v, typ)
		if body == nil {
			return err
		}
		if typ == 'D' {
			old, more, ok := twoBooleans(body)
			v.old = v.old || old
			v.moved = v.moved || more || !ok
		}
	}
	return nil
}

// twoBooleans reads a row of two booleans as text.
func twoBooleans(body []byte) (first, second, ok bool) {
	row := fields{b: body}
	n := row.int16()
	var out [2]string
	for i := range out {
		out[i] = string(row.take(int(row.int32())))
	}
	ok = n == 2 && !row.bad && (out[0] == "t" || out[0] == "f") && (out[1] == "t" || out[1] == "f")
	return out[0] == "t", out[1] == "t", ok
}

// newKin asks a Kin of a plan outside of any transaction: whether relations have children that the plan does not know.
func (c *catalogs) newKin(ctx context.Context, query string) (more bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, catalogTime)
	defer cancel()
	if err := c.connected(asking); err != nil {
		return false, err
	}
	var old bool
	if err := c.conn.QueryRow(asking, query, pgx.QueryExecModeSimpleProtocol).Scan(&old, &more); err != nil {
		return false, fmt.Errorf("ask for children of tables: %w", err)
	}
	return more, nil
}
