package postgres

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// slowWrites is a connection whose first writes take as long as on a busy machine.
type slowWrites struct {
	net.Conn
	left int
}

func (s *slowWrites) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if s.left--; s.left >= 0 {
		time.Sleep(100 * time.Millisecond) // pgconn takes 15 ms for long
	}
	return n, err
}

// TestTakeOver: what the database says after its connection was taken over is read by who took it over, also
// where connecting was slow.
func TestTakeOver(t *testing.T) {
	config, err := pgconn.ParseConfig(testServer.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return &slowWrites{c, 3}, err // the startup message and two of SCRAM
	}
	h, err := takeOver(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Conn.Close()
	h.Conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := h.Conn.Write(appendMessage(nil, 'Q', []byte("SELECT 1"), []byte{0})); err != nil {
		t.Fatal(err)
	}
	in := newWireReader(h.Conn)
	for _, want := range "TDCZ" {
		typ, _, err := in.next(maxMessage)
		if err != nil || typ != byte(want) {
			t.Fatalf("a message of type %q came (%v), not %q", typ, err, want)
		}
	}
}
