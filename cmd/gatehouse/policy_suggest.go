package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/simulate"
	"gatehouse/internal/policy/suggest"
	"gatehouse/internal/record"
)

type suggestCommand struct {
	recordedFlag
	profileFlag
	outputFlag
	Principal string   `required:"" help:"Whose requests: the id or the name of a principal." placeholder:"P"`
	Catalog   []string `help:"A catalog snapshot of a connection (connections snapshot); by default the gateway or the database is asked." placeholder:"FILE"`
	Offline   bool     `help:"Ask neither for catalogs: columns are named one by one."`
}

func (suggestCommand) Help() string {
	return `Prints the policies that permit exactly what one principal used, on the terms of then: masks, row filters, limits and approvals stay. Columns become their table only where every one of them was used, which takes the table's catalog. What was refused, or not approved, is not permitted. The text is a draft in Cedar with the evidence in comments: read it, then try it with policy simulate.

It ends with permits of the policies in force that no recorded request needed, and what was used only with an approval. An agent on behalf of a user is two principals that are both permitted; Cedar cannot say that one may do something only for the other.

Examples:
  gatehouse policy suggest --principal deploy-bot --since 14d
  gatehouse policy suggest --principal deploy-bot --connection orders --offline > draft/deploy-bot.cedar
  gatehouse policy suggest --principal entra:OID@TID --catalog orders.catalog.json --output json`
}

// suggestion is what suggest says.
type suggestion struct {
	Principals []policy.Principal `json:"principals"` // as they were last: with their groups
	Since      time.Time          `json:"since"`
	Until      time.Time          `json:"until,omitzero"`
	Used       int                `json:"used"`    // requests and sessions that the suggestion is made from
	Refused    int                `json:"refused"` // those that were refused, and are not permitted by it
	Stopped    int                `json:"stopped"` // those that were not approved, or went with a refused batch
	// Undecided are those that were used and are left out, with the reason.
	Undecided []simulate.Undecided `json:"undecided"`
	Policies  []suggest.Policy     `json:"policies"`
	// Alike counts those of Used that the suggestion alone decides as they were decided; Otherwise says how others
	// are: what was decided in several ways is permitted as it was last.
	Alike     int                   `json:"alike"`
	Otherwise map[simulate.Kind]int `json:"otherwise"`
	// Unneeded are the permits in force that reach the principal, and that nothing recorded needed.
	Unneeded []policy.Granted `json:"unneeded"`
	OnlyHeld []suggest.Held   `json:"only_held"`
	Notes    []string         `json:"notes"`
}

func (c suggestCommand) Run(ctx context.Context, s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	got, err := c.readPrincipal(ctx, s, conf)
	if err != nil {
		return err
	}
	out, err := c.suggest(ctx, s, conf, got)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, out)
	}
	printSuggestion(s.out, out)
	return nil
}

// readPrincipal reads the requests of one principal, and refuses a name that several have.
func (c suggestCommand) readPrincipal(ctx context.Context, s streams, conf *config.Config) (*record.Requests, error) {
	var others, ids []string
	note := func(list []string, p policy.Principal) []string {
		word := fmt.Sprintf("  %s  [%s]", plain(p.String()), plain(p.ID))
		if len(list) < 20 && !slices.Contains(list, word) {
			list = append(list, word)
		}
		return list
	}
	got, err := c.read(ctx, s, conf, func(p policy.Principal) bool {
		if namesPrincipal(p, c.Principal) {
			ids = union(ids, p.ID)
			return true
		}
		others = note(others, p)
		return false
	}, record.Query{Examples: 2})
	switch {
	case err != nil:
		return nil, err
	case len(ids) > 1:
		return nil, fmt.Errorf("%d principals are called %q: name one by its id:\n  %s", len(ids), c.Principal, strings.Join(ids, "\n  "))
	case len(got.Asked) == 0 && len(ids) == 0 && len(others) > 0:
		return nil, fmt.Errorf("nothing is recorded of a principal %q; these are:\n%s", c.Principal, strings.Join(others, "\n"))
	case len(got.Asked) == 0:
		return nil, fmt.Errorf("nothing is recorded of %q since %s: look further back with --since", c.Principal, c.Since.Local().Format("2006-01-02 15:04"))
	}
	return got, nil
}

func union(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// usedCase is what was let through in one way.
type usedCase struct {
	*simulate.Case[record.Example]
	asked *record.Asked
}

// suggest makes the suggestion, and decides everything again by it.
func (c suggestCommand) suggest(ctx context.Context, s streams, conf *config.Config, got *record.Requests) (*suggestion, error) {
	out := &suggestion{Since: c.Since.Time, Until: c.Until.Time, Undecided: []simulate.Undecided{}, Otherwise: map[simulate.Kind]int{}, Notes: []string{}}
	set, err := compilePolicies(conf)
	if err != nil {
		return nil, err
	}
	var usage suggest.Usage
	var used []usedCase
	connections := []string{}
	for _, a := range got.Asked {
		one := recordedCase(conf, a)
		one.Requests = a.Ran()
		out.Refused, out.Stopped = out.Refused+a.Count-a.Stopped-one.Requests, out.Stopped+a.Stopped
		if a.Prepare && one.Was.Effect == policy.Hold {
			continue // it counts where it is executed
		}
		if one.Requests == 0 {
			continue
		}
		if one.Unknown == nil {
			one.Unknown = followed(one, a)
		}
		if one.Unknown == nil && forATime(a) != nil {
			if changes := one.Compare(set.At(a.Principal, policy.Moment{Millis: a.Last.UnixMilli(), Source: gate.SourceOf(a.LastClient)})); len(changes) > 0 {
				one.Unknown = forATime(a)
			}
		}
		if one.Unknown == nil {
			one.Unknown = usage.Add(a.Principal, one.Touches, evidence(a))
		}
		if one.Unknown != nil {
			out.undecided(one.Unknown.Error(), one.Requests)
			continue
		}
		out.Used += one.Requests
		used = append(used, usedCase{one, a})
		connections = union(connections, a.Connection)
		out.principal(a.Principal)
	}
	if !c.Offline {
		usage.Columns = c.columns(ctx, s, conf, connections, out)
	}
	name := c.Principal
	if len(out.Principals) > 0 {
		name = cmp.Or(out.Principals[0].Name, out.Principals[0].ID)
	}
	out.Policies, out.OnlyHeld = usage.Suggest(name), usage.OnlyHeld()
	if err := out.check(conf, used); err != nil {
		return nil, err
	}
	out.unneeded(set, used)
	return out, nil
}

// followed makes of a case what was done: where policies are only observed, what no policy permits was let through. What
// a policy forbids stays out.
func followed(c *simulate.Case[record.Example], a *record.Asked) (err error) {
	if a.Decision.Decision.Would == "" {
		return nil
	}
	if len(a.Decision.Decision.Forbidden) > 0 || len(a.Decision.Decision.Errors) > 0 {
		return errors.New("the policies were only observed, and forbid them")
	}
	if c.Touches, err = a.Decision.Followed(); err != nil {
		return err
	}
	c.Was.Effect, c.Was.Approvals = policy.Permit, nil
	for _, t := range c.Touches {
		for _, one := range t.Approvals {
			c.Was.Effect = policy.Hold
			if !slices.Contains(c.Was.Approvals, one) {
				c.Was.Approvals = append(c.Was.Approvals, one)
			}
		}
	}
	return nil
}

func (out *suggestion) undecided(reason string, n int) {
	for i := range out.Undecided {
		if out.Undecided[i].Reason == reason {
			out.Undecided[i].Requests += n
			return
		}
	}
	out.Undecided = append(out.Undecided, simulate.Undecided{Reason: reason, Requests: n})
}

// principal keeps who it was, as it was last.
func (out *suggestion) principal(p policy.Principal) {
	for i := range out.Principals {
		if out.Principals[i].Same(p) {
			out.Principals[i] = p
			return
		}
	}
	out.Principals = append(out.Principals, p)
}

func evidence(a *record.Asked) suggest.Evidence {
	const layout = "2006-01-02 15:04"
	e := suggest.Evidence{Requests: a.Ran(), First: a.First.UTC().Format(layout), Last: a.Last.UTC().Format(layout)}
	for _, x := range a.Examples {
		e.Examples = append(e.Examples, x.ID())
	}
	return e
}

// columns are the columns of the tables of connections, where their catalogs can be had; a note says where not.
func (c suggestCommand) columns(ctx context.Context, s streams, conf *config.Config, connections []string, out *suggestion) map[string][]string {
	columns := map[string][]string{}
	flags := worldFlags{configFlag: c.configFlag, profileFlag: c.profileFlag, Catalog: c.Catalog}
	w, _, err := flags.open()
	for _, name := range connections {
		var p *place
		e := err
		if e == nil {
			p, e = flags.place(w, conf, name)
		}
		if e == nil {
			e = flags.see(ctx, s, conf, p)
		}
		if e != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("The columns of %s are named one by one, since its tables are not known: %v", name, e))
			continue
		}
		for _, r := range p.model.Things() {
			if r.Type == "Column" && len(r.Parents) > 0 {
				columns[r.Parents[0].ID] = append(columns[r.Parents[0].ID], r.ID)
			}
		}
	}
	return columns
}

// check compiles the suggestion, and decides what was used again by it alone.
func (out *suggestion) check(conf *config.Config, used []usedCase) error {
	var text strings.Builder
	for _, p := range out.Policies {
		text.WriteString(p.Cedar + "\n")
	}
	alone := *conf
	alone.Connections = nil // nothing is permitted by the configuration
	set, err := compileTexts(&alone, []policy.Source{{Name: "suggestion", Text: []byte(text.String())}})
	if err != nil {
		return fmt.Errorf("no suggestion can be made that is valid: what was recorded does not fit the policies of this version: %w", err)
	}
	report := simulate.New[record.Example]()
	for _, one := range used {
		report.Add(one.Case, set.For(one.Principal))
	}
	out.Alike, out.Otherwise = report.Unchanged, report.Totals
	if n := report.Totals[simulate.NewlyRefused]; n > 0 {
		return errors.New("the suggestion would refuse what was used, which is a defect of gatehouse: report it")
	}
	return nil
}

// unneeded finds the permits in force that nothing recorded needed. Policies that read the time or the source are asked
// at the last use of each kind.
func (out *suggestion) unneeded(set *policy.Set, used []usedCase) {
	out.Unneeded = []policy.Granted{}
	if set.Momentary() {
		out.Notes = append(out.Notes, "Policies in force read the time or the client's address. The suggestion does not: add such conditions yourself. What was never used is judged by the last use of each kind.")
	}
	needed, seen := map[string]bool{}, map[string]bool{}
	for _, u := range used {
		touches := make([]policy.Touch, len(u.Touches))
		for i := range u.Touches {
			touches[i] = u.Touches[i].Touch
		}
		for _, id := range set.At(u.Principal, policy.Moment{Millis: u.asked.Last.UnixMilli(), Source: gate.SourceOf(u.asked.LastClient)}).Needed(touches) {
			needed[id] = true
		}
	}
	for _, p := range out.Principals {
		for _, g := range set.Grants(p) {
			if !needed[g.ID] && !seen[g.ID] {
				seen[g.ID] = true
				out.Unneeded = append(out.Unneeded, g)
			}
		}
	}
}

func printSuggestion(w io.Writer, r *suggestion) {
	say := func(format string, args ...any) {
		fmt.Fprintln(w, strings.TrimRight("// "+plain(fmt.Sprintf(format, args...)), " "))
	}
	say("Suggested by gatehouse: what the principals below used since %s, and nothing else.", r.Since.UTC().Format("2006-01-02 15:04"))
	for _, p := range r.Principals {
		say("    %s  [%s]", p, p.ID)
	}
	say("%s were let through; %d were refused and %d stopped, which are not permitted here.", count(r.Used, "request"), r.Refused, r.Stopped)
	say("Decided again by these policies alone, %d of %d come out as they were.", r.Alike, r.Used)
	for _, k := range simulate.Kinds {
		if n := r.Otherwise[k]; n > 0 {
			say("    %d: %s (they were decided in several ways; the last one counts)", n, k)
		}
	}
	for _, u := range r.Undecided {
		say("%d were let through and are left out: %s.", u.Requests, u.Reason)
	}
	for _, n := range r.Notes {
		say("%s", n)
	}
	for _, p := range r.Policies {
		fmt.Fprint(w, "\n"+p.Cedar)
	}
	fmt.Fprintln(w)
	say("Granted and never used: permits in force that no request needed.")
	for _, g := range r.Unneeded {
		where := "from the groups of the connection"
		if g.Line > 0 {
			where = fmt.Sprintf("%s:%d", g.Source, g.Line)
		}
		say("    %s (%s)", g.ID, where)
	}
	if len(r.Unneeded) == 0 {
		say("    none")
	}
	say("Used only with an approval:")
	for _, h := range r.OnlyHeld {
		if strings.Contains(h.Touch, " column ") {
			continue // its table says it
		}
		say("    %s: %s of %s, %s to %s", h.Touch, count(h.Requests, "time"), strings.Join(h.Approvals, " and "), h.First, h.Last)
	}
	if len(r.OnlyHeld) == 0 {
		say("    nothing")
	}
}
