package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/internal/gate"
)

// syslog sends messages of RFC 5424, their octets counted (RFC 6587, 3.4.1), over TCP or TLS (RFC 5425). Receivers do not
// answer: what their machine has acknowledged counts as sent.
type syslog struct {
	target  Target
	silence time.Duration

	conn   net.Conn
	tcp    *net.TCPConn  // below conn
	broken chan struct{} // closed when the other side has ended
	host   string
}

func (s *syslog) answers() bool { return false }

func (s *syslog) dial(ctx context.Context) error {
	address, encrypted, err := s.target.address()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.silence)
	defer cancel()
	plain, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := plain
	if encrypted {
		c, err := s.target.tls()
		if err != nil {
			return errors.Join(err, plain.Close())
		}
		c.ServerName, _, _ = net.SplitHostPort(address)
		over := tls.Client(plain, c)
		if err := over.HandshakeContext(ctx); err != nil {
			return errors.Join(err, plain.Close())
		}
		conn = over
	}
	s.conn, s.tcp, s.broken = conn, plain.(*net.TCPConn), make(chan struct{})
	if s.host, err = os.Hostname(); err != nil || s.host == "" {
		s.host = "-"
	}
	go func(c net.Conn, broken chan struct{}) {
		io.Copy(io.Discard, c) // receivers say nothing; that they have ended shows here
		close(broken)
	}(conn, s.broken)
	return nil
}

// tls is how TLS is spoken with a receiver.
func (t *Target) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if !t.CA.IsZero() {
		pem, err := os.ReadFile(t.CA.String())
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: there is no certificate in %s", t.CA)
		}
	}
	if !t.Cert.IsZero() {
		pair, err := tls.LoadX509KeyPair(t.Cert.String(), t.Key.String())
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s *syslog) send(ctx context.Context, batch []message) (int, error) {
	if s.conn == nil {
		if err := s.dial(ctx); err != nil {
			return 0, err
		}
	}
	stop := context.AfterFunc(ctx, func() { s.tcp.SetWriteDeadline(time.Now()) })
	defer stop()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.silence)); err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(s.conn, 64<<10)
	var b []byte
	for i := range batch {
		b = syslogMessageOf(b[:0], s.host, &batch[i])
		w.Write(strconv.AppendInt(nil, int64(len(b)), 10))
		w.WriteByte(' ')
		w.Write(b)
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return 0, s.acknowledged(ctx)
}

// facility is log audit (RFC 5424, 6.2.1).
const facility = 13

// syslogMessageOf appends an event as a message of RFC 5424.
func syslogMessageOf(b []byte, host string, m *message) []byte {
	severity := 6 // informational
	if m.Kind == gate.Alerted {
		severity = 1
	}
	b = fmt.Appendf(b, "<%d>1 %s %s gatehouse %d %s - ", facility*8+severity, m.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), host, os.Getpid(), m.Kind)
	return append(b, m.text...)
}

// acknowledged is back when the other side's machine has acknowledged everything (SIOCOUTQ is 0), and had not ended before.
func (s *syslog) acknowledged(ctx context.Context) error {
	raw, err := s.tcp.SyscallConn()
	if err != nil {
		return err
	}
	for end := time.Now().Add(s.silence); ; {
		left, failed := 0, error(nil)
		if err := raw.Control(func(fd uintptr) { left, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || failed != nil {
			return errors.Join(err, failed)
		}
		select {
		case <-s.broken:
			return errors.New("the receiver has ended the connection")
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the receiver takes nothing: %d bytes wait", left)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-s.broken:
		case <-ctx.Done():
		}
	}
}

// close ends the connection, and waits until the receiver has read all of it and ends it too.
func (s *syslog) close() error {
	if s.conn == nil {
		return nil
	}
	conn, broken := s.conn, s.broken
	s.conn, s.tcp, s.broken = nil, nil, nil
	defer conn.Close()
	select {
	case <-broken:
		return errors.New("the receiver has ended the connection")
	default:
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	select {
	case <-broken:
		return nil
	case <-time.After(min(s.silence, 5*time.Second)):
		return errors.New("the receiver did not end the connection")
	}
}
