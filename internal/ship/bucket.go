package ship

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"gatehouse/internal/secret"
)

const (
	// partSize is how much of an object is sent at once, in bytes.
	partSize = 16 << 20
	// silence is how long a server may take for the next byte, in either direction.
	silence = 60 * time.Second
)

// s3 is a place in a bucket. Requests are not repeated by the library: the shipper does.
type s3 struct {
	client         *minio.Client
	bucket, prefix string
	encryption     encrypt.ServerSide
	retain         time.Duration
	mode           minio.RetentionMode
}

func newBucket(t *Target, silence time.Duration) (*s3, error) {
	u, err := t.endpoint()
	if err != nil {
		return nil, err
	}
	b := &s3{retain: time.Duration(t.Retain), mode: minio.Governance}
	if b.bucket, b.prefix, err = t.bucket(); err != nil {
		return nil, err
	}
	if t.RetainMode == "compliance" {
		b.mode = minio.Compliance
	}
	if key, ok := strings.CutPrefix(t.Encrypt, "kms:"); ok {
		if b.encryption, err = encrypt.NewSSEKMS(key, nil); err != nil {
			return nil, err
		}
	} else if t.Encrypt == "s3" {
		b.encryption = encrypt.NewSSE()
	}
	transport, err := t.transport(silence)
	if err != nil {
		return nil, err
	}
	signer := credentials.NewIAM("")
	if !t.SecretKey.IsZero() {
		signer = credentials.New(&keys{access: t.AccessKey, secret: t.SecretKey})
	}
	b.client, err = minio.New(u.Host, &minio.Options{Creds: signer, Secure: u.Scheme == "https", Region: t.Region, Transport: transport, MaxRetries: 1})
	return b, err
}

// transport gives up on a server that is silent.
func (t *Target) transport(silence time.Duration) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	out := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{c, silence}, nil
		},
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: silence,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableCompression: true,
	}
	if !t.CA.IsZero() {
		pem, err := os.ReadFile(t.CA.String())
		if err != nil {
			return nil, err
		}
		out.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !out.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: there is no certificate in %s", t.CA)
		}
	}
	return out, nil
}

// watched is a connection that ends where nothing moves on it for too long.
type watched struct {
	net.Conn
	silence time.Duration
}

func (c *watched) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *watched) Write(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.silence)); err != nil { // whoever waits for the answer meanwhile may wait longer
		return 0, err
	}
	return c.Conn.Write(b)
}

// keys signs with secrets that are read again for each request, so that they can be changed.
type keys struct{ access, secret secret.Ref }

// Retrieve reads the secrets.
func (k *keys) Retrieve() (credentials.Value, error) {
	access, err := k.access.Resolve()
	if err != nil {
		return credentials.Value{}, err
	}
	hidden, err := k.secret.Resolve()
	return credentials.Value{AccessKeyID: access, SecretAccessKey: hidden, SignerType: credentials.SignatureV4}, err
}

// RetrieveWithCredContext reads the secrets.
func (k *keys) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired makes every request ask again.
func (k *keys) IsExpired() bool { return true }

func (b *s3) key(name string) string { return path.Join(b.prefix, name) }

// said is an error of the server with its code, and what to do about it.
func said(err error) error {
	var r minio.ErrorResponse
	if !errors.As(err, &r) || r.Code == "" {
		return err
	}
	what := fmt.Sprintf("the server says %s (%d): %s", r.Code, r.StatusCode, strings.TrimSuffix(r.Message, "."))
	switch {
	case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized, r.Code == "InvalidAccessKeyId", strings.Contains(r.Code, "User"):
		what += ": look at access_key and secret_key, and what they may do in the bucket (put, get and list objects)"
	case r.Code == "NoSuchBucket":
		what += ": make the bucket, or correct its name"
	}
	return errors.New(what)
}

func (b *s3) has(ctx context.Context, name string) (bool, error) {
	_, err := b.client.StatObject(ctx, b.bucket, b.key(name), minio.StatObjectOptions{})
	var r minio.ErrorResponse
	if errors.As(err, &r) && r.Code == "NoSuchKey" {
		return false, nil
	}
	return err == nil, said(err)
}

func (b *s3) put(ctx context.Context, name string, f io.ReadSeeker, size int64, sum [sha256.Size]byte) error {
	// Parts that a crash left are of no use: the object is sent anew.
	if size > partSize {
		if err := b.client.RemoveIncompleteUpload(ctx, b.bucket, b.key(name)); err != nil {
			return said(err)
		}
	}
	o := minio.PutObjectOptions{
		ContentType: "application/octet-stream", ServerSideEncryption: b.encryption, NumThreads: 2, PartSize: partSize,
		UserMetadata: map[string]string{"sha256": hex.EncodeToString(sum[:])},
	}
	if b.retain > 0 {
		o.Mode, o.RetainUntilDate = b.mode, time.Now().Add(b.retain).UTC()
	}
	_, err := b.client.PutObject(ctx, b.bucket, b.key(name), f, size, o)
	return said(err)
}

func (b *s3) read(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := b.client.GetObject(ctx, b.bucket, b.key(name), minio.GetObjectOptions{})
	if err != nil {
		return nil, said(err)
	}
	return r, nil
}

func (b *s3) names(ctx context.Context) ([]string, error) {
	prefix := b.prefix
	if prefix != "" {
		prefix += "/"
	}
	var out []string
	for o := range b.client.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, said(o.Err)
		}
		if name := strings.TrimPrefix(o.Key, prefix); shipped.MatchString(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}
