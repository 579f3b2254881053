package main

import (
	"context"
	"fmt"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// catalog is the snapshot of a connection, for a person who may review the connection or the gateway.
func (g *gateway) catalog(ctx context.Context, who identity.Identity, name string) ([]byte, error) {
	slice := g.policies.Load().For(who.Principal)
	may := func(r policy.Resource) bool {
		return slice.Decide([]policy.Touch{{Action: "review", Resource: r}}).Effect == policy.Permit
	}
	all := may(policy.Resource{Entity: policy.Entity{Type: "Gateway", ID: "gatehouse"}})
	for _, c := range g.config.Gate() {
		if c.Name != name || !all && !may(c.Resource()) {
			continue
		}
		return g.read(ctx, c)
	}
	return nil, &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no connection %q whose catalog you may see.", name),
		Remedy: "Correct the name, or ask a policy owner for a permit to review the connection."}
}

// read reads a catalog; what goes wrong is for the log.
func (g *gateway) read(ctx context.Context, c gate.Connection) ([]byte, error) {
	i, err := inspector(c)
	if err != nil {
		return nil, err
	}
	return snapshotOf(ctx, c, i, false)
}
