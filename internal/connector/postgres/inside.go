package postgres

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/identity"
)

// inside is one end of a connection within the gateway. It has the address of who it is for.
type inside struct {
	net.Conn
	address clientAddress
}

func (i inside) RemoteAddr() net.Addr { return i.address }

type clientAddress string

func (clientAddress) Network() string  { return "tcp" }
func (a clientAddress) String() string { return string(a) }

// dialInside opens a session for somebody who is known already: it is decided, masked and recorded like any other. What
// needs an approval is refused.
func (s *server) dialInside(ctx context.Context, who identity.Identity, client, connection, application string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig("host=gateway port=5432 sslmode=disable user=known password=none")
	if err != nil {
		return nil, err
	}
	config.Database, config.RuntimeParams, config.Fallbacks, config.TLSConfig = connection, map[string]string{"application_name": application}, nil, nil
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"gateway"}, nil }
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		theirs, ours := net.Pipe()
		s.accept(context.WithoutCancel(ctx), inside{ours, clientAddress(client)}, &who)
		return theirs, nil
	}
	return pgconn.ConnectConfig(ctx, config)
}
