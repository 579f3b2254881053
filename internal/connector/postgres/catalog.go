package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

const (
	catalogTTL  = 5 * time.Second
	catalogTime = 20 * time.Second // for one reading
	maxRest     = time.Second      // after one
)

// catalogs keeps the catalog of one database, read over a connection of its own.
type catalogs struct {
	options    *Options
	connection gate.Connection
	log        *slog.Logger

	mu        sync.Mutex // one reading at a time
	conn      *pgx.Conn
	checked   bool                           // the role was inspected on conn
	leakproof guard.Leakproof                // of the server that conn reaches
	system    map[guard.Name]*guard.Relation // the system catalogs, as conn's server has them
	epoch     uint64
	sum       [32]byte
	kept      *keptLabels

	state   sync.RWMutex
	now     *guard.Catalog
	facts   *Facts
	started time.Time     // when the reading of now began
	took    time.Duration // how long it took
	stale   bool

	watch func(*reader) // gets each reading, where it is set
}

func newCatalogs(o *Options, c gate.Connection, log *slog.Logger) (*catalogs, error) {
	if o.config == nil {
		return nil, errors.New("the options were not decoded")
	}
	return &catalogs{options: o, connection: c, log: log, kept: newKeptLabels()}, nil
}

// Current is the catalog, at most catalogTTL old.
func (c *catalogs) Current(ctx context.Context) (*guard.Catalog, *Facts, error) {
	c.state.RLock()
	now, facts, started, stale := c.now, c.facts, c.started, c.stale
	c.state.RUnlock()
	if now != nil && !stale && time.Since(started) < catalogTTL {
		return now, facts, nil
	}
	if _, err := c.Reload(ctx); err != nil {
		return nil, nil, err
	}
	c.state.RLock()
	defer c.state.RUnlock()
	return c.now, c.facts, nil
}

// Invalidate says that the catalog has changed: the next one who asks reads it again.
func (c *catalogs) Invalidate() {
	c.state.Lock()
	c.stale = true
	c.state.Unlock()
}

// Reload gives a catalog whose reading began after the call. Callers share readings, and readings are
// some time apart.
func (c *catalogs) Reload(ctx context.Context) (*guard.Catalog, error) {
	asked := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.RLock()
	now, started, took := c.now, c.started, c.took
	c.state.RUnlock()
	if now != nil && started.After(asked) {
		return now, nil
	}
	if wait := rest(took) - time.Since(started); now != nil && wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	// A client that leaves must not break the reading that others wait for.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), catalogTime)
	defer cancel()
	started = time.Now()
	catalog, facts, err := c.read(reading)
	if err != nil {
		return nil, err
	}
	c.state.Lock()
	c.now, c.facts, c.started, c.took, c.stale = catalog, facts, started, time.Since(started), false
	c.state.Unlock()
	return catalog, nil
}

// rest is how long after a reading began the next one may begin: readings take at most half of the time, and nobody waits
// longer than maxRest for the next one to begin.
func rest(took time.Duration) time.Duration { return took + min(took, maxRest) }

// read reads once; a connection that was lost is made again.
func (c *catalogs) read(ctx context.Context) (*guard.Catalog, *Facts, error) {
	fresh := c.conn == nil
	for {
		if c.conn == nil || c.conn.IsClosed() {
			if err := c.dial(ctx); err != nil {
				return nil, nil, err
			}
		}
		catalog, facts, err := c.load(ctx)
		if err == nil {
			return catalog, facts, nil
		}
		if c.conn != nil && c.conn.IsClosed() && !fresh {
			c.conn, fresh = nil, true
			continue
		}
		return nil, nil, err
	}
}

func (c *catalogs) dial(ctx context.Context) error {
	config, err := c.options.pgxConfig()
	if err != nil {
		return err
	}
	config.RuntimeParams = map[string]string{
		"search_path": "pg_catalog, pg_temp", "client_encoding": "UTF8", "application_name": "gatehouse catalog",
		"standard_conforming_strings": "on", "statement_timeout": "15s",
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	c.conn, c.checked, c.system = conn, false, nil
	return nil
}

// connected makes sure of the connection. The caller holds mu.
func (c *catalogs) connected(ctx context.Context) error {
	if c.conn == nil || c.conn.IsClosed() {
		return c.dial(ctx)
	}
	return nil
}

// load reads the whole catalog in one snapshot.
func (c *catalogs) load(ctx context.Context) (*guard.Catalog, *Facts, error) {
	tx, err := c.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer tx.Rollback(ctx)
	facts := &Facts{}
	const settings = `SELECT current_setting('server_version'), current_setting('server_encoding'), current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('TimeZone')`
	if err := tx.QueryRow(ctx, settings).Scan(&facts.ServerVersion, &facts.ServerEncoding, &facts.DateStyle, &facts.IntervalStyle, &facts.TimeZone); err != nil {
		return nil, nil, fmt.Errorf("read the catalog: %w", err)
	}
	r := &reader{ctx: ctx, tx: tx, kept: c.kept, reviewed: c.options.reviewed, catalog: &guard.Catalog{
		Connection: c.connection.Resource(),
		SearchPath: c.options.SearchPath,
		Relations:  map[guard.Name]*guard.Relation{},
		ByOID:      map[uint32]*guard.Relation{},
		Types:      map[guard.Name]*guard.Type{},
		Schemas:    map[string]uint32{},
		System:     c.system,
		Server:     guard.MajorVersion(facts.ServerVersion),
	}}
	if c.system == nil {
		if err := r.readSystem(); err != nil {
			return nil, nil, fmt.Errorf("read the catalog: %w", err)
		}
		c.system = r.catalog.System
	}
	if err := r.read(c.options.labels); err != nil {
		return nil, nil, fmt.Errorf("read the catalog: %w", err)
	}
	if c.watch != nil {
		c.watch(r)
	}
	if !c.checked {
		if err := r.readLeakproof(&c.leakproof); err != nil {
			return nil, nil, fmt.Errorf("read the catalog: %w", err)
		}
	}
	r.catalog.Leakproof = c.leakproof
	if !c.checked {
		if err := checkRole(ctx, tx, c.connection.Name, r.catalog, c.options.AllowPrivilegedRole); err != nil {
			return nil, nil, err
		}
		c.checked = true
	}
	return c.number(r.catalog), facts, nil
}

// number gives the catalog its epoch: that of the one before it where nothing differs, and then that one.
func (c *catalogs) number(catalog *guard.Catalog) *guard.Catalog {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.Encode(sortedRelations(catalog))
	e.Encode(sortedTypes(catalog))
	e.Encode([]any{sortedFunctions(catalog), catalog.OperatorPath, catalog.RefusedOperators})
	e.Encode(catalog.Schemas)
	e.Encode(catalog.Routines)
	e.Encode(catalog.Server)
	sum := sha256.Sum256(b.Bytes())
	c.state.RLock()
	now := c.now
	c.state.RUnlock()
	if now != nil && sum == c.sum {
		return now
	}
	c.epoch++
	c.sum = sum
	catalog.Epoch = c.epoch
	for _, r := range catalog.ByOID {
		if b, err := json.Marshal(r); err == nil {
			own := sha256.Sum256(b)
			r.Version = hex.EncodeToString(own[:8])
		}
	}
	if now != nil {
		c.log.Info("the catalog changed", "epoch", c.epoch, "relations", len(catalog.Relations))
	}
	return catalog
}

func (c *catalogs) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.conn.Close(ctx)
		c.conn = nil
	}
}
