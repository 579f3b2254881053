// Package login signs people and agents in for the command line, and keeps their tokens fresh.
//
// Tokens are kept in files that nobody else can read, and never appear in an error.
package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// Profile is one way to sign in: who asks, where, and at which gateway the token is used.
type Profile struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	// Scope is what is asked for: "api://…/.default" of the gateway's application.
	Scope string `json:"scope,omitempty"`
	// Secret is where an agent's client secret is; a person has none.
	Secret secret.Ref `json:"secret,omitzero"`
	// API is the gateway's https address, and CA the file with its certificate where no public
	// authority vouches for it.
	API string `json:"api,omitempty"`
	CA  string `json:"ca,omitempty"`
}

// early is how long before its end a token is replaced.
const early = 60 * time.Second

var word = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Home is the folder of profiles and tokens: GATEHOUSE_HOME, else gatehouse in the user's folder for
// configuration.
func Home() (string, error) {
	if h := os.Getenv("GATEHOUSE_HOME"); h != "" {
		return h, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no place for tokens: set GATEHOUSE_HOME to a folder: %w", err)
	}
	return filepath.Join(dir, "gatehouse"), nil
}

// Store keeps profiles and their tokens in a folder.
type Store struct {
	Dir  string
	HTTP *http.Client
}

func (s Store) path(name, suffix string) (string, error) {
	if !word.MatchString(name) {
		return "", fmt.Errorf("the profile %q should be a word of small letters, digits, - and _", name)
	}
	return filepath.Join(s.Dir, name+suffix), nil
}

// Save keeps a profile.
func (s Store) Save(p Profile) error {
	path, err := s.path(p.Name, ".profile.json")
	if err != nil {
		return err
	}
	return write(path, p)
}

// Profile finds a profile.
func (s Store) Profile(name string) (Profile, error) {
	var p Profile
	path, err := s.path(name, ".profile.json")
	if err != nil {
		return p, err
	}
	if err := read(path, &p); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return p, fmt.Errorf("there is no profile %q in %s: make one with `gatehouse login --profile %s --issuer URL --client-id ID --scope SCOPE --api URL`", name, s.Dir, name)
		}
		return p, err
	}
	return p, nil
}

// write puts JSON into a file that nobody else can read, whole or not at all.
func write(path string, v any) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func read(path string, v any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others: run `chmod 600 %s`, and sign in again", path, path)
	}
	if info.Size() > 1<<20 {
		return fmt.Errorf("%s is too large", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s is damaged: remove it, and sign in again", path)
	}
	return nil
}

// token is what is kept of a sign-in.
type token struct {
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token,omitempty"`
	Expires time.Time `json:"expires"`
}

// Login signs in with a profile and keeps the token. A person is told on prompt what to do; an agent's
// secret is used as it is.
func (s Store) Login(ctx context.Context, p Profile, prompt io.Writer) (time.Time, error) {
	d, err := identity.Discover(ctx, s.HTTP, p.Issuer)
	if err != nil {
		return time.Time{}, fmt.Errorf("the issuer %s cannot be used: %w", p.Issuer, err)
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, s.HTTP)
	var t *oauth2.Token
	if !p.Secret.IsZero() {
		t, err = credentials(ctx, p, d)
	} else {
		t, err = device(ctx, p, d, prompt)
	}
	if err != nil {
		return time.Time{}, err
	}
	return t.Expiry, s.keep(p, t)
}

func credentials(ctx context.Context, p Profile, d identity.Discovery) (*oauth2.Token, error) {
	password, err := p.Secret.Resolve()
	if err != nil {
		return nil, err
	}
	c := clientcredentials.Config{ClientID: p.ClientID, ClientSecret: password, TokenURL: d.Token, AuthStyle: oauth2.AuthStyleInParams}
	if p.Scope != "" {
		c.Scopes = []string{p.Scope}
	}
	t, err := c.Token(ctx)
	if err != nil {
		return nil, signIn(err)
	}
	return t, nil
}

func config(p Profile, d identity.Discovery) *oauth2.Config {
	c := &oauth2.Config{ClientID: p.ClientID, Endpoint: oauth2.Endpoint{TokenURL: d.Token, DeviceAuthURL: d.DeviceCode, AuthStyle: oauth2.AuthStyleInParams}}
	if p.Scope != "" {
		c.Scopes = []string{p.Scope, "offline_access"}
	}
	return c
}

func device(ctx context.Context, p Profile, d identity.Discovery, prompt io.Writer) (*oauth2.Token, error) {
	if d.DeviceCode == "" {
		return nil, fmt.Errorf("the issuer %s does not offer sign-in with a device code", p.Issuer)
	}
	c := config(p, d)
	code, err := c.DeviceAuth(ctx)
	if err != nil {
		return nil, signIn(err)
	}
	where := code.VerificationURIComplete
	if where == "" {
		where = code.VerificationURI
	}
	fmt.Fprintf(prompt, "Open %s\nand enter the code %s\n", where, code.UserCode)
	t, err := c.DeviceAccessToken(ctx, code)
	if err != nil {
		return nil, signIn(err)
	}
	return t, nil
}

// signIn is an error of the issuer without what could carry a secret.
func signIn(err error) error {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) {
		text := r.ErrorDescription
		if text == "" {
			text = r.ErrorCode
		}
		if text == "" && r.Response != nil {
			text = r.Response.Status
		}
		return fmt.Errorf("the issuer refused the sign-in: %s", text)
	}
	return fmt.Errorf("the sign-in failed: %w", err)
}

func (s Store) keep(p Profile, t *oauth2.Token) error {
	path, err := s.path(p.Name, ".token.json")
	if err != nil {
		return err
	}
	return write(path, token{Access: t.AccessToken, Refresh: t.RefreshToken, Expires: t.Expiry})
}

// Logout removes the kept tokens of a profile; had says whether there were any.
func (s Store) Logout(p Profile) (had bool, err error) {
	path, err := s.path(p.Name, ".token.json")
	if err != nil {
		return false, err
	}
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Token is a token that is good for a while. It signs in again where it can do so by itself; processes that
// ask at the same time take turns.
func (s Store) Token(ctx context.Context, p Profile) (string, time.Time, error) {
	path, err := s.path(p.Name, ".token.json")
	if err != nil {
		return "", time.Time{}, err
	}
	if t, ok, err := fresh(path); ok || err != nil {
		return t.Access, t.Expires, err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return "", time.Time{}, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", time.Time{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", time.Time{}, err
	}
	old, ok, err := fresh(path)
	if ok || err != nil {
		return old.Access, old.Expires, err
	}
	return s.renew(ctx, p, old)
}

func fresh(path string) (token, bool, error) {
	var t token
	err := read(path, &t)
	if errors.Is(err, fs.ErrNotExist) {
		return t, false, nil
	}
	return t, err == nil && time.Until(t.Expires) > early, err
}

func (s Store) renew(ctx context.Context, p Profile, old token) (string, time.Time, error) {
	var none time.Time
	d, err := identity.Discover(ctx, s.HTTP, p.Issuer)
	if err != nil {
		return "", none, fmt.Errorf("the issuer %s cannot be used: %w", p.Issuer, err)
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, s.HTTP)
	var t *oauth2.Token
	switch {
	case !p.Secret.IsZero():
		t, err = credentials(ctx, p, d)
	case old.Refresh != "":
		t, err = config(p, d).TokenSource(ctx, &oauth2.Token{RefreshToken: old.Refresh}).Token()
		if err != nil {
			err = fmt.Errorf("%w: sign in again with `gatehouse login --profile %s`", signIn(err), p.Name)
		}
	default:
		err = fmt.Errorf("you are not signed in: run `gatehouse login --profile %s`", p.Name)
	}
	if err != nil {
		return "", none, err
	}
	if t.RefreshToken == "" {
		t.RefreshToken = old.Refresh
	}
	return t.AccessToken, t.Expiry, s.keep(p, t)
}

// HTTP is a client for issuers, with a limit on how long they may take.
func HTTP() *http.Client { return &http.Client{Timeout: 30 * time.Second} }
