package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"gatehouse/internal/login"
	"gatehouse/internal/secret"
)

// profileFlag names who the command line acts as.
type profileFlag struct {
	Profile string `short:"p" default:"default" env:"GATEHOUSE_PROFILE" help:"Who to act as: a profile that was signed in with." placeholder:"NAME"`
}

func (f profileFlag) open() (login.Store, login.Profile, error) {
	home, err := login.Home()
	if err != nil {
		return login.Store{}, login.Profile{}, err
	}
	s := login.Store{Dir: home, HTTP: login.HTTP()}
	p, err := s.Profile(f.Profile)
	return s, p, err
}

type loginCommand struct {
	profileFlag
	Issuer     string `help:"The issuer's URL, exactly as in the gateway's configuration." placeholder:"URL"`
	ClientID   string `help:"The id of the OIDC client that signs in." placeholder:"ID"`
	Scope      string `help:"What to ask for: the gateway's own scope." placeholder:"SCOPE"`
	SecretEnv  string `help:"For an agent: the environment variable with its client secret." placeholder:"NAME" xor:"secret"`
	SecretFile string `help:"For an agent: the file with its client secret." placeholder:"PATH" xor:"secret"`
	API        string `name:"api" help:"The gateway's https address, for commands that speak to it." placeholder:"URL"`
	CA         string `name:"ca" help:"The gateway's certificate, where no public authority vouches for it." placeholder:"FILE"`
}

func (loginCommand) Help() string {
	return `A person gets a code to enter in a browser; an agent signs in with its client secret. The first time, say where; after that the profile is enough. Profiles and tokens are kept in files that only you can read, in GATEHOUSE_HOME.

Examples:
  gatehouse login --issuer https://login.microsoftonline.com/TENANT/v2.0 --client-id gatehouse-cli \
      --scope api://gatehouse/access --api https://gateway.example:8443
  gatehouse login --profile bot --issuer https://login.microsoftonline.com/TENANT/v2.0 --client-id 9f1c… \
      --scope api://gatehouse/.default --secret-env BOT_SECRET
  gatehouse login            # again, as before`
}

func (c loginCommand) Run(ctx context.Context, s streams) error {
	store, p, err := c.open()
	if c.Issuer != "" || c.ClientID != "" {
		if c.Issuer == "" || c.ClientID == "" {
			return fmt.Errorf("a new profile needs both --issuer and --client-id")
		}
		p = login.Profile{Name: c.Profile, Issuer: c.Issuer, ClientID: c.ClientID, Scope: c.Scope, API: c.API, CA: c.CA, Secret: secret.Ref{Env: c.SecretEnv, File: c.SecretFile}}
		if store.Dir == "" {
			return err
		}
		if err := store.Save(p); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	until, err := store.Login(ctx, p, s.err)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "Signed in with profile %s; the token is good until %s.\n", p.Name, until.Local().Format(time.TimeOnly))
	return nil
}

type logoutCommand struct{ profileFlag }

func (logoutCommand) Help() string {
	return `Removes what was kept of a sign-in. The profile stays, so that ` + "`gatehouse login`" + ` is enough to come back. A token that was copied elsewhere is good until it expires: only the issuer can revoke it.

Examples:
  gatehouse logout
  gatehouse logout --profile bot`
}

func (c logoutCommand) Run(s streams) error {
	store, p, err := c.open()
	if err != nil {
		return err
	}
	had, err := store.Logout(p)
	switch {
	case err != nil:
		return err
	case had:
		fmt.Fprintf(s.err, "Signed out of profile %s.\n", p.Name)
	default:
		fmt.Fprintf(s.err, "Profile %s was not signed in.\n", p.Name)
	}
	return nil
}

type tokenCommand struct{ profileFlag }

func (tokenCommand) Help() string {
	return `Prints an access token that is good for a while yet, and gets a new one where it can. Put it where a password goes, not on a command line: other users of the machine can read those.

Examples:
  export PGPASSWORD="$(gatehouse token --profile bot)"
  psql "host=gateway.example port=6432 dbname=orders sslmode=verify-full"`
}

func (c tokenCommand) Run(ctx context.Context, s streams) error {
	store, p, err := c.open()
	if err != nil {
		return err
	}
	t, _, err := store.Token(ctx, p)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, t)
	return nil
}

// trusting is an HTTP client that trusts the certificate in the file besides the public authorities.
func trusting(file string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the gateway's certificate: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}
