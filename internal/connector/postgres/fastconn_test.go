package postgres

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// fastPair is a connection of a client, made quick, and its other end.
func fastPair(t *testing.T) (*fastConn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f, ok := quick(c).(*fastConn)
	if !ok {
		t.Fatal("a TCP connection was not made quick")
	}
	t.Cleanup(func() { f.Close(); other.Close() })
	return f, other
}

// TestQuickConnectionsAreConnections: everything arrives, waiting, deadlines and closing work as they do on others.
func TestQuickConnectionsAreConnections(t *testing.T) {
	f, other := fastPair(t)
	sent := bytes.Repeat([]byte("0123456789"), 1<<20) // more than the sockets have room for
	got := make(chan []byte)
	go func() {
		b, err := io.ReadAll(other)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	if n, err := f.Write(sent); n != len(sent) || err != nil {
		t.Fatal(n, err)
	}
	f.Conn.(*net.TCPConn).CloseWrite()
	if !bytes.Equal(<-got, sent) {
		t.Error("it came otherwise than it was sent")
	}
	f.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := f.Read(make([]byte, 8)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
		t.Errorf("past the deadline: %d, %v", n, err)
	}
	f.SetReadDeadline(time.Time{})
	go other.Write([]byte("late"))
	b := make([]byte, 8)
	if n, err := f.Read(b); string(b[:n]) != "late" || err != nil {
		t.Errorf("after a deadline: %q, %v", b[:n], err)
	}
	other.Close()
	if n, err := f.Read(b); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
	ended := make(chan error)
	f, other = fastPair(t)
	go func() { _, err := f.Read(b); ended <- err }()
	time.AfterFunc(10*time.Millisecond, func() { f.Close() })
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it waited: %v", err)
	}
	if _, err := f.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("written after it was closed: %v", err)
	}
	other.(*net.TCPConn).SetLinger(0)
	f, other = fastPair(t)
	other.(*net.TCPConn).SetLinger(0)
	other.Close()
	if _, err := f.Read(b); !errors.As(err, new(*net.OpError)) {
		t.Errorf("reset: %v", err)
	}
}
