// Package ship copies ended segments of the recordings, and the heads that were signed of them, to another place: a folder
// or a bucket.
//
// What is shipped is what stands in the recordings folder, as it is: encrypted, chained, signed. The keys of the sessions are
// not shipped. It works beside the gateway and never holds a request up; where it is up to is on the disk, so that nothing is
// left out whatever stops. What is at a place already is never overwritten.
package ship

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/secret"
)

// Target is a place that recordings are shipped to, as the configuration names it.
type Target struct {
	// Name is a word for logs, for the cursor's file and for commands.
	Name string `yaml:"name"`
	// To is file:FOLDER, or s3://BUCKET/PREFIX.
	To string `yaml:"to"`

	// Endpoint is where the bucket's server is, https://HOST[:PORT]; Amazon's of the region where there is none.
	Endpoint string `yaml:"endpoint"`
	Region   string `yaml:"region"`
	// AccessKey and SecretKey sign requests; where there are none, the role of the machine does (IAM).
	AccessKey secret.Ref `yaml:"access_key"`
	SecretKey secret.Ref `yaml:"secret_key"`
	// CA has the certificates, PEM, that the server's must come from, where those of the system do not know it.
	CA secret.Path `yaml:"ca"`
	// Encrypt asks the server to encrypt what it stores: s3 (with a key of its own), or kms:KEY.
	Encrypt string `yaml:"encrypt"`
	// Retain locks each object for so long, in a bucket with object lock; mode is governance or compliance.
	Retain     Days   `yaml:"retain"`
	RetainMode string `yaml:"retain_mode"`
}

// Days is a length of time as the configuration writes it: 90d, or 36h.
type Days time.Duration

// UnmarshalYAML reads 90d or 36h.
func (d *Days) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return strict.Errorf(n, "a length of time should be a single value such as 90d or 36h")
	}
	v, err := ParseDays(n.Value)
	if err != nil {
		return strict.Errorf(n, "%v", err)
	}
	*d = Days(v)
	return nil
}

// ParseDays reads 90d or 36h.
func ParseDays(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if v, err := time.ParseDuration(text); err == nil && v > 0 {
		return v, nil
	}
	return 0, fmt.Errorf("%q should be a length of time such as 90d or 36h", text)
}

var (
	word   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	bucket = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// Check says what is wrong with a target.
func (t *Target) Check() error {
	if !word.MatchString(t.Name) {
		return fmt.Errorf("name: %q should be a word of small letters, digits, - and _, at most 63", t.Name)
	}
	if folder, ok := strings.CutPrefix(t.To, "file:"); ok && folder != "" {
		if t.Endpoint != "" || t.Region != "" || !t.AccessKey.IsZero() || !t.SecretKey.IsZero() || !t.CA.IsZero() || t.Encrypt != "" || t.Retain != 0 || t.RetainMode != "" {
			return errors.New("endpoint, region, access_key, secret_key, ca, encrypt, retain and retain_mode belong to s3, not to file")
		}
		return nil
	}
	name, prefix, err := t.bucket()
	switch {
	case err != nil:
		return err
	case !bucket.MatchString(name):
		return fmt.Errorf("to: %q is not the name of a bucket: write s3://BUCKET/PREFIX", name)
	case prefix != "" && path.Clean("/"+prefix) != "/"+prefix:
		return fmt.Errorf("to: the prefix %q should be plain words with / between them", prefix)
	case t.Endpoint == "" && t.Region == "":
		return errors.New("region is missing: add `region: eu-central-1`, or `endpoint: https://HOST` of another server")
	case t.AccessKey.IsZero() != t.SecretKey.IsZero():
		return errors.New("access_key and secret_key are given together, or neither: then the role of the machine signs")
	case t.Encrypt != "" && t.Encrypt != "s3" && (!strings.HasPrefix(t.Encrypt, "kms:") || t.Encrypt == "kms:"):
		return fmt.Errorf("encrypt: %q should be s3, or kms:KEY", t.Encrypt)
	case t.RetainMode != "" && t.Retain == 0:
		return errors.New("retain_mode goes with retain: add `retain: 90d`")
	case t.RetainMode != "" && t.RetainMode != "governance" && t.RetainMode != "compliance":
		return fmt.Errorf("retain_mode: %q should be governance or compliance", t.RetainMode)
	}
	if t.Endpoint != "" {
		_, err = t.endpoint()
	}
	return err
}

// Resolve makes a folder absolute.
func (t *Target) Resolve(abs func(string) string) {
	if folder, ok := strings.CutPrefix(t.To, "file:"); ok {
		t.To = "file:" + filepath.Clean(abs(folder))
	}
}

// bucket is where objects go.
func (t *Target) bucket() (name, prefix string, err error) {
	rest, ok := strings.CutPrefix(t.To, "s3://")
	if !ok {
		return "", "", fmt.Errorf("to: %q should be file:FOLDER or s3://BUCKET/PREFIX", t.To)
	}
	name, prefix, _ = strings.Cut(rest, "/")
	return name, strings.TrimSuffix(prefix, "/"), nil
}

func (t *Target) endpoint() (*url.URL, error) {
	text := t.Endpoint
	if text == "" {
		text = "https://s3." + t.Region + ".amazonaws.com"
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("endpoint: %q should be https://HOST[:PORT], or http:// on this machine", t.Endpoint)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Secrets says what secret of the target is not there.
func (t *Target) Secrets() error {
	for _, r := range []secret.Ref{t.AccessKey, t.SecretKey} {
		if !r.IsZero() {
			if _, err := r.Resolve(); err != nil {
				return err
			}
		}
	}
	return nil
}
