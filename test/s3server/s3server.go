// Package s3server runs a real S3 server for tests: versitygw over a folder, on loopback.
//
// It is built once from its own module, in the folder beside, and kept in the user's cache; building it takes a minute.
package s3server

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"gatehouse/internal/record/recordtest"
)

// Server is a server with a folder of its own.
type Server struct {
	Address    string // HOST:PORT, the same after a restart
	Access     string
	Secret     string
	Dir        string // of the buckets
	meta, vers string
	bin        string
	cmd        *exec.Cmd
	exited     chan struct{}
	log        bytes.Buffer
}

// Endpoint is its URL.
func (s *Server) Endpoint() string { return "http://" + s.Address }

var build = sync.OnceValues(func() (string, error) {
	_, self, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(self), "versitygw")
	sum, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	version := sha256.Sum256(sum)
	dir := filepath.Join(cache, "gatehouse-test")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "versitygw-"+hex.EncodeToString(version[:8]))
	lock, err := os.OpenFile(bin+".lock", os.O_CREATE|os.O_RDWR, 0o600) // test binaries that run side by side build once
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", bin+".new", "github.com/versity/versitygw/cmd/versitygw")
	cmd.Dir, cmd.Env = module, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the S3 server cannot be built: %w\n%s", err, out)
	}
	return bin, os.Rename(bin+".new", bin)
})

// New makes a server with the bucket recordings, and starts it. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	s := &Server{Access: "test" + rand.Text()[:8], Secret: rand.Text(), Dir: filepath.Join(root, "data"), meta: filepath.Join(root, "meta"), vers: filepath.Join(root, "versions"), bin: bin}
	for _, dir := range []string{s.Dir, s.meta, s.vers} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Address = recordtest.Address(t)
	t.Cleanup(s.Stop)
	s.Start(t)
	s.Bucket(t, "recordings", false)
	return s
}

// Start starts it again, through a command where one is given (prlimit).
func (s *Server) Start(t testing.TB, wrap ...string) {
	t.Helper()
	args := append(append([]string{}, wrap...), s.bin, "--port", s.Address, "--keep-alive", "posix", "--sidecar", s.meta, "--versioning-dir", s.vers, s.Dir)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.Access, "ROOT_SECRET_KEY="+s.Secret)
	s.log.Reset()
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that started the process
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		cmd.Wait()
		close(exited)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start the S3 server: %v", err)
	}
	s.cmd, s.exited = cmd, exited
	for end := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("tcp", s.Address)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("the S3 server ended:\n%s", s.log.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatal("the S3 server does not listen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop ends it at once.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// Signal sends a signal: SIGSTOP makes it silent, SIGCONT lets it go on.
func (s *Server) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Client talks to it as its root.
func (s *Server) Client(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(s.Address, &minio.Options{Creds: credentials.NewStaticV4(s.Access, s.Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Bucket makes one; locked with object lock.
func (s *Server) Bucket(t testing.TB, name string, locked bool) {
	t.Helper()
	if err := s.Client(t).MakeBucket(t.Context(), name, minio.MakeBucketOptions{Region: "us-east-1", ObjectLocking: locked}); err != nil {
		t.Fatalf("make the bucket %s: %v\n%s", name, err, s.log.String())
	}
}
