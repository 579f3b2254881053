package ship

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/internal/pump"
)

// place is where files are shipped to.
type place interface {
	// has says whether there is something under a name.
	has(ctx context.Context, name string) (bool, error)
	// put stores what a file holds from its begin, size bytes of the given SHA-256, under a name that is free.
	put(ctx context.Context, name string, f io.ReadSeeker, size int64, sum [sha256.Size]byte) error
	// read gives what is stored under a name.
	read(ctx context.Context, name string) (io.ReadCloser, error)
	// names are those of everything that was shipped there, in order.
	names(ctx context.Context) ([]string, error)
}

// shipped is what names look like; nothing else is read from a place.
var shipped = regexp.MustCompile(`^(journal-[0-9]{8,19}\.ghj|heads-[0-9]{16}\.jsonl)$`)

// open gives the place of a target. It connects to nothing yet. silence is how long a server may take for the next byte.
func (t *Target) open(silence time.Duration) (place, error) {
	if dir, ok := strings.CutPrefix(t.To, "file:"); ok {
		return folder(dir), nil
	}
	return newBucket(t, silence)
}

// errDiffers is in the chain of an error about a name that holds something else than what was to be shipped.
var errDiffers = errors.New("something else is there already under that name, and nothing is overwritten: give each recordings folder a place of its own, and look into who wrote there")

// deliver stores a file under a name, unless it is there already, and reads it back: only what came back with the same
// SHA-256 was shipped.
func deliver(ctx context.Context, p place, name string, f io.ReadSeeker) (size int64, err error) {
	sum := sha256.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if size, err = io.Copy(sum, reader{ctx, f}); err != nil {
		return 0, err
	}
	want := [sha256.Size]byte(sum.Sum(nil))
	there, err := p.has(ctx, name)
	if err != nil {
		return 0, err
	}
	if !there {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		if err := p.put(ctx, name, f, size, want); err != nil {
			return 0, fmt.Errorf("store %s: %w", name, err)
		}
	}
	got, n, err := sumAt(ctx, p, name)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read %s back: %w", name, err)
	case got == want:
		return size, nil
	case there:
		return 0, fmt.Errorf("%s: %w", name, errDiffers)
	}
	return 0, fmt.Errorf("%s came back as %d bytes with the SHA-256 %s, and %d with %s were sent: the place does not keep what it is given", name, n, hex.EncodeToString(got[:]), size, hex.EncodeToString(want[:]))
}

func sumAt(ctx context.Context, p place, name string) (sum [sha256.Size]byte, n int64, err error) {
	r, err := p.read(ctx, name)
	if err != nil {
		return sum, 0, err
	}
	defer r.Close()
	h := sha256.New()
	n, err = io.Copy(h, reader{ctx, r})
	return [sha256.Size]byte(h.Sum(nil)), n, err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// Fetch copies everything that was shipped to a target into a folder, which must be empty or not there. It gives how many
// files, and of how many bytes.
func Fetch(ctx context.Context, t Target, dir string) (files int, bytes int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, 0, err
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		return 0, 0, errors.Join(err, fmt.Errorf("the folder %s is not empty: name a new one", dir))
	}
	p, err := t.open(silence)
	if err != nil {
		return 0, 0, err
	}
	names, err := p.names(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		n, err := fetch(ctx, p, name, filepath.Join(dir, name))
		if err != nil {
			return files, bytes, fmt.Errorf("fetch %s: %w", name, err)
		}
		files, bytes = files+1, bytes+n
	}
	return files, bytes, nil
}

func fetch(ctx context.Context, p place, name, path string) (n int64, err error) {
	r, err := p.read(ctx, name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.Copy(f, reader{ctx, r})
}

// folder is a place on a file system.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

// same says whether it is another folder by another name.
func (d folder) same(dir string) bool {
	a, errA := os.Stat(string(d))
	b, errB := os.Stat(dir)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func (d folder) has(_ context.Context, name string) (bool, error) {
	_, err := os.Stat(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// put writes beside, and gives the file its name when it is whole and on the disk.
func (d folder) put(ctx context.Context, name string, f io.ReadSeeker, size int64, _ [sha256.Size]byte) (err error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	part, err := os.OpenFile(d.path(name)+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(part, reader{ctx, f}, size)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err == nil {
		err = d.give(part.Name(), d.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(part.Name()))
	}
	return pump.SyncDir(string(d))
}

// give names a file, and does not overwrite one of that name.
func (d folder) give(part, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, part, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	// This file system cannot say so: look, then rename.
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, os.ErrExist)
	}
	return os.Rename(part, path)
}

func (d folder) read(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(d.path(name))
}

func (d folder) names(context.Context) ([]string, error) {
	list, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, one := range list {
		if one.Type().IsRegular() && shipped.MatchString(one.Name()) {
			out = append(out, one.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}
