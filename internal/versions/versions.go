// Package versions keeps the versions of the policies: who may publish one, what it must be, and which is in force.
//
// A version is put in force by a compare-and-set in the store, and from the next request on in every session. It
// must never put in force what does not compile, nor what would leave nobody who may publish the next one.
package versions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/approval"
	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// Options are what a history is made of. All but Groups are required.
type Options struct {
	Store     *store.Store
	Gate      *gate.Gate
	Approvals *approval.Book
	// Published says that the versions in the store are in force; otherwise the files are, and nothing can be
	// published.
	Published bool
	// Files are what the configured files say now; none where no file is configured.
	Files func() ([]policy.Source, error)
	// Compile makes a set of what files say, with everything else that the gateway knows.
	Compile func([]policy.Source) (*policy.Set, error)
	// Force puts a set in force; Now is the set that is.
	Force   func(*policy.Set)
	InForce func() *policy.Set
	// Groups says whether persons can be in a group.
	Groups func(string) bool
	Log    *slog.Logger
	Now    func() time.Time
}

// History is the versions of the policies. Safe for concurrent use.
type History struct {
	o Options

	mu     sync.Mutex // one version is put in force at a time
	number int64      // of the version that is in force
}

// New makes a history; a missing part is an error. Nothing is in force before Load.
func New(o Options) (*History, error) {
	if o.Store == nil || o.Gate == nil || o.Approvals == nil || o.Files == nil || o.Compile == nil || o.Force == nil || o.InForce == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("versions: every part is required")
	}
	return &History{o: o}, nil
}

// Load puts in force what the source says now: the files, or the newest version that was published. On an error
// what was in force before stays so.
func (h *History) Load(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	head, err := h.o.Store.Version(ctx, 0)
	if err != nil && !errors.Is(err, store.ErrNoVersion) {
		return fmt.Errorf("read the policies from the store: %w", err)
	}
	if h.o.Published && head.Number > 0 {
		set, err := h.o.Compile(sources(head.Files))
		if err != nil {
			return fmt.Errorf("version %d of the policies, which is in force by `policies: {source: store}`, is not valid any more: %w\nstart with `policies: [FILE]`, or with the configuration and the program that it was published with", head.Number, err)
		}
		return h.force(ctx, set, head.Number)
	}
	return h.loadFiles(ctx, head)
}

// loadFiles puts in force what the files say. It becomes a version where it differs from the newest one.
func (h *History) loadFiles(ctx context.Context, head store.PolicyVersion) error {
	texts, err := h.o.Files()
	if err != nil {
		return err
	}
	set, err := h.o.Compile(texts)
	if err != nil {
		return err
	}
	files := filesOf(texts)
	if head.Number > 0 && store.PolicyHash(files) == head.Hash {
		return h.force(ctx, set, head.Number)
	}
	reason := "what the files say"
	if h.o.Published {
		reason = "what the files say, as the first version"
	}
	v, err := h.o.Store.Publish(ctx, store.PolicyVersion{Base: head.Number, Source: "files", Reason: reason, At: h.o.Now(), Files: files})
	if err != nil {
		return fmt.Errorf("keep the policies as a version: %w", err)
	}
	if head.Source == "person" {
		h.o.Log.Warn("the policies come from files, and what was published is not in force any more", "published", head.Number, "by", head.Author, "version", v.Number)
	}
	return h.force(ctx, set, v.Number)
}

// force puts a set in force. The caller holds mu.
func (h *History) force(ctx context.Context, set *policy.Set, number int64) error {
	if err := h.o.Store.InForce(ctx, set.Version(), number, h.o.Now()); err != nil {
		return fmt.Errorf("keep which version of the policies is in force: %w", err)
	}
	for _, w := range set.Warnings() {
		h.o.Log.Warn("policy", "problem", w.String())
	}
	h.o.Force(set)
	h.number = number
	return nil
}

func (h *History) current() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.number
}

// Reload loads again, and says in the log what is in force.
func (h *History) Reload(ctx context.Context) {
	if err := h.Load(ctx); err != nil {
		h.o.Log.Error("the policies were not read again; those from before stay in force", "error", err)
		return
	}
	h.o.Log.Info("the policies were read again", "version", h.o.InForce().Version(), "number", h.current())
	h.WarnOfDrift(ctx)
}

// WarnOfDrift says in the log where the files say something else than what is in force.
func (h *History) WarnOfDrift(ctx context.Context) {
	s, err := h.status(ctx)
	switch {
	case err != nil:
		h.o.Log.Error("the policies could not be compared with the files", "error", err)
	case s.Drift != nil:
		h.o.Log.Warn("the policies drifted", "problem", s.Drift.Problem, "remedy", s.Drift.Remedy)
	}
}

// seen says whether a person may see the policies: who publishes them, approves that, or reviews.
func (h *History) seen(p policy.Principal) error {
	slice := h.o.InForce().At(p, policy.Moment{Millis: h.o.Now().UnixMilli()})
	for _, action := range []string{"administer", "review", "approve"} {
		if p.Kind == policy.User && slice.Decide([]policy.Touch{{Action: action, Resource: policy.Gateway()}}).Effect != policy.Refuse {
			return nil
		}
	}
	return &approval.Error{Kind: approval.NotAllowed, Reason: "No policy permits you to see the policies.",
		Remedy: `Ask a policy owner for a permit of the action review on Gateway::"gatehouse".`}
}

// Version is a version as people see it.
type Version struct {
	Number int64  `json:"number"`
	Base   int64  `json:"base" doc:"the version that it took the place of"`
	Hash   string `json:"hash" doc:"of its files"`
	Source string `json:"source" enum:"person,files"`
	// Author is a name, AuthorID the stable id; both are empty where files were read.
	Author     string             `json:"author,omitempty"`
	AuthorID   string             `json:"author_id,omitempty"`
	Reason     string             `json:"reason,omitempty"`
	Restores   int64              `json:"restores,omitempty" doc:"the version that it rolled back to"`
	Approval   string             `json:"approval,omitempty"`
	ApprovedBy []string           `json:"approved_by,omitempty"`
	At         time.Time          `json:"at"`
	Files      []store.PolicyFile `json:"files,omitempty"`
}

func view(v store.PolicyVersion) Version {
	return Version{Number: v.Number, Base: v.Base, Hash: v.Hash, Source: v.Source, Author: v.Name, AuthorID: v.Author, Reason: v.Reason,
		Restores: v.Restores, Approval: v.Approval, ApprovedBy: v.Approvers, At: v.At.UTC(), Files: v.Files}
}

// By is who made a version, for people to read.
func (v Version) By() string {
	switch {
	case v.Source == "files":
		return "the files"
	case v.Author != "":
		return v.Author
	}
	return v.AuthorID
}

// Drift is that the files say something else than what is in force.
type Drift struct {
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
	Diff    string `json:"diff,omitempty" doc:"from what is in force to the files"`
}

// Status is what is in force, and where it comes from.
type Status struct {
	Source string `json:"source" enum:"files,store" doc:"where the policies come from"`
	// Effective is what recorded decisions name as their policy_version.
	Effective string    `json:"effective" doc:"what recorded decisions name as their policy_version"`
	InForce   Version   `json:"in_force"`
	Drift     *Drift    `json:"drift,omitempty"`
	Versions  []Version `json:"versions" doc:"the newest first"`
}

// List says what is in force, and lists the newest so many versions.
func (h *History) List(ctx context.Context, who identity.Identity, limit int) (Status, error) {
	if err := h.seen(who.Principal); err != nil {
		return Status{}, err
	}
	s, err := h.status(ctx)
	if err != nil {
		return s, err
	}
	list, err := h.o.Store.Versions(ctx, limit)
	if err != nil {
		return s, err
	}
	s.Versions = []Version{}
	for _, v := range list {
		s.Versions = append(s.Versions, view(v))
	}
	return s, nil
}

func (h *History) status(ctx context.Context) (Status, error) {
	h.mu.Lock()
	number, effective := h.number, h.o.InForce().Version()
	h.mu.Unlock()
	s := Status{Source: "files", Effective: effective}
	if h.o.Published {
		s.Source = "store"
	}
	v, err := h.o.Store.Version(ctx, number)
	if err != nil {
		return s, err
	}
	s.Drift = h.drift(v)
	s.InForce = view(v)
	s.InForce.Files = nil
	return s, nil
}

// drift compares the files with what is in force.
func (h *History) drift(v store.PolicyVersion) *Drift {
	remedy := "SIGHUP, or a restart, puts the files in force."
	if h.o.Published {
		remedy = "The files are not in force: publish them, or leave them out of policies.files."
	}
	texts, err := h.o.Files()
	if err != nil {
		return &Drift{Problem: "The files cannot be read: " + err.Error(), Remedy: remedy}
	}
	files := filesOf(texts)
	if h.o.Published && len(files) == 0 || store.PolicyHash(files) == v.Hash {
		return nil
	}
	d := &Drift{Problem: fmt.Sprintf("The files differ from version %d, which is in force.", v.Number), Remedy: remedy, Diff: Diff(v.Files, files)}
	if _, err := h.o.Compile(texts); err != nil {
		d.Problem = fmt.Sprintf("The files differ from version %d, which is in force, and are not valid: %s", v.Number, strings.TrimSpace(err.Error()))
	}
	return d
}

// Get is one version with its files: by number ("7"), the one in force ("head"), or by what a recorded decision
// names as its policy_version.
func (h *History) Get(ctx context.Context, who identity.Identity, which string) (Version, error) {
	if err := h.seen(who.Principal); err != nil {
		return Version{}, err
	}
	number, err := h.find(ctx, which)
	if err != nil {
		return Version{}, err
	}
	v, err := h.o.Store.Version(ctx, number)
	if errors.Is(err, store.ErrNoVersion) {
		return Version{}, noVersion(which)
	}
	return view(v), err
}

func (h *History) find(ctx context.Context, which string) (int64, error) {
	switch {
	case which == "head":
		return h.current(), nil
	case len(which) == 16:
		n, err := h.o.Store.Deciding(ctx, which)
		if errors.Is(err, store.ErrNoVersion) {
			return 0, noVersion(which)
		}
		return n, err
	}
	number, err := strconv.ParseInt(which, 10, 64)
	if err != nil || number < 1 {
		return 0, noVersion(which)
	}
	return number, nil
}

func noVersion(which string) error {
	return &approval.Error{Kind: approval.NotFound, Reason: fmt.Sprintf("There is no version %s of the policies.", which), Remedy: "List them with `gatehouse policy versions`."}
}
