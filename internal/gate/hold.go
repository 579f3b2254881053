package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatehouse/internal/policy"
)

// ErrWithdrawn is the cause of Admit's context where the client takes its request back. Where the context ends for
// any other cause the client has only stopped waiting: an approval stays open for the same request sent again.
var ErrWithdrawn = errors.New("gate: the client takes its request back")

// ErrWaitedEnough is the cause where the client's own limit of time ended its wait.
var ErrWaitedEnough = errors.New("gate: the client's limit of time is over")

// Approvals keeps held requests and the answers that people give them.
type Approvals interface {
	// Open registers a hold, or finds the one that the same principal left behind with the same request. When it
	// returns nil the hold can be seen and answered.
	Open(ctx context.Context, h Hold) (Ticket, error)
	// Wait blocks until the hold is answered or expires. When ctx ends first its error is returned, also where
	// an answer has come, and the hold stays as it is.
	Wait(ctx context.Context, id string) (Answer, error)
	// Start moves an approved hold to running, once in its life; every other state is an error.
	// hash must be the hash that was approved.
	Start(ctx context.Context, id, hash string) error
	// Void ends a hold that was not started: nobody can answer or use it any more.
	Void(ctx context.Context, id, why string) error
	// Leave says that nobody waits for the hold here any more. It is called once for each Open.
	Leave(id string)
	// Finish moves a running hold to done; outcome "unknown" is kept as such.
	Finish(ctx context.Context, id string, o Outcome) error
}

// Hold is a request that waits for people, as they will see it.
type Hold struct {
	Session    string            `json:"session"`
	RequestID  string            `json:"request_id"`
	Principal  policy.Principal  `json:"principal"`
	Connection string            `json:"connection"`
	Intents    []Intent          `json:"intents"` // the whole batch, in order
	Touches    []string          `json:"touches"`
	Policies   []string          `json:"policies"`
	Needs      []policy.Approval `json:"needs"`
	Previews   []Preview         `json:"previews,omitempty"`
	// Hash binds an approval to exactly this: principal, connection, texts, parameters, settings,
	// position and object versions.
	Hash string `json:"hash"`
}

// bound are the intents that an approval is bound to: what runs, without the client's own spelling of it.
func (h *Hold) bound() []Intent {
	var out []Intent
	for _, i := range h.Intents {
		if !i.Prepare {
			i.Received = ""
			out = append(out, i)
		}
	}
	return out
}

// Digest is the hash that binds an approval: over who asks, where, and all that will run.
func (h *Hold) Digest() string {
	p := h.Principal
	p.Groups = slices.Sorted(slices.Values(p.Groups))
	b, err := json.Marshal(struct {
		Principal  policy.Principal
		Connection string
		Intents    []Intent
	}{p, h.Connection, h.bound()})
	if err != nil { // none of these types can fail to marshal
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Differs says in what a hold is not the same as another one that looks like it: in words, without any value. ok is
// false where they do not look alike.
func (h *Hold) Differs(from *Hold) (what []string, ok bool) {
	a, b := h.bound(), from.bound()
	if !h.Principal.Same(from.Principal) || h.Connection != from.Connection || len(a) != len(b) || len(a) == 0 {
		return nil, false
	}
	add := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !slices.Contains(what, s) {
			what = append(what, s)
		}
	}
	for i := range a {
		if a[i].Text != b[i].Text {
			if s := h.statement(i); s == "" || s != from.statement(i) {
				return nil, false
			}
			add("a value in the text is another one")
		}
		if !slices.Equal(a[i].Means, b[i].Means) {
			add("a prepared statement or cursor that it uses is another one")
		}
		for n := range max(len(a[i].Parameters), len(b[i].Parameters)) {
			if n >= len(a[i].Parameters) || n >= len(b[i].Parameters) || !a[i].Parameters[n].same(b[i].Parameters[n]) {
				add("parameter $%d is another one", n+1)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(a[i].Settings)) {
			if a[i].Settings[name] != b[i].Settings[name] {
				add("%s was %q and is %q", name, b[i].Settings[name], a[i].Settings[name])
			}
		}
		for _, o := range a[i].Objects {
			if !slices.Contains(b[i].Objects, o) {
				add("the %s %s was changed or replaced", o.Kind, o.Name)
			}
		}
		if a[i].Position != b[i].Position {
			add("it stood %s and stands %s", place(b[i].Position), place(a[i].Position))
		}
	}
	if len(what) == 0 && !slices.Equal(slices.Sorted(slices.Values(h.Principal.Groups)), slices.Sorted(slices.Values(from.Principal.Groups))) {
		add("your groups are others")
	}
	if len(what) == 0 && !slices.Equal(h.Needs, from.Needs) {
		add("the policies ask for other approvals")
	}
	return what, true
}

func place(position string) string {
	if position == "" || position == "idle" {
		return "outside of a transaction"
	}
	return position
}

func (p Parameter) same(q Parameter) bool {
	return p.Type == q.Type && p.Format == q.Format && p.Null == q.Null && bytes.Equal(p.Value, q.Value)
}

// statement is the ith thing that runs without its values; "" where that is not known.
func (h *Hold) statement(i int) string {
	for k := range h.Intents {
		if h.Intents[k].Prepare {
			continue
		}
		if i == 0 {
			if k < len(h.Previews) {
				return h.Previews[k].Statement
			}
			return ""
		}
		i--
	}
	return ""
}

// Ticket is what the client is told of its hold.
type Ticket struct {
	ID      string
	URL     string
	Expires time.Time
	// Approved is set where the hold was left behind and is approved already.
	Approved bool
	// Other is an approval of the principal's own that looks like this hold and does not fit, and Differs says why.
	Other   string
	Differs []string
}

// Answer is how a hold ended.
type Answer struct {
	// State is "approved", "denied", or "expired".
	State string
	// By names the persons who answered; Reason is what the last one said.
	By     []string
	Reason string
	// MaxRows is the least of the bounds that the approvers set on the rows that change; 0: none.
	MaxRows int64
}

// Countable says whether an approver may bound the rows that a hold changes: it is one request that runs, and its
// connector counts them.
func (h *Hold) Countable() bool {
	run, countable := 0, false
	for i := range h.Intents {
		if !h.Intents[i].Prepare {
			run++
			countable = i < len(h.Previews) && h.Previews[i].Countable
		}
	}
	return run == 1 && countable
}
