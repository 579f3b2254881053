// Package cluster runs a private PostgreSQL server in a folder: for the demo and for tests that need a real
// database. It listens on loopback only, asks every role for its password (SCRAM), and ends with its owner.
//
// It must never touch a server that it did not start.
package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/selfsigned"
)

// Options say where and how a cluster runs.
type Options struct {
	// Dir is the folder of everything: data, socket, log. It is made; it must not hold a cluster.
	Dir string
	// Port is the TCP port on 127.0.0.1; 0 takes a free one.
	Port int
	// Settings are additional server settings.
	Settings map[string]string
	// TLS gives the server a certificate of its own authority (see Cluster.CA).
	TLS bool
	// Programs is the folder with initdb and postgres; "" takes what Programs finds.
	Programs string
	// Ephemeral leaves out what protects data against a crash of the machine.
	Ephemeral bool
}

// Cluster is a running server.
type Cluster struct {
	Dir      string
	Port     int
	Password string // of the superuser postgres
	// CA is the file with the authority of the server's certificate; "" without TLS.
	CA string

	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

// ErrMissing is returned where no PostgreSQL server is installed.
var ErrMissing = errors.New("PostgreSQL server programs (initdb, postgres) were not found on PATH or in /usr/lib/postgresql: install the package postgresql (Debian: apt-get install postgresql), version 14 or newer")

// ErrUnreachable is returned where the user that the server runs as cannot enter the folder.
var ErrUnreachable = errors.New("the user that PostgreSQL runs as cannot enter the folder")

// Programs finds the folder with initdb and postgres: the one that the environment names, on PATH, or Debian's.
func Programs() (string, error) {
	if dir := os.Getenv("GATEHOUSE_POSTGRES_PROGRAMS"); dir != "" {
		return dir, nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		if resolved, err := filepath.EvalSymlinks(p); err == nil {
			p = resolved
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(p), "postgres")); err == nil {
			return filepath.Dir(p), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) == 0 {
		return "", ErrMissing
	}
	return filepath.Dir(found[0]), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// Start makes a cluster and waits until it answers. As root it runs as the user postgres, or nobody:
// PostgreSQL refuses to run as root.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	programs := o.Programs
	if programs == "" {
		var err error
		if programs, err = Programs(); err != nil {
			return nil, err
		}
	}
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := reachable(o.Dir, cred); err != nil {
		return nil, err
	}
	c := &Cluster{Dir: o.Dir, Port: o.Port, Password: rand.Text(), exited: make(chan struct{})}
	if c.Port == 0 {
		if c.Port, err = freePort(); err != nil {
			return nil, err
		}
	}
	if err := c.initialize(ctx, programs, cred, o); err != nil {
		return nil, err
	}
	if err := c.start(programs, cred); err != nil {
		return nil, err
	}
	if err := c.wait(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// credential is who the server runs as: nil for ourselves.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: run this as an ordinary user")
}

// reachable gives the folder to the server's user, and says which folder above it is closed to that user.
func reachable(dir string, cred *syscall.Credential) error {
	if cred == nil {
		return nil
	}
	if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
		return err
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && info.Mode().Perm()&0o001 == 0 && st.Uid != cred.Uid && !(st.Gid == cred.Gid && info.Mode().Perm()&0o010 != 0) {
			return fmt.Errorf("%w %s: choose a data folder elsewhere (for example below /tmp or /var/lib), or run as an ordinary user", ErrUnreachable, up)
		}
		if up == filepath.Dir(up) {
			return nil
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (c *Cluster) data() string { return filepath.Join(c.Dir, "data") }

// LogFile is the server's own log.
func (c *Cluster) LogFile() string { return filepath.Join(c.Dir, "postgresql.log") }

func (c *Cluster) initialize(ctx context.Context, programs string, cred *syscall.Credential, o Options) error {
	passwords := filepath.Join(c.Dir, "password")
	if err := c.write(passwords, []byte(c.Password+"\n"), cred); err != nil {
		return err
	}
	defer os.Remove(passwords)
	args := []string{"-D", c.data(), "-U", "postgres", "-A", "scram-sha-256", "--pwfile", passwords, "-E", "UTF8", "--locale", "C", "-N"}
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "initdb"), args...)
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb in %s: %w: %s", c.Dir, err, lastLine(out))
	}
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(c.Port), "unix_socket_directories": "",
		"max_connections": "100", "shared_buffers": "64MB", "log_timezone": "UTC", "timezone": "UTC",
		"password_encryption": "scram-sha-256",
	}
	if o.Ephemeral {
		settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"] = "off", "off", "off"
	}
	if o.TLS {
		if err := c.certificate(cred); err != nil {
			return err
		}
		settings["ssl"] = "on"
	}
	for k, v := range o.Settings {
		settings[k] = v
	}
	var b strings.Builder
	for k, v := range settings {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(v, "'", "''"))
	}
	return c.write(filepath.Join(c.data(), "postgresql.auto.conf"), []byte(b.String()), cred)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func (c *Cluster) write(path string, b []byte, cred *syscall.Credential) error {
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return err
	}
	if cred == nil {
		return nil
	}
	return os.Chown(path, int(cred.Uid), int(cred.Gid))
}

func (c *Cluster) certificate(cred *syscall.Credential) error {
	cert, key, err := selfsigned.New("localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	c.CA = filepath.Join(c.Dir, "ca.crt")
	return errors.Join(
		c.write(filepath.Join(c.data(), "server.crt"), cert, cred),
		c.write(filepath.Join(c.data(), "server.key"), key, cred),
		c.write(c.CA, cert, nil),
	)
}

func (c *Cluster) start(programs string, cred *syscall.Credential) error {
	logFile, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c.cmd = exec.Command(filepath.Join(programs, "postgres"), "-D", c.data())
	c.cmd.Dir = c.Dir
	c.cmd.Stdout, c.cmd.Stderr = logFile, logFile
	// Its own process group, so that a Ctrl-C reaches its owner first; it ends when its owner dies.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that started the process.
		runtime.LockOSThread()
		defer logFile.Close()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	return nil
}

func (c *Cluster) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.AdminURL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.exited:
			return fmt.Errorf("PostgreSQL did not start (%v); its log is %s", c.err, c.LogFile())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer; its log is %s: %w", c.LogFile(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// URL is where a role finds a database of the cluster.
func (c *Cluster) URL(role, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: fmt.Sprintf("127.0.0.1:%d", c.Port), Path: database}
	if password == "" {
		u.User = url.User(role)
	}
	u.RawQuery = "sslmode=disable"
	if c.CA != "" {
		u.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {c.CA}}.Encode()
	}
	return u.String()
}

// AdminURL is where the superuser finds a database.
func (c *Cluster) AdminURL(database string) string { return c.URL("postgres", c.Password, database) }

// Stop ends the server: fast, without waiting for its clients.
func (c *Cluster) Stop() error {
	c.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second):
		c.cmd.Process.Signal(syscall.SIGQUIT)
		<-c.exited
	}
	return nil
}
