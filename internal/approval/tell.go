package approval

import (
	"cmp"
	"slices"
	"strings"

	"gatehouse/internal/gate"
	"gatehouse/internal/notify"
	"gatehouse/internal/store"
)

// told are the events of the states that people are told of.
var told = map[store.State]string{store.Approved: notify.Approved, store.Denied: notify.Denied}

// event is what people are told of a hold: who, where, what it touches; no value, and nothing that anyone wrote as a
// reason.
func (b *Book) event(kind string, kept store.Hold, h gate.Hold) notify.Event {
	e := notify.Event{
		Kind: kind, At: kept.Created, Approval: kept.ID, URL: b.url(kept.ID), Connection: cmp.Or(h.Connection, gate.GatewayConnection),
		Principal: h.Principal.String(), Touches: h.Touches, Expires: kept.Expires,
	}
	if kind != notify.Pending {
		e.At = kept.Changed
	}
	for _, n := range h.Needs {
		if !slices.Contains(e.Groups, n.Group) {
			e.Groups = append(e.Groups, n.Group)
		}
	}
	for _, a := range kept.Answers {
		if a.Approve == (kind == notify.Approved) {
			e.By = append(e.By, a.Name)
		}
	}
	var summaries, statements []string
	whole := true
	for i, p := range h.Previews {
		if i < len(h.Intents) && h.Intents[i].Prepare {
			continue
		}
		summaries = append(summaries, p.Summary)
		statements = append(statements, p.Statement)
		whole = whole && p.Statement != ""
	}
	e.Summary = strings.Join(summaries, "; ")
	if whole {
		e.Statement = strings.Join(statements, ";\n")
	}
	return e
}
