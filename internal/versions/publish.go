package versions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

const (
	maxReason = 2000
	// patience is how long a version waits for its approval.
	patience = 72 * time.Hour
)

// Draft is what somebody wants to publish.
type Draft struct {
	// Base is the version that the files were made from: what was published since must not be lost.
	Base   int64
	Files  []store.PolicyFile
	Reason string
	// Restores is set where an earlier version is rolled back to.
	Restores int64
	// DryRun only says what would happen.
	DryRun bool
}

// Result is what became of a draft.
type Result struct {
	// Version is what was published; nil where it was not (yet).
	Version *Version `json:"version,omitempty"`
	// Approval waits for people, where the policies ask for that.
	Approval string            `json:"approval,omitempty"`
	URL      string            `json:"url,omitempty"`
	Needs    []policy.Approval `json:"needs,omitempty"`
	Diff     string            `json:"diff" doc:"from what is in force"`
	Warnings []string          `json:"warnings,omitempty"`
}

// Publish publishes a draft, or asks for the approval that the policies want.
func (h *History) Publish(ctx context.Context, who identity.Identity, d Draft) (Result, error) {
	if err := h.mayPublish(ctx, who, d); err != nil {
		return Result{}, err
	}
	set, err := h.check(who, d)
	if err != nil {
		return Result{}, err
	}
	head, err := h.o.Store.Version(ctx, h.current())
	if err != nil {
		return Result{}, err
	}
	out := Result{Diff: Diff(head.Files, d.Files)}
	for _, w := range set.Warnings() {
		out.Warnings = append(out.Warnings, w.String())
	}
	if set.For(who.Principal).Decide(policy.Administer()).Effect == policy.Refuse {
		out.Warnings = append(out.Warnings, "you may not publish policies yourself any more under it")
	}
	switch {
	case head.Number != d.Base:
		return out, h.stale(ctx, d.Base)
	case out.Diff == "":
		return out, invalid("Nothing would change: the files are those of version %d, which is in force.", head.Number)
	case d.DryRun:
		out.Needs = h.o.InForce().At(who.Principal, policy.Moment{Millis: h.o.Now().UnixMilli()}).Decide(policy.Administer()).Approvals
		return out, nil
	}
	act := gate.Act{Who: who, Intent: intentOf(d, out.Diff), Touches: policy.Administer()}
	err = h.o.Gate.Act(ctx, act, func(ctx context.Context, decision policy.Decision) (string, error) {
		if decision.Effect == policy.Hold {
			return h.propose(ctx, who, d, decision, &out)
		}
		v, err := h.publish(ctx, set, version(who.Principal, d, h.o.Now()), h.o.Store.Publish)
		out.Version = v
		return summary(v), err
	})
	return out, h.told(err)
}

// mayPublish refuses who may not, and says so in the recordings.
func (h *History) mayPublish(ctx context.Context, who identity.Identity, d Draft) error {
	if h.o.InForce().At(who.Principal, policy.Moment{Millis: h.o.Now().UnixMilli()}).Decide(policy.Administer()).Effect == policy.Refuse {
		act := gate.Act{Who: who, Intent: gate.Intent{Text: headline(d)}, Touches: policy.Administer()}
		return h.told(h.o.Gate.Act(ctx, act, func(context.Context, policy.Decision) (string, error) {
			return "", errors.New("the policies changed meanwhile: try again")
		}))
	}
	if !h.o.Published {
		return &approval.Error{Kind: approval.Conflict, Reason: "The policies of this gateway come from files, so nothing can be published here.",
			Remedy: "Change the files, and send the gateway SIGHUP; or set `policies: {source: store}` in its configuration."}
	}
	return nil
}

// check says what is wrong with a draft, and compiles it. The errors are for the author.
func (h *History) check(who identity.Identity, d Draft) (*policy.Set, error) {
	switch reason := strings.TrimSpace(d.Reason); {
	case reason == "":
		return nil, invalid("A version needs a reason: whoever looks for what changed reads it.")
	case len(d.Reason) > maxReason:
		return nil, invalid("The reason is longer than %d bytes.", maxReason)
	}
	if err := CheckFiles(d.Files); err != nil {
		return nil, invalid("The version cannot be published: %s.", err)
	}
	set, err := h.o.Compile(sources(d.Files))
	if err != nil {
		return nil, invalid("The version cannot be published: %s", strings.TrimSpace(err.Error()))
	}
	if !set.Administrable(h.o.Groups, who.Principal) {
		return nil, &approval.Error{Kind: approval.Invalid, Reason: "Nobody could publish policies any more under this version.",
			Remedy: `Permit the action administer on Gateway::"gatehouse" to a group that people are in, and approve where it asks for an @approval.`}
	}
	return set, nil
}

func invalid(format string, args ...any) error {
	return &approval.Error{Kind: approval.Invalid, Reason: fmt.Sprintf(format, args...)}
}

// stale says who published since.
func (h *History) stale(ctx context.Context, base int64) error {
	list, err := h.o.Store.Versions(ctx, 11)
	if err != nil {
		return err
	}
	since := slices.DeleteFunc(list, func(v store.PolicyVersion) bool { return v.Number <= base })
	return staleError(&store.StaleError{Base: base, Since: since[:min(10, len(since))]})
}

func staleError(e *store.StaleError) error {
	if len(e.Since) == 0 {
		return &approval.Error{Kind: approval.Conflict, Reason: fmt.Sprintf("There is no version %d to stand on.", e.Base), Remedy: "See `gatehouse policy versions`, and name the version that the files were made from."}
	}
	var lines []string
	for _, v := range e.Since {
		lines = append(lines, fmt.Sprintf("version %d by %s on %s (%s)", v.Number, view(v).By(), v.At.UTC().Format("2006-01-02 15:04 UTC"), oneLine(v.Reason)))
	}
	return &approval.Error{Kind: approval.Conflict,
		Reason: fmt.Sprintf("Your files stand on version %d, and since then came %s.", e.Base, strings.Join(lines, "; ")),
		Remedy: fmt.Sprintf("See `gatehouse policy diff %d %d`, take that over, and publish with --base %d.", e.Base, e.Since[0].Number, e.Since[0].Number)}
}

// oneLine bounds a text that others wrote, where it is part of a sentence.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 80 {
		s = string(r[:79]) + "…"
	}
	return s
}

func headline(d Draft) string {
	if d.Restores > 0 {
		return fmt.Sprintf("roll back to version %d of the policies, in place of %d", d.Restores, d.Base)
	}
	return fmt.Sprintf("publish policies in place of version %d", d.Base)
}

// intentOf is a draft as it is recorded and shown to approvers; its hash binds an approval.
func intentOf(d Draft, difference string) gate.Intent {
	return gate.Intent{
		Text:     headline(d) + "\n\n" + difference,
		Settings: map[string]string{"reason": d.Reason},
		Objects:  []gate.Object{{Kind: "policies", Name: fmt.Sprint(d.Base), ID: store.PolicyHash(d.Files), Version: fmt.Sprint(d.Restores)}},
		Durable:  true,
	}
}

func version(p policy.Principal, d Draft, at time.Time) store.PolicyVersion {
	return store.PolicyVersion{Base: d.Base, Author: p.ID, Name: p.Name, Reason: d.Reason, Restores: d.Restores, At: at, Files: d.Files}
}

func summary(v *Version) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("version %d is in force", v.Number)
}

// publish makes a version the head, and puts it in force.
func (h *History) publish(ctx context.Context, set *policy.Set, v store.PolicyVersion, keep func(context.Context, store.PolicyVersion) (store.PolicyVersion, error)) (*Version, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx = context.WithoutCancel(ctx) // from here on it does not depend on who asked
	kept, err := keep(ctx, v)
	var stale *store.StaleError
	if errors.As(err, &stale) {
		return nil, staleError(stale)
	}
	if err != nil {
		return nil, err
	}
	out := view(kept)
	out.Files = nil
	if err := h.force(ctx, set, kept.Number); err != nil {
		return &out, fmt.Errorf("version %d is published, and will be in force after a restart: %w", kept.Number, err)
	}
	h.o.Log.Info("a version of the policies was published", "number", kept.Number, "version", set.Version(), "person", kept.Author, "reason", kept.Reason, "approval", kept.Approval)
	return &out, nil
}

// propose asks people whether a draft may be published.
func (h *History) propose(ctx context.Context, who identity.Identity, d Draft, decision policy.Decision, out *Result) (string, error) {
	if len(out.Diff) > maxShown {
		return "", invalid("The version needs an approval, and differs by more than the %d bytes that a person can be asked to look at: publish it in smaller steps.", maxShown)
	}
	if _, err := h.o.Store.KeepFiles(ctx, d.Files); err != nil {
		return "", err
	}
	ticket, err := h.o.Approvals.Propose(ctx, gate.Hold{
		Principal: who.Principal, Intents: []gate.Intent{intentOf(d, out.Diff)},
		Touches: []string{policy.Administer()[0].String()}, Policies: decision.Policies, Needs: decision.Approvals,
		Previews: []gate.Preview{{Summary: headline(d)}},
	}, patience)
	if err != nil {
		return "", err
	}
	out.Approval, out.URL, out.Needs = ticket.ID, ticket.URL, decision.Approvals
	return "it waits for approval " + ticket.ID, nil
}

// Approved publishes what people approved. Everything is looked at again: what the author may do, what the files
// say, and that nothing came in between. It is the book's to call, once for each approval.
func (h *History) Approved(ctx context.Context, v approval.View, hash string) error {
	if len(v.Hold.Intents) != 1 || len(v.Hold.Intents[0].Objects) != 1 {
		return fmt.Errorf("approval %s is not of a version", v.ID)
	}
	object := v.Hold.Intents[0].Objects[0]
	d := Draft{Reason: v.Hold.Intents[0].Settings["reason"]}
	if _, err := fmt.Sscanf(object.Name+" "+object.Version, "%d %d", &d.Base, &d.Restores); err != nil {
		return fmt.Errorf("approval %s: %w", v.ID, err)
	}
	var err error
	if d.Files, err = h.o.Store.Files(ctx, object.ID); err != nil {
		return err
	}
	who := identity.Identity{Principal: v.Hold.Principal}
	if !h.o.Published {
		return h.mayPublish(ctx, who, d)
	}
	set, err := h.check(who, d)
	if err != nil {
		return err
	}
	var names []string
	for _, a := range v.Answers {
		names = append(names, a.By)
	}
	act := gate.Act{Who: who, Intent: v.Hold.Intents[0], Touches: policy.Administer(),
		Approval: &gate.ApprovalBody{ID: v.ID, State: "approved", By: strings.Join(names, ", "), Hash: hash}}
	err = h.o.Gate.Act(ctx, act, func(ctx context.Context, decision policy.Decision) (string, error) {
		for _, a := range decision.Approvals {
			if !slices.Contains(v.Hold.Needs, a) {
				return "", invalid("The policies changed since, and ask for another approval now.")
			}
		}
		draft := version(who.Principal, d, h.o.Now())
		draft.Approval = v.ID
		done, err := h.publish(ctx, set, draft, func(ctx context.Context, v store.PolicyVersion) (store.PolicyVersion, error) {
			return h.o.Store.PublishApproved(ctx, v, hash)
		})
		return summary(done), err
	})
	return h.told(err)
}

// Rollback publishes what an earlier version said.
func (h *History) Rollback(ctx context.Context, who identity.Identity, which string, base int64, reason string, dryRun bool) (Result, error) {
	if err := h.mayPublish(ctx, who, Draft{Base: base}); err != nil {
		return Result{}, err
	}
	number, err := h.find(ctx, which)
	if err != nil {
		return Result{}, err
	}
	v, err := h.o.Store.Version(ctx, number)
	if errors.Is(err, store.ErrNoVersion) {
		return Result{}, noVersion(which)
	}
	if err != nil {
		return Result{}, err
	}
	return h.Publish(ctx, who, Draft{Base: base, Files: v.Files, Reason: reason, Restores: v.Number, DryRun: dryRun})
}

// told turns a refusal of the gate into an error for a person.
func (h *History) told(err error) error {
	r, ok := gate.AsRefusal(err)
	if !ok {
		return err
	}
	if r.Code == gate.PolicyDenied {
		return &approval.Error{Kind: approval.NotAllowed, Reason: "No policy permits you to publish policies.", Remedy: `Ask a policy owner for a permit of the action administer on Gateway::"gatehouse".`}
	}
	return &approval.Error{Kind: approval.Conflict, Reason: r.Reason, Remedy: r.Remedy}
}
