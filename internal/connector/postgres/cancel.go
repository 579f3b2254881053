package postgres

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"sync"
)

// cancelKeys are the keys that clients were given to cancel their statements. The upstream's own keys
// never leave the gateway.
type cancelKeys struct {
	mu   sync.Mutex
	keys map[uint32]cancelKey
}

type cancelKey struct {
	secret  uint32
	session *session
}

// mint gives a session a process number and a secret.
func (c *cancelKeys) mint(s *session) (pid, secret uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var b [8]byte
		rand.Read(b[:])
		pid, secret = binary.BigEndian.Uint32(b[:4])&0x7fffffff, binary.BigEndian.Uint32(b[4:])
		if _, taken := c.keys[pid]; !taken && pid != 0 {
			c.keys[pid] = cancelKey{secret, s}
			return pid, secret
		}
	}
}

func (c *cancelKeys) forget(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, pid)
}

// cancel does what a CancelRequest asks for. Like PostgreSQL it says nothing about whether the key fit.
func (c *cancelKeys) cancel(body []byte) {
	if len(body) != 8 {
		return
	}
	c.mu.Lock()
	key, ok := c.keys[binary.BigEndian.Uint32(body[:4])]
	c.mu.Unlock()
	var want [4]byte
	binary.BigEndian.PutUint32(want[:], key.secret)
	if ok && subtle.ConstantTimeCompare(want[:], body[4:]) == 1 {
		key.session.cancel()
	}
}
