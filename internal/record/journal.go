package record

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/s2"

	"gatehouse/internal/gate"
	"gatehouse/internal/record/faultfs"
)

// Options say where and how a journal is kept.
type Options struct {
	Dir string
	// FS opens the segments; the operating system's by default.
	FS faultfs.FS
	// SyncInterval is how long what is not durable may be in memory of the machine only; 10 ms by default.
	SyncInterval time.Duration
	// SegmentSize is when a new segment begins, in bytes; 256 MiB by default.
	SegmentSize int64
	// SegmentAge is how old a segment gets before the next one begins, also where nothing is written meanwhile; 0: that does
	// not matter.
	SegmentAge time.Duration
	// Signer signs the node's head at intervals (10 s by default), and when the journal is closed; nil: it is not signed.
	Signer       ed25519.PrivateKey
	SignInterval time.Duration
	Now          func() time.Time
	Log          *slog.Logger
}

// Journal is the append side. Safe for concurrent use. It implements gate.Recorder.
type Journal struct {
	o       Options
	lock    *os.File
	buffers sync.Pool

	mu      sync.Mutex // guards the file's end, and with it the chains
	file    faultfs.File
	keys    *keyFile
	seq     uint64
	size    int64
	begun   time.Time // when the segment's first entry was written; of what was there at the start, when that was
	node    hash
	written uint64         // bytes over all segments
	synced  uint64         // of them, on the disk
	ended   []faultfs.File // segments that ended; a sync of one may still run
	failed  error

	syncing sync.Mutex // one sync at a time, taken before mu; who waits for it shares its result

	signing sync.Mutex // guards heads and signed
	heads   faultfs.File
	signed  hash // the last head that was signed

	dirty   chan struct{}
	closing chan struct{}
	done    sync.WaitGroup
}

// Open opens the journal of a folder, for this process alone. What a crash left is recovered: a torn tail is
// moved aside, and sessions that were open are closed as interrupted.
func Open(o Options) (*Journal, error) {
	if o.FS == nil {
		o.FS = faultfs.OS{}
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = 10 * time.Millisecond
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 256 << 20
	}
	if o.SignInterval == 0 {
		o.SignInterval = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fail := func(err error) (*Journal, error) {
		return nil, fmt.Errorf("the recordings folder %s cannot be used: %w: without recordings nothing is forwarded, so make it writable or name another one", o.Dir, err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fail(err)
	}
	lock, err := os.OpenFile(filepath.Join(o.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fail(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("the recordings folder %s is used by another gateway: give each its own", o.Dir)
	}
	j := &Journal{o: o, lock: lock, dirty: make(chan struct{}, 1), closing: make(chan struct{})}
	j.buffers.New = func() any { b := make([]byte, 0, 8<<10); return &b }
	if err := j.recover(); err != nil {
		lock.Close()
		return fail(err)
	}
	j.done.Go(j.syncer)
	if o.SegmentAge > 0 {
		j.done.Go(j.ager)
	}
	if o.Signer != nil {
		if err := j.sign(); err != nil { // the sessions that a crash ended, too
			return nil, errors.Join(err, j.Close())
		}
		j.done.Go(j.signer)
	}
	return j, nil
}

func segmentPath(dir string, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("journal-%08d.ghj", seq))
}

// create begins a segment. The caller holds mu, or is alone.
func (j *Journal) create(seq uint64) error {
	f, err := j.o.FS.Create(segmentPath(j.o.Dir, seq))
	if err != nil {
		return err
	}
	header := append([]byte(magic), make([]byte, 8)...)
	binary.BigEndian.PutUint64(header[len(magic):], seq)
	header = append(header, j.node[:]...)
	if _, err := f.Write(header); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := syncDir(j.o.Dir); err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.seq, j.size = f, seq, int64(len(header))
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// rotate ends a segment and begins the next. The caller holds mu.
func (j *Journal) rotate() error {
	if j.keys.take() {
		if err := j.keys.file.Sync(); err != nil {
			return err
		}
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.synced = j.written
	j.ended = append(j.ended, j.file)
	return j.create(j.seq + 1)
}

// aged says whether a segment is as old as it gets, and holds anything. The caller holds mu.
func (j *Journal) aged() bool {
	return j.o.SegmentAge > 0 && j.size > int64(headerSize) && j.o.Now().Sub(j.begun) >= j.o.SegmentAge
}

// ager ends a segment that is old enough where nothing is written to it any more.
func (j *Journal) ager() {
	tick := time.NewTicker(max(j.o.SegmentAge/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-j.closing:
			return
		}
		j.mu.Lock()
		if j.failed == nil && j.aged() {
			if err := j.rotate(); err != nil {
				j.poison(err)
			}
		}
		j.mu.Unlock()
	}
}

// poison makes every later append fail. The caller holds mu.
func (j *Journal) poison(err error) error {
	if j.failed == nil {
		j.failed = fmt.Errorf("record: the journal in %s cannot be written any more: %w: free or repair the disk and restart the gateway", j.o.Dir, err)
		j.o.Log.Error("the recordings cannot be written; every request is refused until a restart", "dir", j.o.Dir, "error", err)
	}
	return j.failed
}

// chain is one session's place in the journal.
type chain struct {
	journal *Journal
	id      string
	seal    *sealer // nil: its key is gone
	number  uint64
	head    hash
	end     uint64 // of its last entry, in bytes over all segments
	closed  bool
}

// append writes one entry. When it returns nil the entry is in the file, and with durable on the disk.
func (j *Journal) append(c *chain, durable, node, last bool, events []gate.Event) error {
	buffer := j.buffers.Get().(*[]byte)
	b, err := j.frame((*buffer)[:0], c, node, events)
	defer func() {
		if b != nil {
			*buffer = b
		}
		j.buffers.Put(buffer)
	}()
	if err != nil {
		return err
	}
	target, err := j.write(c, b, node, last)
	if err != nil {
		return err
	}
	if durable {
		return j.sync(target)
	}
	select {
	case j.dirty <- struct{}{}:
	default:
	}
	return nil
}

// write puts an entry at the end of the file, and of its session's chain. target is where it ends, in bytes over all
// segments.
func (j *Journal) write(c *chain, b []byte, node, last bool) (target uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return 0, j.failed
	}
	if c.closed {
		return 0, errors.New("record: the recording of the session is closed")
	}
	if j.size > int64(headerSize) && j.size+int64(len(b)) > j.o.SegmentSize || j.aged() {
		if err := j.rotate(); err != nil {
			return 0, j.poison(err)
		}
	}
	if j.size == int64(headerSize) {
		j.begun = j.o.Now()
	}
	sum := j.chain(b, c, node)
	if n, err := j.file.Write(b); err != nil || n < len(b) {
		return 0, j.poison(errors.Join(err, fmt.Errorf("%d of %d bytes were written", n, len(b))))
	}
	j.size += int64(len(b))
	j.written += uint64(len(b))
	c.number++
	c.head, c.end, c.closed = sum, j.written, last
	if node {
		j.node = advance(j.node, sum)
	}
	return j.written, nil
}

// frame encodes an entry of a session, but for what chain fills in.
func (j *Journal) frame(b []byte, c *chain, node bool, events []gate.Event) ([]byte, error) {
	id := c.id
	var flags byte
	if node {
		flags |= flagNode
	}
	if c.seal != nil {
		flags |= flagSealed
	}
	b = append(b, blank[:frameSize]...)
	b = append(b, flags, byte(len(id)))
	b = append(b, id...)
	b = append(b, blank[:16+sha256.Size]...)
	if node {
		b = append(b, blank[:sha256.Size]...)
	}
	if c.seal != nil {
		b = append(b, blank[:sealSize]...)
	}
	start := len(b)
	b, err := encodeEvents(b, start, events)
	if err != nil {
		return nil, err
	}
	if body := b[start:]; len(body) >= compressFrom {
		dst := j.buffers.Get().(*[]byte)
		defer j.buffers.Put(dst)
		if n := s2.MaxEncodedLen(len(body)); n > cap(*dst) {
			*dst = make([]byte, 0, n)
		}
		if small := compress(*dst, body); small != nil {
			b = append(b[:start], small...)
			b[frameSize] |= flagS2
		}
	}
	if c.seal != nil {
		b = c.seal.seal(b, start, id)
	}
	return append(b, blank[:sha256.Size]...), nil
}

// blank is what chain fills in.
var blank [64]byte

// chain makes an encoded entry the next of its session. The caller holds mu.
func (j *Journal) chain(b []byte, c *chain, node bool) hash {
	rest := b[frameSize+2+len(c.id):]
	binary.BigEndian.PutUint64(rest, c.number+1)
	binary.BigEndian.PutUint64(rest[8:], uint64(j.o.Now().UnixMicro()))
	rest = rest[16+copy(rest[16:], c.head[:]):]
	if node {
		copy(rest, j.node[:])
	}
	end := len(b) - sha256.Size
	sum := sha256.Sum256(b[frameSize:end])
	copy(b[end:], sum[:])
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameSize))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[frameSize:], castagnoli))
	return sum
}

// sync puts the first target bytes on the disk. Callers at the same time share a sync, and appends go on
// meanwhile.
func (j *Journal) sync(target uint64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	file, written, synced, failed := j.file, j.written, j.synced, j.failed
	keys := synced < target && failed == nil && j.keys.take()
	j.mu.Unlock()
	switch {
	case synced >= target:
		return nil
	case failed != nil:
		return failed
	}
	var err error
	if keys { // an entry is of no use without its key: that is on the disk before it
		err = j.keys.file.Sync()
	}
	if err == nil {
		err = file.Sync()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		// What a failed sync left in memory is lost to the next one: it is not tried again.
		return j.poison(err)
	}
	j.synced = max(j.synced, written)
	for _, f := range j.ended { // no sync runs on them any more
		err = errors.Join(err, f.Close())
	}
	j.ended = nil
	if err != nil {
		return j.poison(err)
	}
	return nil
}

// syncer syncs what was not durable, within the interval.
func (j *Journal) syncer() {
	for {
		select {
		case <-j.dirty:
		case <-j.closing:
			return
		}
		select {
		case <-time.After(j.o.SyncInterval):
		case <-j.closing:
			return
		}
		j.mu.Lock()
		target := j.written
		j.mu.Unlock()
		j.sync(target) // an error has poisoned the journal
	}
}

// Close syncs and closes the journal. Open sessions stay open in it.
func (j *Journal) Close() error {
	close(j.closing)
	j.done.Wait()
	j.mu.Lock()
	target, failed := j.written, j.failed
	j.mu.Unlock()
	var err error
	if failed == nil {
		if err = j.sync(target); err == nil {
			err = j.sign()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil {
		j.failed = errors.New("record: the journal is closed")
	}
	files := append(j.ended, j.file, j.keys.file)
	if j.heads != nil {
		files = append(files, j.heads)
	}
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return errors.Join(err, j.lock.Close())
}

// Open begins the recording of a session.
func (j *Journal) Open(info gate.SessionInfo) (gate.Recording, error) {
	if info.ID == "" || len(info.ID) > 255 {
		return nil, errors.New("record: a session needs an id of at most 255 bytes")
	}
	r := &recording{chain: chain{journal: j, id: info.ID}}
	if err := j.key(&r.chain); err != nil {
		return nil, err
	}
	if err := j.append(&r.chain, false, true, false, []gate.Event{{Kind: gate.SessionOpened, Body: info}}); err != nil {
		return nil, err
	}
	return r, nil
}

// key makes the key of a session.
func (j *Journal) key(c *chain) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return j.failed
	}
	if c.seal, err = j.keys.add(c.id); err != nil {
		return j.poison(err)
	}
	return nil
}

// recording is the append side of one session.
type recording struct{ chain chain }

func (r *recording) Append(durable bool, events ...gate.Event) error {
	if len(events) == 0 {
		return nil
	}
	return r.chain.journal.append(&r.chain, durable, false, false, events)
}

func (r *recording) Sync() error {
	j := r.chain.journal
	j.mu.Lock()
	target := r.chain.end
	j.mu.Unlock()
	return j.sync(target)
}

func (r *recording) Close(end gate.SessionEnd) error {
	return r.chain.journal.append(&r.chain, false, true, true, []gate.Event{{Kind: gate.SessionClosed, Body: end}})
}
