package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/secret"
	guard "gatehouse/internal/sqlguard/postgres"
)

// largeText is the length from which texts of a connection are understood one after the other: they take seconds
// of a processor, and a hundred times their length of memory.
const largeText = 128 << 10

// target is one connection of this kind with what is shared by its sessions.
type target struct {
	connection gate.Connection
	options    *Options
	guard      *guard.Guard
	catalogs   *catalogs
	tokenKey   []byte // of pseudonyms; nil: none are made
	plans      plans
	seen       seen
	company    company
	previews   chan struct{} // taken while a preview is made
	large      chan struct{} // taken while a large text is understood
	log        *slog.Logger
}

func newTarget(c gate.Connection, own []byte, log *slog.Logger) (*target, error) {
	options, ok := c.Options.(*Options)
	if !ok {
		return nil, errors.New("its options were not decoded by this connector")
	}
	g, err := guard.New()
	if err != nil {
		return nil, err
	}
	log = log.With("connection", c.Name)
	catalogs, err := newCatalogs(options, c, log)
	if err != nil {
		return nil, err
	}
	key, err := secret.TokenKey(options.TokenKey, own, "gatehouse postgres token\x00"+c.Name)
	if err != nil {
		return nil, err
	}
	return &target{connection: c, options: options, guard: g, catalogs: catalogs, tokenKey: key, previews: make(chan struct{}, 2), large: make(chan struct{}, 1), log: log}, nil
}

func (t *target) close() { t.catalogs.close() }

// understand makes the plan of a text as one principal's slice sees the catalog of now. It remembers the
// plans of texts by everything that they depend on.
func (t *target) understand(ctx context.Context, slice *policy.Slice, text string, at moment) (*guard.Plan, *guard.Catalog, error) {
	catalog, _, err := t.catalogs.Current(ctx)
	if err != nil {
		return nil, nil, t.unreachable(err)
	}
	catalog = at.temp.with(catalog)
	plan, err := t.plan(ctx, catalog, slice, text, at)
	var ge *guard.Error
	if errors.As(err, &ge) && ge.Reason == guard.UnknownName {
		fresh, err2 := t.catalogs.Reload(ctx)
		if err2 != nil {
			return nil, nil, t.unreachable(err2)
		}
		if fresh.Epoch != catalog.Epoch {
			catalog = at.temp.with(fresh)
			plan, err = t.plan(ctx, catalog, slice, text, at)
		}
	}
	if errors.As(err, &ge) {
		return nil, catalog, refusalOfGuard(ge)
	}
	if err != nil {
		return nil, catalog, fmt.Errorf("understand a statement: %w", err)
	}
	return plan, catalog, nil
}

// declaredTypes are the types of parameters that a client declares, and what they are remembered by.
type declaredTypes struct {
	list []uint32
	key  string
}

// declareTypes makes the key once, when a statement is prepared.
func declareTypes(list []uint32) declaredTypes {
	var key []byte
	for _, t := range list {
		key = binary.BigEndian.AppendUint32(key, t)
	}
	return declaredTypes{list, string(key)}
}

func (t *target) plan(ctx context.Context, catalog *guard.Catalog, slice *policy.Slice, text string, at moment) (*guard.Plan, error) {
	key := planKey{text: text, epoch: catalog.Epoch, slice: slice.Key(), types: at.types.key}
	if p := at.state.Path(); p != nil {
		key.path = "=" + p.Spelled // an empty one is not the connection's own
	}
	if c := catalog.Temporary; c != nil {
		key.temp = c.Version
	}
	sure := !at.state.Asks() // else the names of temporary tables mean what no key says
	if k := t.plans.get(key); k != nil && sure {
		return k.plan, nil
	}
	shape, shaped := guard.ShapeOf(text)
	shaped = shaped && sure
	common := key
	common.text, common.shape = shape.Key, true
	var seen *known
	if shaped {
		if seen = t.plans.get(common); seen != nil && seen.template != nil {
			if p := seen.template.Plan(shape); p != nil {
				return p, nil
			}
		}
	}
	if len(text) > largeText {
		select {
		case t.large <- struct{}{}:
			defer func() { <-t.large }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	env := guard.Environment{
		Catalog: catalog, Sight: slice, State: at.state, Behind: at.behind, Declared: at.types.list, Tokens: t.tokens(), Seen: func() *guard.Seen { return t.seen.of(catalog, slice) },
	}
	p, err := t.guard.Analyze(env, text)
	if err != nil || p.Stateful || !sure {
		return p, err
	}
	t.plans.put(key, &known{plan: p})
	switch {
	case !shaped || seen != nil && seen.again:
	case seen == nil:
		t.plans.put(common, &known{})
	default:
		t.plans.put(common, &known{again: true, template: t.guard.Template(env, text, shape, p)})
	}
	return p, nil
}

func (t *target) unreachable(err error) error {
	t.log.Error("the catalog cannot be read", "error", err)
	if r, ok := gate.AsRefusal(err); ok {
		return r
	}
	return upstreamDown(t.connection.Name)
}
