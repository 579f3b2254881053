package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/simulate"
	"gatehouse/internal/record"
)

// recordedPolicyCommands are about policies and what was recorded.
type recordedPolicyCommands struct {
	Simulate simulateCommand `cmd:"" help:"Decide recorded requests again by a draft of the policies, and show what would change."`
	Suggest  suggestCommand  `cmd:"" help:"Write the least policies that permit what a principal used, and say what it did not need."`
}

// recordedFlag says which recorded requests are looked at.
type recordedFlag struct {
	recordingsFlag
	Since      moment `default:"14d" help:"Only requests from then on: 14d or 36h ago, a day, or a time of RFC 3339." placeholder:"TIME"`
	Until      moment `help:"Only requests before then." placeholder:"TIME"`
	Connection string `help:"Only those on a connection." placeholder:"NAME"`
}

// read reads the requests of those that who wants, and says on standard error how far it is where that takes long.
func (f recordedFlag) read(ctx context.Context, s streams, conf *config.Config, who func(policy.Principal) bool, q record.Query) (*record.Requests, error) {
	dir := f.Recordings
	if dir == "" {
		dir = conf.RecordingsDir()
	}
	if !f.Until.IsZero() && !f.Since.Before(f.Until.Time) {
		return nil, errors.New("--since is not before --until: nothing lies between them")
	}
	q.Since, q.Until, q.Connection, q.Who = f.Since.Time, f.Until.Time, f.Connection, who
	begun, said := time.Now(), time.Time{}
	q.Progress = func(done, all int64, requests int) {
		if now := time.Now(); now.Sub(begun) > 2*time.Second && now.Sub(said) > time.Second {
			said = now
			fmt.Fprintf(s.err, "reading the recordings: %d%%, %s\n", min(100, 100*done/max(all, 1)), count(requests, "request"))
		}
	}
	got, err := record.ReadRequests(ctx, dir, q)
	if err != nil {
		return nil, fmt.Errorf("the recordings in %s cannot be read: %w", dir, err)
	}
	return got, nil
}

// recordedCase is what simulations take of what was asked in one way.
func recordedCase(conf *config.Config, a *record.Asked) *simulate.Case[record.Example] {
	c := &simulate.Case[record.Example]{Principal: a.Principal, Connection: a.Connection, Connect: a.Connect, Prepare: a.Prepare,
		Partial: a.Decision.Partial, Was: a.Decision.Decision, Requests: a.Count, Examples: a.Examples}
	if err := c.Was.Effect.UnmarshalText([]byte(cmp.Or(c.Was.Would, c.Was.Effect.String()))); err != nil { // only observed: what they said counts
		a.Damaged = err
	}
	known := false
	for i := range conf.Connections {
		known = known || conf.Connections[i].Name == a.Connection
	}
	refusal := a.Decision.Refusal
	switch touches, err := a.Decision.Judged(); {
	case a.Damaged != nil:
		c.Unknown = errors.New("their decision cannot be read")
	case a.Connection == gate.GatewayConnection:
		c.Unknown = errors.New("they are about the gateway itself, not about a connection")
	case !known:
		c.Unknown = fmt.Errorf("their connection %s is not in %s", a.Connection, conf.Path)
	case err == nil:
		c.Touches = touches
	case !errors.Is(err, gate.ErrNoFacts):
		c.Unknown = errors.New("what was recorded of their touches does not fit together")
	case refusal != nil && len(a.Decision.Touches) == 0:
		c.Unknown = fmt.Errorf("they were refused (%s) before what they touch was known", refusal.Code)
	default:
		c.Unknown = errors.New("they were recorded by a version of gatehouse that did not record what deciding again needs")
	}
	return c
}

// forATime says of a case that is decided otherwise now that it was decided with a group that the principal had for a time
// only, and that its recorded groups do not show: by broken glass, or by a grant. nil: with no such group, or it made no
// difference that is known.
func forATime(a *record.Asked) error {
	switch d := a.Decision; {
	case d == nil:
	case d.BreakGlass != nil && d.BreakGlass.Otherwise != d.Decision.Effect.String():
		return errors.New("they were decided while the glass was broken, and otherwise would have been decided otherwise")
	case d.BreakGlass != nil || len(d.Grants) > 0:
		return errors.New("they were decided with a group that was granted for a time, and are decided otherwise without it")
	}
	return nil
}

// namesPrincipal says whether a principal is the one that a text names: by its id, or by its name.
func namesPrincipal(p policy.Principal, text string) bool { return p.ID == text || p.Name == text }
