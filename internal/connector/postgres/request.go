package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// request is one text that will run: a simple query, or a bound statement.
type request struct {
	session   *session
	text      string
	statement *prepared // for a bound or prepared statement
	values    []gate.Parameter
	prepare   bool
	position  string
	draft     *draft // of the batch that it stands in; nil: a simple query
	step      int    // where in it
	state     *guard.State

	plan     *guard.Plan
	settings map[string]string
}

// Touches understands the text with the catalog and the policies of now.
func (r *request) Touches(ctx context.Context) ([]policy.Touch, error) {
	if r.draft != nil {
		r.state = r.draft.stateAt(r.step)
	}
	plan, catalog, err := r.session.target.understand(ctx, r.session.gate.Slice(), r.text, r.moment())
	if err != nil {
		return nil, err
	}
	if err := r.session.reaches(catalog); err != nil {
		return nil, err
	}
	if r.statement != nil && len(plan.Statements) > 1 {
		return nil, &gate.Refusal{
			Code:     gate.NotUnderstood,
			SQLState: "42601",
			Reason:   "A prepared statement holds one statement.",
			Remedy:   "Send the statements one by one.",
		}
	}
	if r.statement != nil && r.statement.plan != nil && r.statement.plan.Text != plan.Text {
		r.statement.failed.Store(true)
		return nil, &gate.Refusal{
			Code:     gate.NotUnderstood,
			SQLState: "0A000",
			Reason:   "cached plan must not change result type",
			Remedy:   "Prepare the statement again: the catalog or the policies changed since.",
		}
	}
	if err := r.session.keeps(plan); err != nil {
		return nil, err
	}
	r.plan = plan
	if r.outdated() {
		if r.statement != nil {
			r.statement.failed.Store(true)
		}
		return nil, outdatedRefusal()
	}
	if r.draft != nil && plan.Writes && !r.prepare && r.draft.restyled(r.step) {
		return nil, restyledRefusal("batch", "End the batch (Sync) behind the SET, and send the statement in the next one.")
	}
	if r.statement == nil {
		return plan.Touches, nil
	}
	return declared(catalog, r.statement.types, plan.Touches)
}

func (r *request) declared() declaredTypes {
	if r.statement == nil {
		return declaredTypes{}
	}
	return r.statement.declared
}

// declared adds what the declared types of parameters do.
func declared(catalog *guard.Catalog, types []uint32, touches []policy.Touch) ([]policy.Touch, error) {
	touches = slices.Clip(touches) // the plan's own are shared
	for _, oid := range types {
		more, err := catalog.Parameter(oid)
		var ge *guard.Error
		if errors.As(err, &ge) {
			return nil, refusalOfGuard(ge)
		} else if err != nil {
			return nil, err
		}
		touches = append(touches, more...)
	}
	return touches, nil
}

// Intent is what will run.
func (r *request) Intent() gate.Intent {
	i := gate.Intent{Received: r.text, Parameters: r.values, Position: r.position, Prepare: r.prepare}
	if r.plan == nil {
		return i
	}
	i.Text, i.Means = r.plan.Text, r.plan.Means
	if i.Text == i.Received {
		i.Received = ""
	}
	i.Durable = r.plan.Writes && !r.prepare
	if i.Durable {
		if r.settings == nil {
			r.settings = r.meaning()
		}
		i.Settings = r.settings
		for _, rel := range r.plan.Relations {
			i.Objects = append(i.Objects, object(rel))
		}
	}
	return i
}

// object is a relation's identity and the version that the plan stands on.
func object(r *guard.Relation) gate.Object {
	return gate.Object{Kind: "relation", Name: r.Name.String(), ID: strconv.FormatUint(uint64(r.OID), 10), Version: r.Version}
}

// Preview says in a sentence what the request touches.
func (r *request) Preview(context.Context) (gate.Preview, error) {
	var verbs []string
	for _, st := range r.plan.Statements {
		verbs = append(verbs, string(st.Verb))
	}
	p := gate.Preview{Summary: strings.Join(verbs, "; "), Statement: guard.WithoutValues(r.plan.Text), Countable: countable(r.plan)}
	if has(r.plan, guard.CopyIn) {
		p.Lines = []string{"The rows come from the client after the approval; how many bytes and their hash are recorded."}
	}
	return p, nil
}

// Recheck understands the text again; it must still mean the same.
func (r *request) Recheck(ctx context.Context) error {
	if _, err := r.session.target.catalogs.Reload(ctx); err != nil {
		return r.session.target.unreachable(err)
	}
	plan, catalog, err := r.session.target.understand(ctx, r.session.gate.Slice(), r.text, r.moment())
	if err != nil {
		return err
	}
	if err := r.session.reaches(catalog); err != nil {
		return err
	}
	if plan.Text != r.plan.Text || !slices.EqualFunc(plan.Touches, r.plan.Touches, sameTouch) {
		return &gate.Refusal{
			Code:   gate.ApprovalRequired,
			Reason: "The tables that the statement names changed while it waited, so its approval does not fit any more.",
			Remedy: "Send the statement again; it will ask for a new approval.",
		}
	}
	r.plan = plan
	r.settings = nil
	return nil
}

func sameTouch(a, b policy.Touch) bool {
	return a.Action == b.Action && a.Resource.Entity == b.Resource.Entity && slices.Equal(a.Resource.Labels, b.Resource.Labels)
}

// Concludes says whether the text does nothing but end a transaction. It goes by the few spellings that
// drivers use; any other is treated as a statement like others.
func (r *request) Concludes() bool {
	if len(r.text) > 64 {
		return false
	}
	t := strings.ToLower(strings.TrimSpace(strings.TrimRight(strings.TrimSpace(r.text), ";")))
	switch t {
	case "commit", "rollback", "end", "abort":
		return true
	}
	return false
}
