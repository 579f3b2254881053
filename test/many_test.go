package test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestManyAtOnce has many clients open their session at the database at the same moment: on a busy machine a
// sign-in there is slow, and none of its bytes may be lost to the session that follows it.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, options{})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for range 3 {
		var conns []*pgx.Conn
		for range 40 {
			conns = append(conns, g.dial(func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol }))
		}
		var all sync.WaitGroup
		for _, conn := range conns {
			all.Go(func() {
				defer conn.Close(ctx)
				var one int
				for range 3 {
					if err := conn.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
}
