package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/simulate"
	"gatehouse/internal/record"
)

type simulateCommand struct {
	recordedFlag
	outputFlag
	Policies  []string `required:"" help:"The draft: a folder, or files. It replaces all policies; who may connect is the configuration's." placeholder:"NEW" type:"path"`
	Principal string   `help:"Only what one principal asked: its id or its name." placeholder:"P"`
	FailOn    []string `help:"Exit with 1 where there is such a change: refused, held, masked, permitted, unmasked, any." placeholder:"CHANGE" enum:"refused,held,masked,permitted,unmasked,any"`
}

func (simulateCommand) Help() string {
	return `Decides again, by a draft of the policies, what was recorded of every connection, and shows what would change. It reads the recordings folder itself, beside a running gateway or without one, and changes nothing.

Requests are decided by the touches, labels, tags, groups, time and address that were recorded. What is not known from them is counted and never guessed: what was refused before it was understood, and requests that an earlier version recorded. Where a draft hides a column, SELECT * would leave the column out; that counts as refused here. "Perhaps permitted" are requests of which only the first touch without a permit was recorded.

Examples:
  gatehouse policy simulate --policies draft/ --since 14d
  gatehouse policy simulate --policies draft/ --connection orders --principal deploy-bot
  gatehouse policy simulate --policies draft/ --fail-on refused --output json`
}

// simulation is the report with what it is about.
type simulation struct {
	Draft    string    `json:"draft"` // the version
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until,omitzero"`
	Sessions int       `json:"sessions"`
	// Headless counts requests whose session begins before the recordings do; they are not among the requests.
	Headless int `json:"headless"`
	*simulate.Report[record.Example]
}

func (c simulateCommand) Run(ctx context.Context, s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	draft, err := compileDraft(conf, c.Policies)
	if err != nil {
		return err
	}
	for _, w := range draft.Warnings() {
		fmt.Fprintln(s.err, "warning:", w)
	}
	who := func(p policy.Principal) bool { return c.Principal == "" || namesPrincipal(p, c.Principal) }
	debug.SetGCPercent(150) // most of what is read is kept: collecting it again and again frees little
	got, err := c.read(ctx, s, conf, who, record.Query{Examples: simulate.MaxExamples, Moments: draft.Momentary()})
	if err != nil {
		return err
	}
	report := decideAgain(conf, draft, got.Asked)
	out := simulation{Draft: draft.Version(), Since: c.Since.Time, Until: c.Until.Time, Sessions: got.Sessions, Headless: got.Headless, Report: report.Done()}
	if c.json() {
		err = printJSON(s.out, out)
	} else {
		printSimulation(s.out, out)
	}
	if err != nil {
		return err
	}
	return c.fails(report)
}

// decideAgain decides everything again, on every processor. A draft that reads the time or the source decides each
// request by those of then.
func decideAgain(conf *config.Config, draft *policy.Set, asked []*record.Asked) *simulate.Report[record.Example] {
	decided := make([][]again, len(asked))
	byPrincipal := make([]int, len(asked)) // so that what is remembered of a principal is used before it is forgotten
	for i := range asked {
		byPrincipal[i] = i
	}
	slices.SortStableFunc(byPrincipal, func(a, b int) int { return strings.Compare(asked[a].Principal.ID, asked[b].Principal.ID) })
	var next atomic.Int64
	var deciding sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		deciding.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(asked); n = int(next.Add(1)) - 1 {
				i := byPrincipal[n]
				one := recordedCase(conf, asked[i])
				if draft.Momentary() && one.Unknown == nil {
					decided[i] = atMoments(draft, asked[i], one)
				} else {
					decided[i] = []again{compared(asked[i], one, draft.For(asked[i].Principal))}
				}
			}
		})
	}
	deciding.Wait()
	report := simulate.New[record.Example]()
	for _, list := range decided {
		for _, one := range list {
			report.Count(one.c, one.changes)
		}
	}
	return report
}

// again is a case with what a draft changes of it.
type again struct {
	c       *simulate.Case[record.Example]
	changes simulate.Changes
}

// compared decides a case by a draft. What it would change of requests that were decided with a group for a time is not known.
func compared(a *record.Asked, one *simulate.Case[record.Example], draft *policy.Slice) again {
	changes := one.Compare(draft)
	if len(changes) > 0 {
		one.Unknown = forATime(a)
	}
	return again{one, changes}
}

// atMoments decides each request of a case by the time and the source of then. Equal outcomes are one.
func atMoments(draft *policy.Set, a *record.Asked, all *simulate.Case[record.Example]) []again {
	var out []again
	index := map[string]int{}
	for _, m := range a.Moments {
		part := *all
		part.Requests, part.Examples = 1, []record.Example{{Session: m.Session, Request: m.Request, Time: m.Time}}
		for _, e := range all.Examples {
			if e.Session == m.Session && e.Request == m.Request {
				part.Examples[0] = e
			}
		}
		source := gate.SourceOf(m.Client)
		if source == "" && draft.ReadsSource() {
			part.Unknown = errors.New("their client's address was not recorded, and the draft reads it")
		}
		now := compared(a, &part, draft.At(a.Principal, policy.Moment{Millis: m.Time.UnixMilli(), Source: source}))
		key := fmt.Sprintf("%v %+v", part.Unknown, now.changes)
		i, seen := index[key]
		if !seen {
			index[key] = len(out)
			out = append(out, now)
			continue
		}
		first := out[i].c
		first.Requests++
		if len(first.Examples) < simulate.MaxExamples {
			first.Examples = append(first.Examples, part.Examples...)
		}
	}
	return out
}

// failing are the kinds of changes that a word of --fail-on means.
var failing = map[string][]simulate.Kind{
	"refused":   {simulate.NewlyRefused},
	"held":      {simulate.NewlyHeld, simulate.ApprovalChanged},
	"masked":    {simulate.NewlyMasked, simulate.MaskChanged, simulate.RowFilterChanged, simulate.LimitChanged},
	"permitted": {simulate.NewlyPermitted, simulate.PerhapsPermitted, simulate.NoLongerHeld},
	"unmasked":  {simulate.Unmasked, simulate.MaskChanged, simulate.RowFilterChanged, simulate.LimitChanged},
	"any":       simulate.Kinds,
}

func (c simulateCommand) fails(r *simulate.Report[record.Example]) error {
	for _, k := range simulate.Kinds {
		for _, word := range c.FailOn {
			if r.Totals[k] > 0 && slices.Contains(failing[word], k) {
				return fmt.Errorf("the draft changes %s (%s), and --fail-on %s says that it must not", count(r.Totals[k], "request"), k, word)
			}
		}
	}
	return nil
}

func printSimulation(w io.Writer, r simulation) {
	fmt.Fprintf(w, "%s of %s since %s, decided again by the draft %s\n", count(r.Requests, "request"), count(r.Sessions, "session"), r.Since.Local().Format("2006-01-02 15:04"), r.Draft)
	fmt.Fprintf(w, "%10d unchanged\n", r.Unchanged)
	for _, k := range simulate.Kinds {
		if n := r.Totals[k]; n > 0 {
			fmt.Fprintf(w, "%10d %s\n", n, k)
		}
	}
	for _, u := range r.Undecided {
		fmt.Fprintf(w, "%10d not decided again: %s\n", u.Requests, plain(u.Reason))
	}
	if r.Headless > 0 {
		fmt.Fprintf(w, "%10d not read: their session begins before these recordings do\n", r.Headless)
	}
	if r.Requests > 0 && r.Changed == 0 {
		fmt.Fprintln(w, "The draft changes nothing of what it can decide.")
	}
	for _, c := range r.Changes {
		printChange(w, c)
	}
}

// shownTouches bounds the touches that are printed of a change; JSON has all.
const shownTouches = 8

func printChange(w io.Writer, c *simulate.Change[record.Example]) {
	fmt.Fprintf(w, "\n%s: %s by %s on %s", strings.ToUpper(string(c.Kind)), count(c.Requests, "request"), plain(c.Principal.String()), plain(c.Connection))
	if c.From != c.To {
		fmt.Fprintf(w, " (%s, now %s)", c.From, c.To)
	}
	fmt.Fprintf(w, "\n    draft     %s\n", byPolicies(c.Policies))
	fmt.Fprintf(w, "    recorded  %s\n", byPolicies(c.WasPolicies))
	for i, t := range c.Touches {
		if i == shownTouches && len(c.Touches) > shownTouches+1 {
			fmt.Fprintf(w, "    … %d more touches (--output json has all)\n", len(c.Touches)-i)
			break
		}
		fmt.Fprintf(w, "    %6d x  %s%s\n", t.Requests, plain(t.Touch), difference(t))
	}
	for _, e := range c.Examples {
		fmt.Fprintf(w, "    e.g. %s  %s  %s\n", e.ID(), e.Time.Local().Format("2006-01-02 15:04:05"), line(e.Text, 120))
	}
}

// difference says how a touch is decided otherwise.
func difference(t simulate.Touched) string {
	switch {
	case t.Was != "" && t.Is != "":
		return "  " + plain(t.Was) + ", now " + plain(t.Is)
	case t.Is != "":
		return "  " + plain(t.Is)
	case t.Was != "":
		return "  was " + plain(t.Was)
	}
	return ""
}

func byPolicies(ids []string) string {
	if len(ids) == 0 {
		return "no policy permits it"
	}
	return plain(strings.Join(ids, ", "))
}
