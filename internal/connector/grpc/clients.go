package grpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc/credentials"
)

// clients is how clients are let in: with TLS; from this machine, where that is wanted, without it too. A connection is
// told apart by its first byte, which of a TLS handshake is 22 (RFC 8446 section 5.1).
type clients struct {
	credentials.TransportCredentials
	plaintext bool
}

func newClients(c *tls.Config, plaintext bool) credentials.TransportCredentials {
	return &clients{credentials.NewTLS(c), plaintext}
}

// withoutTLS is what is known of a client that speaks without TLS.
type withoutTLS struct{ credentials.CommonAuthInfo }

func (withoutTLS) AuthType() string { return "plaintext" }

const handshakeTime = 10 * time.Second // for all that is sent before the first call; the server sees to it

var errPlaintext = errors.New("a client speaks without TLS")

func (c *clients) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if !c.plaintext || !onLoopback(conn) {
		return c.TransportCredentials.ServerHandshake(conn)
	}
	var first [1]byte
	if _, err := conn.Read(first[:]); err != nil {
		return nil, nil, err
	}
	again := &begun{Conn: conn, first: bytes.NewReader(first[:])}
	if first[0] == 22 {
		return c.TransportCredentials.ServerHandshake(again)
	}
	return again, withoutTLS{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
}

func (c *clients) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errPlaintext
}

func (c *clients) Clone() credentials.TransportCredentials {
	return &clients{c.TransportCredentials.Clone(), c.plaintext}
}

// onLoopback says whether both ends of a connection are on this machine.
func onLoopback(c net.Conn) bool {
	for _, a := range []net.Addr{c.LocalAddr(), c.RemoteAddr()} {
		p, err := netip.ParseAddrPort(a.String())
		if err != nil || !p.Addr().Unmap().IsLoopback() {
			return false
		}
	}
	return true
}

// begun is a connection of which the first byte was read.
type begun struct {
	net.Conn
	first *bytes.Reader
}

func (c *begun) Read(p []byte) (int, error) {
	if c.first.Len() > 0 {
		return c.first.Read(p)
	}
	return c.Conn.Read(p)
}
