package gate

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/internal/policy"
)

// Grant is a time in which a principal is in a group on a connection, because a person who may said so. But for its last
// use it is never changed; while it is in force the same one is given.
type Grant struct {
	ID         string
	Kind       policy.Kind // of the principal
	Principal  string      // its id
	Connection string
	Group      string
	Expires    time.Time

	used atomic.Int64
}

// Used is when it was used last, in microseconds since 1970; 0: not since it was made.
func (g *Grant) Used() int64 { return g.used.Load() }

// Grants says which grants there are.
type Grants interface {
	// Grants are those that are in force now on a connection for the principal, or for whom it acts for. It is asked before
	// every batch; where there are none it costs next to nothing.
	Grants(p *policy.Principal, connection string) []*Grant
}

// grants are those that a session has now.
func (s *Session) grants() []*Grant {
	if s.gate.cfg.Grants == nil {
		return nil
	}
	all := s.gate.cfg.Grants.Grants(&s.identity.Principal, s.connection.Name)
	if len(all) > 0 {
		now := s.gate.cfg.Now().UnixMicro()
		for _, g := range all {
			g.used.Store(now)
		}
	}
	return all
}

// granted is a principal with the groups that it has by grants.
func granted(p policy.Principal, grants []*Grant) policy.Principal {
	for _, g := range grants {
		p = p.Within(g.Kind, g.Principal, g.Group)
	}
	return p
}

// grantIDs name the grants that a decision was made with.
func (s *Session) grantIDs() []string {
	var out []string
	for _, g := range s.granted {
		out = append(out, g.ID)
	}
	slices.Sort(out)
	return out
}

// maxSuggested bounds how many groups are tried for a refusal's remedy.
const maxSuggested = 10

// suggestGrant says which group somebody could grant that would permit what is missing, where there is one.
func (s *Session) suggestGrant(r *Refusal) {
	if s.gate.cfg.Grants == nil || r.Code != PolicyDenied || len(r.Missing) == 0 {
		return
	}
	p := s.identity.Principal
	groups := s.set.GrantedGroups()
	for _, group := range groups[:min(len(groups), maxSuggested)] {
		with := granted(p, s.granted).Within(p.Kind, p.ID, group)
		at := policy.Moment{Millis: s.gate.cfg.Now().UnixMilli(), Source: s.source}
		if s.set.At(with, at).Decide(r.Missing).Effect == policy.Refuse {
			continue
		}
		agent := ""
		if p.Kind == policy.Agent {
			agent = fmt.Sprintf(" --agent %q", p.ID)
		}
		r.Remedy = fmt.Sprintf("Leave that out of the request, or ask for the group %s: gatehouse access request --connection %s --group %s%s --reason \"why\".", group, s.connection.Name, group, agent)
		return
	}
}
