// Package breakglass is how people get around an approval when nobody is there to give one: loudly, for a short
// time, and with somebody who looks at it afterwards.
//
// A policy says who may break the glass where, who reviews, and for how long; other policies say what that gives
// (to the group policy.BreakGlassGroup). Nothing here permits anything by itself, nobody reviews what they did
// themselves, and what was opened stays on the list until it is reviewed.
package breakglass

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

func personOf(p policy.Principal) Person { return Person{ID: p.PersonID(), Name: p.Name} }

// How a window ended.
const (
	EndedExpired = "expired"
	EndedRevoked = "revoked"
)

// Window is a time in which a principal breaks the glass on a connection.
type Window struct {
	ID    string            `json:"id"`
	State store.WindowState `json:"state" enum:"open,ended,reviewed" doc:"ended waits for a review"`
	URL   string            `json:"url,omitempty"`
	// Principal is who is in the group then: the person who opened it, or an agent that they named.
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	By         Person           `json:"by"`
	Reason     string           `json:"reason"`
	Review     policy.Review    `json:"review"`
	Opened     time.Time        `json:"opened"`
	Expires    time.Time        `json:"expires"`
	// Ended is when it did, and EndedHow "expired" or "revoked".
	Ended    time.Time `json:"ended,omitzero"`
	EndedHow string    `json:"ended_how,omitempty" enum:"expired,revoked"`
	EndedBy  *Person   `json:"ended_by,omitempty"`
	EndedFor string    `json:"ended_for,omitempty" doc:"why it was revoked"`
	Reviewed time.Time `json:"reviewed,omitzero"`
	// ReviewedBy is who looked at it, and Finding what they say.
	ReviewedBy *Person  `json:"reviewed_by,omitempty"`
	Finding    string   `json:"finding,omitempty"`
	Sessions   []string `json:"sessions,omitempty" doc:"that used it"`
}

var (
	errNotOpen    = errors.New("it is not open any more")
	errStillOpen  = errors.New("it is still open: what comes in it has to be reviewed too")
	errReviewed   = errors.New("it is reviewed already")
	errOwn        = errors.New("nobody reviews what they did themselves")
	errNoReviewer = errors.New("the reviewer is not in the group that reviews")
)

// Open says whether the glass is broken now.
func (w *Window) Open(now time.Time) bool {
	return w.State == store.WindowOpen && !now.Before(w.Opened) && now.Before(w.Expires)
}

// Expire ends a window whose time is over; false where it is not.
func (w *Window) Expire(now time.Time) bool {
	if w.State != store.WindowOpen || now.Before(w.Expires) {
		return false
	}
	w.State, w.Ended, w.EndedHow = store.WindowEnded, w.Expires, EndedExpired
	return true
}

// Revoke ends a window before its time.
func (w *Window) Revoke(by Person, reason string, now time.Time) error {
	if w.State != store.WindowOpen || !now.Before(w.Expires) {
		return errNotOpen
	}
	w.State, w.Ended, w.EndedHow, w.EndedBy, w.EndedFor = store.WindowEnded, now, EndedRevoked, &by, reason
	return nil
}

// MarkReviewed keeps what a person of the reviewing group found. Only what has ended is reviewed, once, and by
// somebody else than who opened it or was in it.
func (w *Window) MarkReviewed(by policy.Principal, finding string, now time.Time) error {
	switch {
	case w.State == store.WindowOpen:
		return errStillOpen
	case w.State != store.WindowEnded:
		return errReviewed
	case by.ID == "" || by.PersonID() == w.By.ID || by.PersonID() == w.Principal.PersonID():
		return errOwn
	case by.Kind != policy.User || !by.InGroup(w.Review.Group):
		return errNoReviewer
	}
	person := personOf(by)
	w.State, w.Reviewed, w.ReviewedBy, w.Finding = store.WindowReviewed, now, &person, finding
	return nil
}

// headline is a window in a sentence, for recordings and lists.
func (w *Window) headline() string {
	who := ""
	if w.Principal.PersonID() != w.By.ID {
		who = " for " + w.Principal.String()
	}
	return fmt.Sprintf("break the glass on %s%s until %s: %s", w.Connection, who, w.Expires.UTC().Format("15:04:05 UTC"), w.Reason)
}
