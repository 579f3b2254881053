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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/api"
	"gatehouse/internal/approval"
	"gatehouse/internal/breakglass"
	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/grant"
	"gatehouse/internal/identity"
	"gatehouse/internal/notify"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/faultfs"
	"gatehouse/internal/search"
	"gatehouse/internal/selfsigned"
	"gatehouse/internal/ship"
	"gatehouse/internal/store"
	"gatehouse/internal/stream"
	"gatehouse/internal/versions"
)

// gateway is a configured gateway: its parts are open, its listeners bound, and nothing is served yet.
type gateway struct {
	config     *config.Config
	log        *slog.Logger
	policies   atomic.Pointer[policy.Set] // nil until the first version is loaded
	versions   *versions.History
	glass      *breakglass.Book
	grants     *grant.Book
	journal    *record.Journal
	search     *search.Index
	ship       *ship.Shipper
	stream     *stream.Streamer
	store      *store.Store
	notify     *notify.Sender
	book       *approval.Book
	previewers map[string]gate.Previewer // by connection
	services   []service
	beside     []gate.Server // those without a listener of their own
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
	g := &gateway{config: c, log: log, previewers: map[string]gate.Previewer{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	verifier, err := identity.New(identity.Config{Issuers: c.Issuers, People: c.People})
	if err != nil {
		return nil, &config.Error{Path: c.Path, Err: err}
	}
	certificate, err := certificates(c)
	if err != nil {
		return nil, err
	}
	signer, err := signingKey(c.StateDir())
	if err != nil {
		return nil, &config.Error{Path: c.Path, Err: err}
	}
	if g.journal, err = record.Open(record.Options{Dir: c.RecordingsDir(), FS: disk, Signer: signer, SegmentAge: c.Recordings.Age(), Log: log}); err != nil {
		return nil, err
	}
	if g.search, err = search.Open(ctx, c.RecordingsDir(), log); err != nil {
		log.Error("recordings are not indexed: searches do not find what is recorded from now on; mend the cause, then start the gateway again", "error", err)
		g.search, err = nil, nil
	}
	if g.ship, err = ship.New(ship.Options{Dir: c.RecordingsDir(), Targets: c.Recordings.Ship, Log: log}); err != nil {
		return nil, err
	}
	if g.stream, err = stream.New(stream.Options{Dir: c.RecordingsDir(), Targets: c.Recordings.Streams, Decoders: decoders(), Version: versionText(), Log: log}); err != nil {
		return nil, err
	}
	if g.store, err = store.Open(ctx, c.Store); err != nil {
		return nil, err
	}
	if g.notify, err = notify.New(notify.Options{Targets: c.Approvals.Notify, Outbox: g.store, Log: log, Now: time.Now}); err != nil {
		return nil, &config.Error{Path: c.Path, Err: err}
	}
	g.book, err = approval.New(approval.Options{
		Store: g.store, Hold: time.Duration(c.Approvals.Hold), Valid: time.Duration(c.Approvals.Valid),
		BaseURL: c.BaseURL(), Policies: g.policies.Load, Connections: c.Gate(), Notify: g.notify, Preview: g.preview, Log: log, Now: time.Now,
		Approved: func(ctx context.Context, v approval.View, hash string) error {
			return g.versions.Approved(ctx, v, hash)
		},
	})
	if err != nil {
		return nil, err
	}
	if g.glass, err = breakglass.New(ctx, breakglass.Options{Store: g.store, Policies: g.policies.Load, Connections: c.Gate(), BaseURL: c.BaseURL(), Notify: g.notify, Log: log, Now: time.Now}); err != nil {
		return nil, err
	}
	if g.grants, err = grant.New(ctx, grant.Options{Store: g.store, Policies: g.policies.Load, Connections: c.Gate(), BaseURL: c.BaseURL(), Notify: g.notify, Log: log, Now: time.Now}); err != nil {
		return nil, err
	}
	theGate, err := gate.New(gate.Config{Policies: g.policies.Load, Recorder: g.journal, Approvals: g.book, BreakGlass: g.glass, Grants: g.grants, Log: log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	g.book.Attach(theGate)
	g.glass.Attach(theGate)
	g.grants.Attach(theGate)
	if g.versions, err = versions.New(versions.Options{
		Store: g.store, Gate: theGate, Approvals: g.book, Published: c.Policies.Source == config.FromStore,
		Files:   func() ([]policy.Source, error) { return fileTexts(c) },
		Compile: func(texts []policy.Source) (*policy.Set, error) { return compileTexts(c, texts) },
		Force:   g.policies.Store, InForce: g.policies.Load, Groups: knownGroup(c), Log: log, Now: time.Now,
	}); err != nil {
		return nil, err
	}
	if err := g.versions.Load(ctx); err != nil {
		return nil, err
	}
	g.versions.WarnOfDrift(ctx)
	encryption := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	handler, err := api.New(api.Options{Verifier: verifier, Book: g.book, Versions: g.versions, Glass: g.glass, Grants: g.grants, Catalogs: g.catalog, Gate: theGate, Policies: g.policies.Load, Connections: c.Gate(), Log: log, Version: versionText()})
	if err != nil {
		return nil, err
	}
	own, err := ownKey(c.StateDir())
	if err != nil {
		return nil, &config.Error{Path: c.Path, Err: err}
	}
	front := &front{own: handler}
	if err := g.listen("https", serveHTTPS(front, encryption, log)); err != nil {
		return nil, err
	}
	for _, connector := range connectors() {
		theirs := slices.DeleteFunc(c.Gate(), func(o gate.Connection) bool { return o.Kind != connector.Kind() })
		_, shared := connector.(gate.OnHTTPS)
		if c.Listen[connector.Kind()] == "" && (!shared || len(theirs) == 0) {
			continue
		}
		server, err := connector.Server(gate.Deps{Gate: theGate, Verifier: verifier, Issuers: issuers(c), TLS: encryption, Connections: theirs, Secret: own, Memory: int64(c.Limits.Memory), Log: log})
		if err != nil {
			return nil, &config.Error{Path: c.Path, Err: err}
		}
		if p, ok := server.(gate.Previewer); ok {
			for _, one := range theirs {
				g.previewers[one.Name] = p
			}
		}
		if shared {
			if err := front.add(server); err != nil {
				return nil, err
			}
		}
		if c.Listen[connector.Kind()] == "" {
			g.beside = append(g.beside, server)
			continue
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

// indexEvery is how old a request can be before a search finds it.
const indexEvery = time.Second

// serve serves every listener until ctx ends or one of them fails; then all end, and the recordings are
// closed after the last session.
func (g *gateway) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan error)
	var beside sync.WaitGroup
	beside.Go(func() { g.notify.Run(ctx) })
	beside.Go(func() { g.book.Run(ctx) })
	beside.Go(func() { g.glass.Run(ctx) })
	beside.Go(func() { g.grants.Run(ctx) })
	beside.Go(func() { g.ship.Run(ctx) })
	beside.Go(func() { g.stream.Run(ctx) })
	if g.search != nil {
		beside.Go(func() { g.search.Run(ctx, indexEvery) })
	}
	for _, s := range g.beside {
		beside.Go(func() {
			if err := s.Serve(ctx, nil); err != nil {
				cancel(err)
			}
		})
	}
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
	beside.Wait()
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
	if g.search != nil {
		errs = append(errs, g.search.Close())
	}
	if g.store != nil {
		errs = append(errs, g.store.Close())
	}
	return errors.Join(errs...)
}
