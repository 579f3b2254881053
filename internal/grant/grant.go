// Package grant is how people give somebody a group on a connection for a time: asked for with a reason, given by a person
// who may (the action grant), in force at once, over by itself.
//
// A policy says who may grant which group where, and other policies say what the group may do. Nobody grants what they asked
// for themselves, what they get, or what an agent gets for them. What is granted counts on that connection only, never for
// what people do to the gateway: a grant cannot be used to approve or to grant.
package grant

import (
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/approval"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// Person is who did something, as it is kept.
type Person = approval.Person

func personOf(p policy.Principal) *Person { return &Person{ID: p.PersonID(), Name: p.Name} }

// Grant is that somebody is in a group on a connection, or asks to be.
type Grant struct {
	ID    string           `json:"id"`
	State store.GrantState `json:"state" enum:"pending,granted,denied,withdrawn,lapsed,expired,revoked"`
	URL   string           `json:"url,omitempty"`
	// Principal is who is in the group then: the person who asked, or an agent that they named.
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	Group      string           `json:"group"`
	By         Person           `json:"by" doc:"who asked"`
	Reason     string           `json:"reason"`
	Seconds    int64            `json:"seconds" doc:"how long it is for"`
	Asked      time.Time        `json:"asked"`
	Lapses     time.Time        `json:"lapses" doc:"until when it may be answered"`
	// AnsweredBy is who granted or denied it, and Answer what they say.
	AnsweredBy *Person   `json:"answered_by,omitempty"`
	Answered   time.Time `json:"answered,omitzero"`
	Answer     string    `json:"answer,omitempty"`
	// Expires is when it is over, where it was granted.
	Expires  time.Time `json:"expires,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	EndedBy  *Person   `json:"ended_by,omitempty"`
	EndedFor string    `json:"ended_for,omitempty" doc:"why it was revoked"`
	LastUsed time.Time `json:"last_used,omitzero"`
}

var (
	errNotPending = errors.New("it does not wait for an answer any more")
	errNotInForce = errors.New("it is not in force")
	errOwn        = errors.New("nobody grants what they asked for, or get, themselves")
)

// InForce says whether the principal is in the group now.
func (g *Grant) InForce(now time.Time) bool {
	return g.State == store.GrantGranted && now.Before(g.Expires)
}

// Expire takes a grant on whose time is over; false where it is not.
func (g *Grant) Expire(now time.Time) bool {
	switch {
	case g.State == store.GrantPending && !now.Before(g.Lapses):
		g.State, g.Ended = store.GrantLapsed, g.Lapses
	case g.State == store.GrantGranted && !now.Before(g.Expires):
		g.State, g.Ended = store.GrantExpired, g.Expires
	default:
		return false
	}
	return true
}

// own says whether somebody is on the side of who asks.
func (g *Grant) own(p policy.Principal) bool {
	if p.ID == "" || p.PersonID() == g.By.ID {
		return true
	}
	for at := &g.Principal; at != nil; at = at.OnBehalfOf {
		if at.PersonID() == p.PersonID() {
			return true
		}
	}
	return false
}

// Give puts it in force, for as long as it was asked for or less. Whether the person may grant the group is found out by
// the caller.
func (g *Grant) Give(by policy.Principal, length time.Duration, answer string, now time.Time) error {
	switch {
	case g.State != store.GrantPending || !now.Before(g.Lapses):
		return errNotPending
	case by.Kind != policy.User || g.own(by):
		return errOwn
	}
	asked := time.Duration(g.Seconds) * time.Second
	if length <= 0 || length > asked {
		length = asked
	}
	g.State, g.AnsweredBy, g.Answered, g.Answer, g.Expires = store.GrantGranted, personOf(by), now, answer, now.Add(length)
	return nil
}

// Deny says no.
func (g *Grant) Deny(by policy.Principal, answer string, now time.Time) error {
	if g.State != store.GrantPending || !now.Before(g.Lapses) {
		return errNotPending
	}
	g.State, g.AnsweredBy, g.Answered, g.Answer, g.Ended = store.GrantDenied, personOf(by), now, answer, now
	return nil
}

// End takes back what was asked for, or ends what is in force.
func (g *Grant) End(by policy.Principal, why string, now time.Time) error {
	switch {
	case g.InForce(now):
		g.State = store.GrantRevoked
	case g.State == store.GrantPending && now.Before(g.Lapses):
		g.State = store.GrantWithdrawn
	default:
		return errNotInForce
	}
	g.Ended, g.EndedBy, g.EndedFor = now, personOf(by), why
	return nil
}

// headline is a grant in a sentence, for recordings and lists.
func (g *Grant) headline() string {
	return fmt.Sprintf("%s for %s on %s for %s: %s", g.Group, g.Principal, g.Connection, short(time.Duration(g.Seconds)*time.Second), g.Reason)
}
