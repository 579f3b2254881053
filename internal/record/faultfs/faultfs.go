// Package faultfs opens files that can be watched and made to fail: for tests of what happens when a disk
// does.
package faultfs

import (
	"os"
	"sync"
	"syscall"
)

// File is what a journal needs of its segments.
type File interface {
	Write([]byte) (int, error)
	// Sync puts what was written on the disk: fdatasync(2).
	Sync() error
	Close() error
}

// FS opens files.
type FS interface {
	// Create makes a file that must not exist; Append opens one to write at its end.
	Create(path string) (File, error)
	Append(path string) (File, error)
}

// OS is the file system as it is.
type OS struct{}

// Create makes a file.
func (OS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Append opens a file to write at its end.
func (OS) Append(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

type file struct{ *os.File }

func (f file) Sync() error { return syscall.Fdatasync(int(f.Fd())) }

// Faults is a file system with faults. The functions may be nil; they are called one at a time.
type Faults struct {
	FS
	// Write is called before a write; its error fails it, after the first short bytes were written.
	Write func(path string, b []byte) (short int, err error)
	// Sync is called before a sync, and Synced after one that went well.
	Sync   func(path string) error
	Synced func(path string)

	mu sync.Mutex
}

// Create makes a file with faults.
func (f *Faults) Create(path string) (File, error) { return f.wrap(path)(f.FS.Create(path)) }

// Append opens a file with faults.
func (f *Faults) Append(path string) (File, error) { return f.wrap(path)(f.FS.Append(path)) }

func (f *Faults) wrap(path string) func(File, error) (File, error) {
	return func(inner File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faulty{f, path, inner}, nil
	}
}

type faulty struct {
	fs   *Faults
	path string
	File
}

func (f *faulty) Write(b []byte) (int, error) {
	if f.fs.Write != nil {
		f.fs.mu.Lock()
		short, err := f.fs.Write(f.path, b)
		f.fs.mu.Unlock()
		if err != nil {
			n, _ := f.File.Write(b[:min(short, len(b))])
			return n, err
		}
	}
	return f.File.Write(b)
}

func (f *faulty) Sync() error {
	if f.fs.Sync != nil {
		if err := f.fs.Sync(f.path); err != nil {
			return err
		}
	}
	if err := f.File.Sync(); err != nil {
		return err
	}
	if f.fs.Synced != nil {
		f.fs.mu.Lock()
		f.fs.Synced(f.path)
		f.fs.mu.Unlock()
	}
	return nil
}
