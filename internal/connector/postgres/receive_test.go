package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestLargeRow: a row that is larger than a message may be ends the session with an error that says so.
func TestLargeRow(t *testing.T) {
	gatewayRole(t)
	database(t, "large_row", "CREATE TABLE a (id int)")
	for _, text := range []string{"SELECT repeat('x', 70000000)", "SELECT g, repeat('x', 70000000 * (g/3)) FROM generate_series(1, 3) g"} {
		conn := dialPGX(t, before(t, "large_row", `@id("read") permit (principal, action == Action::"read", resource);`, ""), pgx.QueryExecModeSimpleProtocol)
		if _, err := conn.PgConn().Exec(context.Background(), text).ReadAll(); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") || !strings.Contains(err.Error(), "54000") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
