package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/internal/api"
	"gatehouse/internal/approval"
	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/faultfs"
	"gatehouse/internal/selfsigned"
	"gatehouse/internal/store"
)

// gateway is a configured gateway: its parts are open, its listeners bound, and nothing is served yet.
type gateway struct {
	config   *config.Config
	log      *slog.Logger
	policies atomic.Pointer[policy.Set]
	journal  *record.Journal
	store    *store.Store
	services []service
}

// service is one listener with what serves it until its context ends.
type service struct {
	name     string
	listener net.Listener
	serve    func(context.Context, net.Listener) error
}

// open makes a gateway. On an error everything that was opened is closed.
func open(ctx context.Context, c *config.Config, log *slog.Logger) (*gateway, error) {
	return openOn(ctx, c, log, faultfs.OS{})
}

// openOn is open with the file system that recordings are kept on.
func openOn(ctx context.Context, c *config.Config, log *slog.Logger, disk faultfs.FS) (_ *gateway, err error) {
	g := &gateway{config: c, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if err := g.loadPolicies(); err != nil {
		return nil, err
	}
	verifier, err := identity.New(identity.Config{Issuers: c.Issuers, People: c.People})
	if err != nil {
		return nil, &config.Error{Path: c.Path, Err: err}
	}
	certificate, err := certificates(c)
	if err != nil {
		return nil, err
	}
	if g.journal, err = record.Open(record.Options{Dir: c.RecordingsDir(), FS: disk, Log: log}); err != nil {
		return nil, err
	}
	if g.store, err = store.Open(ctx, c.Store); err != nil {
		return nil, err
	}
	book, err := approval.New(approval.Options{
		Store: g.store, Hold: time.Duration(c.Approvals.Hold), Valid: time.Duration(c.Approvals.Valid),
		BaseURL: c.BaseURL(), Policies: g.policies.Load, Connections: c.Gate(), Log: log, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	theGate, err := gate.New(gate.Config{Policies: g.policies.Load, Recorder: g.journal, Approvals: book, Log: log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	encryption := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	handler, err := api.New(api.Options{Verifier: verifier, Book: book, Log: log, Version: versionText()})
	if err != nil {
		return nil, err
	}
	if err := g.listen("https", serveHTTPS(handler, encryption, log)); err != nil {
		return nil, err
	}
	own, err := ownKey(c.StateDir())
	if err != nil {
		return nil, &config.Error{Path: c.Path, Err: err}
	}
	for _, connector := range connectors() {
		if c.Listen[connector.Kind()] == "" {
			continue
		}
		theirs := slices.DeleteFunc(c.Gate(), func(o gate.Connection) bool { return o.Kind != connector.Kind() })
		server, err := connector.Server(gate.Deps{Gate: theGate, Verifier: verifier, Issuers: issuers(c), TLS: encryption, Connections: theirs, Secret: own, Log: log})
		if err != nil {
			return nil, &config.Error{Path: c.Path, Err: err}
		}
		if err := g.listen(connector.Kind(), server.Serve); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// issuers are where clients get tokens.
func issuers(c *config.Config) []gate.Issuer {
	out := make([]gate.Issuer, len(c.Issuers))
	for i := range c.Issuers {
		is := &c.Issuers[i]
		out[i] = gate.Issuer{Name: is.Name, Configuration: is.Configuration(), Scope: is.Ask()}
	}
	return out
}

func (g *gateway) listen(name string, serve func(context.Context, net.Listener) error) error {
	l, err := net.Listen("tcp", g.config.Listen[name])
	if err != nil {
		return &config.Error{Path: g.config.Path, Err: fmt.Errorf("listen.%s: %w: stop what uses that address, or choose another one", name, err)}
	}
	g.services = append(g.services, service{name, l, serve})
	return nil
}

// loadPolicies puts the policies that the files hold now in force; on an error those from before stay.
func (g *gateway) loadPolicies() error {
	set, err := compilePolicies(g.config)
	if err != nil {
		return err
	}
	for _, w := range set.Warnings() {
		g.log.Warn("policy", "problem", w.String())
	}
	g.policies.Store(set)
	return nil
}

// reload reads the policies again, and says in the log whether they are in force.
func (g *gateway) reload() {
	if err := g.loadPolicies(); err != nil {
		g.log.Error("the policies were not read again; those from before stay in force", "error", err)
		return
	}
	g.log.Info("the policies were read again", "version", g.policies.Load().Version())
}

func compilePolicies(c *config.Config) (*policy.Set, error) {
	files, err := c.PolicyFiles()
	if err != nil {
		return nil, err
	}
	in := policy.Input{Schemas: schemas(), Rows: checkRows, Groups: func(g string) bool {
		return slices.ContainsFunc(c.Issuers, func(is identity.Issuer) bool { return is.Gives(g) })
	}}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read a policy: %w: make the file readable, or take it out of policies in %s", err, c.Path)
		}
		in.Policies = append(in.Policies, policy.Source{Name: filepath.Base(f), Text: text})
	}
	for _, one := range c.Connections {
		in.Access = append(in.Access, policy.Access{Connection: one.Name, Groups: one.Groups})
	}
	set, err := policy.Compile(in)
	if err != nil {
		return nil, fmt.Errorf("the policies are not valid:\n%w", err)
	}
	return set, nil
}

// checkRows says what is wrong with the text of a row filter; one connector that understands it is enough.
func checkRows(text string) error {
	err := errors.New("no connector of this gateway can filter rows: leave it out")
	for _, c := range connectors() {
		if f, ok := c.(gate.RowFilterer); ok {
			if err = f.CheckRows(text); err == nil {
				return nil
			}
		}
	}
	return err
}

func schemas() []policy.Source {
	var out []policy.Source
	for _, c := range connectors() {
		out = append(out, policy.Source{Name: c.Kind(), Text: c.Schema()})
	}
	return out
}

// certificates gives the configured certificate, or one that vouches for itself, kept beside the store.
func certificates(c *config.Config) (tls.Certificate, error) {
	if c.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return pair, &config.Error{Path: c.Path, Err: fmt.Errorf("tls: %w", err)}
		}
		return pair, nil
	}
	names := []string{"localhost", "127.0.0.1"}
	if u, err := url.Parse(c.BaseURL()); err == nil {
		names = append(names, u.Hostname())
	}
	for _, address := range c.Listen {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err == nil && host != "" && (ip == nil || !ip.IsUnspecified()) {
			names = append(names, host)
		}
	}
	slices.Sort(names)
	return selfsigned.Load(c.StateDir(), slices.Compact(names)...)
}

func serveHTTPS(h http.Handler, encryption *tls.Config, log *slog.Logger) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		s := &http.Server{
			Handler: h, TLSConfig: encryption.Clone(),
			ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
			MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		stop := context.AfterFunc(ctx, func() {
			ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if s.Shutdown(ending) != nil {
				s.Close()
			}
		})
		defer stop()
		if err := s.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// serve serves every listener until ctx ends or one of them fails; then all end, and the recordings are
// closed after the last session.
func (g *gateway) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan error)
	for _, s := range g.services {
		g.log.Info("serving", "listener", s.name, "address", s.listener.Addr().String())
		go func() {
			err := s.serve(ctx, s.listener)
			if err != nil {
				err = fmt.Errorf("listener %s: %w", s.name, err)
			}
			cancel(err)
			ended <- err
		}()
	}
	var errs []error
	for range g.services {
		errs = append(errs, <-ended)
	}
	cancel(nil)
	return errors.Join(append(errs, g.close())...)
}

func (g *gateway) close() error {
	var errs []error
	for _, s := range g.services {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if g.journal != nil {
		errs = append(errs, g.journal.Close())
	}
	if g.store != nil {
		errs = append(errs, g.store.Close())
	}
	return errors.Join(errs...)
}
