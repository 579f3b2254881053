package selfsigned

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func leaf(t *testing.T, cert []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(cert)
	if block == nil || len(rest) != 0 {
		t.Fatalf("not one PEM block: %s", cert)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewNames(t *testing.T) {
	cert, _, err := New("localhost", "127.0.0.1", "::1", "")
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, cert)
	for name, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true, "127.0.0.2": false, "example.com": false} {
		if got := c.VerifyHostname(name) == nil; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if len(c.DNSNames) != 1 || len(c.IPAddresses) != 2 {
		t.Errorf("names %q, addresses %v", c.DNSNames, c.IPAddresses)
	}
	if left := time.Until(c.NotAfter); left < 364*24*time.Hour || left > 366*24*time.Hour {
		t.Errorf("valid for another %s", left)
	}
	other, _, err := New("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if leaf(t, other).SerialNumber.Cmp(c.SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
}

// TestHandshake: who has the certificate's file trusts the server, and nobody else does.
func TestHandshake(t *testing.T) {
	dir := t.TempDir()
	pair, err := Load(dir, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	trusting := x509.NewCertPool()
	if !trusting.AppendCertsFromPEM(file) {
		t.Fatal("tls.crt has no certificate")
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		roots *x509.CertPool
		name  string
		want  bool
	}{
		{trusting, "localhost", true},
		{trusting, "example.com", false},
		{x509.NewCertPool(), "localhost", false},
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conn, err := l.Accept(); err == nil {
				_ = conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", l.Addr().String(), &tls.Config{RootCAs: c.roots, ServerName: c.name})
		if err == nil {
			conn.Close()
		}
		<-done
		if (err == nil) != c.want {
			t.Errorf("%s: %v, want success: %v", c.name, err, c.want)
		}
	}
}

func serial(t *testing.T, pair tls.Certificate) *big.Int {
	t.Helper()
	if pair.Leaf == nil {
		t.Fatal("the certificate was not parsed")
	}
	return pair.Leaf.SerialNumber
}

func TestLoadKeepsAndRenews(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	first, err := Load(dir, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"tls.key": 0o600, "tls.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	again, err := Load(dir, "localhost", "")
	if err != nil || serial(t, again).Cmp(serial(t, first)) != 0 {
		t.Errorf("a good certificate was not kept: %v", err)
	}
	// A key that others may read does not stay so when it is replaced.
	if err := os.Chmod(filepath.Join(dir, "tls.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	wider, err := Load(dir, "localhost", "127.0.0.1")
	if err != nil || serial(t, wider).Cmp(serial(t, first)) == 0 || wider.Leaf.VerifyHostname("127.0.0.1") != nil {
		t.Errorf("a certificate without one of the names was kept: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "tls.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the new key: %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	if pair, err := Load(dir, "localhost"); err != nil || serial(t, pair).Cmp(serial(t, wider)) == 0 {
		t.Errorf("a certificate without its key: %v", err)
	}
}

// ending writes a certificate for localhost that ends at a time.
func ending(t *testing.T, dir string, at time.Time) *big.Int {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: at.Add(-validity), NotAfter: at, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return template.SerialNumber
}

func TestLoadBeforeTheEnd(t *testing.T) {
	for left, kept := range map[time.Duration]bool{-time.Hour: false, renewal - time.Hour: false, renewal + time.Hour: true} {
		dir := t.TempDir()
		old := ending(t, dir, time.Now().Add(left))
		pair, err := Load(dir, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		if got := serial(t, pair).Cmp(old) == 0; got != kept {
			t.Errorf("with %s left: kept %v, want %v", left, got, kept)
		}
	}
}

// TestLoadDamaged: what is there and cannot be used is not overwritten; it could be someone's own.
func TestLoadDamaged(t *testing.T) {
	for _, damage := range []func(t *testing.T, cert, key string){
		func(t *testing.T, cert, _ string) { put(t, cert, []byte("no certificate")) },
		func(t *testing.T, _, key string) { put(t, key, nil) },
		func(t *testing.T, cert, _ string) {
			other, _, err := New("localhost")
			if err != nil {
				t.Fatal(err)
			}
			put(t, cert, other)
		},
	} {
		dir := t.TempDir()
		if _, err := Load(dir, "localhost"); err != nil {
			t.Fatal(err)
		}
		cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		damage(t, cert, key)
		before := [2][]byte{get(t, cert), get(t, key)}
		_, err := Load(dir, "localhost")
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "remove tls.crt and tls.key") {
			t.Errorf("got %v, want the folder and what to do", err)
		}
		if !bytes.Equal(before[0], get(t, cert)) || !bytes.Equal(before[1], get(t, key)) {
			t.Error("the files were changed")
		}
	}
}

func TestLoadNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, nil)
	if _, err := Load(filepath.Join(file, "below"), "localhost"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
