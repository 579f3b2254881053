package postgres

import (
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// fastConn is a TCP connection whose reads and writes do not tell Go's scheduler that they are system calls: they
// never block, since the socket does not, and to tell it costs more than some of them take. (Where the kernel gives the
// processor to whom a write has woken, the scheduler would also start another thread meanwhile.) Waiting is the
// scheduler's, as always.
type fastConn struct {
	net.Conn
	raw syscall.RawConn
	in  transfer
	out transfer
}

// transfer is a read or a write that is under way.
type transfer struct {
	mu    sync.Mutex
	try   func(fd uintptr) bool
	b     []byte
	n     int
	errno syscall.Errno
}

// quick makes a connection fast; one without a socket of its own stays as it is.
func quick(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return c
	}
	f := &fastConn{Conn: c, raw: raw}
	f.in.try = f.in.trying(syscall.SYS_READ)
	f.out.try = f.out.trying(syscall.SYS_WRITE)
	return f
}

// trying makes one call; it gives false where the socket is not ready.
func (t *transfer) trying(call uintptr) func(fd uintptr) bool {
	return func(fd uintptr) bool {
		for {
			n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.b))), uintptr(len(t.b)))
			switch errno {
			case syscall.EINTR:
				continue
			case syscall.EAGAIN:
				return false
			case 0:
				t.n = int(n)
			}
			t.errno = errno
			return true
		}
	}
}

// SyscallConn is the socket's.
func (c *fastConn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// Read is net.Conn's.
func (c *fastConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b, t.n, t.errno = b, 0, 0
	err := c.raw.Read(t.try)
	t.b = nil
	switch {
	case err != nil:
		return 0, err
	case t.errno != 0:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: t.errno}
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// maxWrite bounds one call: the processor is not given up in it.
const maxWrite = 64 << 10

// Write is net.Conn's.
func (c *fastConn) Write(b []byte) (int, error) {
	t := &c.out
	t.mu.Lock()
	defer t.mu.Unlock()
	done := 0
	for done < len(b) {
		t.b, t.n, t.errno = b[done:min(len(b), done+maxWrite)], 0, 0
		err := c.raw.Write(t.try)
		t.b = nil
		if err == nil && t.errno != 0 {
			err = &net.OpError{Op: "write", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: t.errno}
		}
		if err != nil {
			return done, err
		}
		if t.n == 0 {
			return done, io.ErrUnexpectedEOF
		}
		done += t.n
	}
	return done, nil
}
