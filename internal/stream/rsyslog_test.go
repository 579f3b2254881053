package stream_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/record/recordtest"
	"gatehouse/internal/secret"
	"gatehouse/internal/stream"
)

// rsyslog is a real receiver, with a folder of its own.
type rsyslog struct {
	t       testing.TB
	dir     string
	address string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// newRsyslog starts rsyslogd on loopback; encrypted: over TLS.
func newRsyslog(t testing.TB, encrypted bool) *rsyslog {
	t.Helper()
	bin, err := exec.LookPath("rsyslogd")
	if err != nil {
		bin = "/usr/sbin/rsyslogd"
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatal("rsyslogd was not found, and this test needs it: install the packages rsyslog and rsyslog-gnutls")
	}
	s := &rsyslog{t: t, dir: t.TempDir(), address: recordtest.Address(t)}
	_, port, _ := net.SplitHostPort(s.address)
	driver := `module(load="imtcp")`
	if encrypted {
		certificates(t, s.dir)
		driver = fmt.Sprintf(`global(defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="%[1]s/ca.pem" defaultNetstreamDriverCertFile="%[1]s/cert.pem" defaultNetstreamDriverKeyFile="%[1]s/key.pem")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")`, s.dir)
	}
	// Only what rsyslog understood as RFC 5424 has these parts.
	must(t, os.WriteFile(filepath.Join(s.dir, "rsyslog.conf"), []byte(fmt.Sprintf(`global(maxMessageSize="64k" workDirectory="%[1]s")
%[2]s
template(name="parts" type="string" string="%%protocol-version%%|%%syslogfacility%%|%%syslogseverity%%|%%timestamp:::date-rfc3339%%|%%app-name%%|%%msgid%%|%%msg%%\n")
input(type="imtcp" address="127.0.0.1" port="%[3]s")
action(type="omfile" file="%[1]s/received" template="parts")
`, s.dir, driver, port)), 0o600))
	s.start(bin)
	t.Cleanup(func() { s.kill() })
	return s
}

func (s *rsyslog) start(bin string) {
	s.t.Helper()
	cmd := exec.Command(bin, "-n", "-f", filepath.Join(s.dir, "rsyslog.conf"), "-i", filepath.Join(s.dir, "pid"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that started the process
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		cmd.Wait()
		close(exited)
	}()
	must(s.t, <-started)
	s.cmd, s.exited = cmd, exited
	until(s.t, "rsyslogd listens", func() bool {
		select {
		case <-exited:
			s.t.Fatalf("rsyslogd ended: %s", said.String())
		default:
		}
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *rsyslog) kill() {
	s.cmd.Process.Kill()
	<-s.exited
	os.Remove(filepath.Join(s.dir, "pid"))
}

// received are the events that it wrote down. A line that a kill tore is none.
func (s *rsyslog) received() (out []stream.Event) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "received"))
	if os.IsNotExist(err) {
		return nil
	}
	must(s.t, err)
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(line, "|", 7)
		var e stream.Event
		if len(parts) < 7 || json.Unmarshal([]byte(parts[6]), &e) != nil {
			continue
		}
		if parts[0] != "1" || parts[1] != "13" || parts[4] != "gatehouse" || parts[5] != string(e.Kind) {
			s.t.Errorf("rsyslog understood it otherwise: %s", line)
		}
		if at, err := time.Parse(time.RFC3339Nano, parts[3]); err != nil || !at.Equal(e.Time) {
			s.t.Errorf("the time is %s of %s", parts[3], e.Time)
		}
		out = append(out, e)
	}
	return out
}

// certificates writes those of a receiver on loopback.
func certificates(t testing.TB, dir string) {
	t.Helper()
	make := func(parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		if parent == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		must(t, err)
		c, err = x509.ParseCertificate(der)
		must(t, err)
		return c, key
	}
	write := func(name, kind string, der []byte) {
		must(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	ca, caKey := make(nil, nil)
	cert, key := make(ca, caKey)
	write("ca.pem", "CERTIFICATE", ca.Raw)
	write("cert.pem", "CERTIFICATE", cert.Raw)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	write("key.pem", "PRIVATE KEY", der)
}

// TestSyslog: a real rsyslog has every event, as RFC 5424, over TCP and TLS; also where it was killed in the middle.
func TestSyslog(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", encrypted), func(t *testing.T) {
			r := newRsyslog(t, encrypted)
			g := newGateway(t)
			target := stream.Target{Name: "siem", Kind: "syslog", To: "tcp://" + r.address, MaxMessage: 60 << 10}
			if encrypted {
				target.To, target.CA = "tls://"+r.address, secret.Path{File: secret.Ref{File: filepath.Join(r.dir, "ca.pem")}}
			}
			g.stream(target)
			for i := range 200 {
				g.session(fmt.Sprintf("SELECT %d;\n-- a second line, 100%% ✓ \\ \"quoted\"", i), strings.Repeat("long ", 4000))
			}
			all := func() bool { return len(r.received()) >= len(g.want(false)) }
			until(t, "it has them", all)
			once(t, g.want(false), ids(r.received()))
			// It is killed while it receives: what it had not written down comes again.
			bin := r.cmd.Path
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range 300 {
					g.session(fmt.Sprintf("SELECT 'more %d'", i), strings.Repeat("long ", 2000))
				}
			}()
			r.kill()
			until(t, "it says so", func() bool { return g.status(target).Failing != "" })
			<-done
			r.start(bin)
			until(t, "it has them all", func() bool {
				seen := map[string]bool{}
				for _, e := range r.received() {
					seen[e.ID] = true
				}
				for _, id := range g.want(false) {
					if !seen[id] {
						return false
					}
				}
				return true
			})
			// A stream that ended well goes on where it was.
			g.end()
			n := len(r.received())
			g.stream(target)
			g.session("SELECT 'the last'")
			until(t, "the last is there", func() bool { return len(r.received()) >= n+4 })
			if got := len(r.received()); got != n+4 {
				t.Errorf("%d events came again", got-n-4)
			}
		})
	}
}

// TestSyslogMessage: the framing of RFC 6587, 3.4.1, and the header of RFC 5424, byte by byte.
func TestSyslogMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	g := newGateway(t)
	g.session("SELECT 1")
	g.stream(stream.Target{Name: "siem", Kind: "syslog", To: "tcp://" + l.Addr().String()})
	c, err := l.Accept()
	must(t, err)
	defer c.Close()
	in := bufio.NewReader(c)
	header := regexp.MustCompile(`^<110>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [!-~]{1,255} gatehouse \d+ [a-z.]{1,32} - \{"id":"s-1\.`)
	for range g.want(false) {
		var n int
		_, err := fmt.Fscanf(in, "%d ", &n)
		must(t, err)
		b := make([]byte, n)
		_, err = io.ReadFull(in, b)
		must(t, err)
		if !header.Match(b) || b[n-1] != '}' {
			t.Errorf("%s", b)
		}
	}
}
