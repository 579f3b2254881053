package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"gatehouse/internal/record/faultfs"
)

// The format of keys.ghk, the keys of a folder's sessions (docs/recordings.md):
//
//	header: "GHKEYS1\n"
//	slots:  SHA-256 of the session id [32]byte, key [32]byte, CRC-32C of both u32
//
// A slot whose key is zeros is that of a session that was erased. Slots are counted from 0.
const (
	keysName  = "keys.ghk"
	keysMagic = "GHKEYS1\n"
	keySize   = 32
	slotSize  = sha256.Size + keySize + 4
	// sealSize is what stands before a sealed body: its slot and its nonce.
	sealSize  = 4 + nonceSize
	nonceSize = 12
	tagSize   = 16
	// maxKeys bounds how many keys a reader keeps.
	maxKeys = 4096
)

// ErrNoKeys is in the chain of the error where sealed entries cannot be read, since the folder has no keys.
var ErrNoKeys = errors.New("the keys of these recordings are not here: they are in " + keysName + " of the gateway's folder")

// sealer seals the entries of one session: AES-256-GCM with the session's own key, a random nonce, and the session's id
// as what is authenticated beside.
type sealer struct {
	slot uint32
	aead cipher.AEAD
}

func newSealer(slot uint32, key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{slot, aead}, nil
}

// seal encrypts what stands in b from start on, where sealSize bytes before it are left for what it needs.
func (s *sealer) seal(b []byte, start int, id string) []byte {
	head := b[start-sealSize : start]
	binary.BigEndian.PutUint32(head, s.slot)
	rand.Read(head[4:])
	return s.aead.Seal(b[:start], head[4:], b[start:], []byte(id))
}

// open decrypts what seal made of a body, of at least sealSize and tagSize bytes.
func (s *sealer) open(b []byte, id string) ([]byte, error) {
	body, err := s.aead.Open(nil, b[4:sealSize], b[sealSize:], []byte(id))
	if err != nil {
		return nil, errors.New("its body cannot be decrypted: it was changed, or its key was")
	}
	return body, nil
}

// keyFile is the write side of a folder's keys. Its caller is the journal, which holds its lock.
type keyFile struct {
	file  faultfs.File
	next  uint32
	dirty bool // there are keys that are not on the disk
}

// openKeys opens the keys of a folder to add some. What a crash left of a slot is cut off: no entry was sealed with it.
func openKeys(dir string, fs faultfs.FS) (*keyFile, error) {
	path := filepath.Join(dir, keysName)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() < int64(len(keysMagic)) {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
		f, err := fs.Create(path)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write([]byte(keysMagic)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if err := errors.Join(f.Sync(), syncDir(dir)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &keyFile{file: f}, nil
	} else if err != nil {
		return nil, err
	}
	if err := checkKeys(path); err != nil {
		return nil, err
	}
	n := (info.Size() - int64(len(keysMagic))) / slotSize
	if end := int64(len(keysMagic)) + n*slotSize; end < info.Size() {
		if err := os.Truncate(path, end); err != nil {
			return nil, err
		}
	}
	f, err := fs.Append(path)
	if err != nil {
		return nil, err
	}
	return &keyFile{file: f, next: uint32(n)}, nil
}

func checkKeys(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(keysMagic))
	if _, err := io.ReadFull(f, head); err != nil || string(head) != keysMagic {
		return fmt.Errorf("%s is not a file of keys of this version", path)
	}
	return nil
}

// add makes a key for a session.
func (k *keyFile) add(id string) (*sealer, error) {
	var key [keySize]byte
	rand.Read(key[:])
	s, err := newSealer(k.next, key[:])
	if err != nil {
		return nil, err
	}
	return s, k.append(slotOf(sha256.Sum256([]byte(id)), key))
}

// lost keeps the slot of a session whose key a crash took with it, as if it had been erased: its entries were not on the disk
// either when anything was answered.
func (k *keyFile) lost(slot uint32, id string) error {
	for k.next <= slot {
		var of hash
		if k.next == slot {
			of = sha256.Sum256([]byte(id))
		}
		if err := k.append(slotOf(of, [keySize]byte{})); err != nil {
			return err
		}
	}
	return nil
}

func slotOf(session hash, key [keySize]byte) []byte {
	b := append(append(make([]byte, 0, slotSize), session[:]...), key[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (k *keyFile) append(slot []byte) error {
	if n, err := k.file.Write(slot); err != nil || n < len(slot) {
		return errors.Join(err, fmt.Errorf("%d of %d bytes of a key were written", n, len(slot)))
	}
	k.next++
	k.dirty = true
	return nil
}

// take says whether there are keys that are not on the disk; its caller syncs the file.
func (k *keyFile) take() bool {
	was := k.dirty
	k.dirty = false
	return was
}

// keyring is the read side of a folder's keys. Safe for concurrent use.
type keyring struct {
	dir    string
	absent bool // there are none: sealed entries are as if they had been erased
	mu     sync.Mutex
	known  map[uint32]*sealer // nil: the session was erased
}

func newKeyring(dir string) *keyring { return &keyring{dir: dir, known: map[uint32]*sealer{}} }

// find is the key in a slot; nil where the session was erased.
func (k *keyring) find(slot uint32, id string) (*sealer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.known[slot]; ok {
		return s, nil
	}
	b, err := readSlot(k.dir, slot)
	if errors.Is(err, io.EOF) {
		return nil, nil // a crash took it
	} else if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256([]byte(id)); sum != hash(b[:sha256.Size]) || crc32.Checksum(b[:slotSize-4], castagnoli) != binary.BigEndian.Uint32(b[slotSize-4:]) {
		return nil, fmt.Errorf("slot %d of %s is not the key of %s", slot, keysName, id)
	}
	var s *sealer
	if key := b[sha256.Size : sha256.Size+keySize]; hash(key) != (hash{}) {
		if s, err = newSealer(slot, key); err != nil {
			return nil, err
		}
	}
	if len(k.known) >= maxKeys {
		clear(k.known)
	}
	k.known[slot] = s
	return s, nil
}

func readSlot(dir string, slot uint32) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, keysName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoKeys
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, slotSize)
	if _, err := f.ReadAt(b, int64(len(keysMagic))+int64(slot)*slotSize); err != nil {
		return nil, fmt.Errorf("slot %d of %s cannot be read: %w", slot, keysName, err)
	}
	return b, nil
}

// unseal decrypts a sealed body. erased says that its key was destroyed.
func (k *keyring) unseal(b []byte, id string) (body []byte, erased bool, err error) {
	if k == nil {
		return nil, false, ErrNoKeys
	}
	if k.absent {
		return nil, true, nil
	}
	s, err := k.find(binary.BigEndian.Uint32(b), id)
	if err != nil || s == nil {
		return nil, s == nil && err == nil, err
	}
	body, err = s.open(b, id)
	return body, false, err
}

// Erase destroys the key of a session: what it says can never be read again, here or in any copy of its segments, while
// its place in the chains still proves that it was there. The caller makes sure that the session has ended.
func Erase(dir, session string) error {
	path := filepath.Join(dir, keysName)
	if err := checkKeys(path); errors.Is(err, os.ErrNotExist) {
		return ErrNoKeys
	} else if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	want := sha256.Sum256([]byte(session))
	at := int64(len(keysMagic))
	b := make([]byte, slotSize*1024)
	found := false
	for {
		n, err := f.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for i := 0; i+slotSize <= n; i += slotSize {
			if hash(b[i:i+sha256.Size]) != want {
				continue
			}
			found = true
			if _, err := f.WriteAt(slotOf(want, [keySize]byte{}), at+int64(i)); err != nil {
				return err
			}
		}
		if n < len(b) {
			break
		}
		at += int64(n)
	}
	if !found {
		return fmt.Errorf("%w: %s", ErrNoSession, session)
	}
	return f.Sync()
}
