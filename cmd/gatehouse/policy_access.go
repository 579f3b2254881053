package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"gatehouse/internal/config"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/access"
	"gatehouse/internal/record"
)

// seenFlags say where principals are looked for besides the policies.
type seenFlags struct {
	Recordings   string `help:"The recordings folder; by default the configuration's." placeholder:"FOLDER"`
	NoRecordings bool   `help:"Do not look for principals in the recordings."`
}

// seen are the principals of the recordings, the newest first, each once.
func (f seenFlags) seen(ctx context.Context, conf *config.Config) ([]policy.Principal, error) {
	dir := f.Recordings
	if f.NoRecordings || dir == "" && conf == nil {
		return nil, nil
	}
	if dir == "" {
		dir = conf.RecordingsDir()
	}
	list, err := record.List(ctx, dir, record.Filter{})
	if err != nil {
		return nil, fmt.Errorf("the recordings in %s cannot be read: %w: leave them out with --no-recordings", dir, err)
	}
	var out []policy.Principal
	known := map[string]bool{}
	for _, one := range list {
		if key := policy.PrincipalKey(one.Principal); !known[key] {
			known[key] = true
			out = append(out, one.Principal)
		}
	}
	return out, nil
}

type policyWhoCanCommand struct {
	worldFlags
	outputFlag
	seenFlags
	JSON     bool     `name:"json" help:"The same as --output json."`
	Label    []string `help:"A label of the column or field, where there is no catalog that knows; none: it has none." placeholder:"LABEL"`
	Action   string   `arg:"" help:"What is done: read, update, drop, …"`
	Resource string   `arg:"" help:"What it is done to: orders/public.customers.email, with the connection in front."`
}

func (policyWhoCanCommand) Help() string {
	return `Answers for every group and principal that the policies, the configuration and the recordings name: yes, masked, rows (only those of a filter), hold (with approval), or no; and by which policy. A group's line is about who is in that group alone; principals from the recordings are taken with the groups that they had.

Examples:
  gatehouse policy who-can read orders/public.customers.email
  gatehouse policy who-can drop orders/public.customers --output json
  gatehouse policy who-can update orders/public.orders --policies draft/ --catalog orders.catalog.json
  gatehouse policy who-can GET 'crm/customers/{id}'
  gatehouse policy who-can read 'crm/customers/{id}#$.email' --label pii.email`
}

// whoAnswer is the answer for one kind of asker.
type whoAnswer struct {
	Who       string           `json:"who"`
	Principal policy.Principal `json:"principal"`
	// Known says where it comes from: policies, configuration, recordings.
	Known string `json:"known"`
	Can   string `json:"can"`
	access.Answer
}

func (c policyWhoCanCommand) Run(ctx context.Context, s streams) error {
	w, conf, err := c.open()
	if err != nil {
		return err
	}
	connection, name, found := strings.Cut(c.Resource, "/")
	if !found {
		if w.places[c.Resource] != nil || conf == nil && len(w.places) == 0 { // the connection itself
			connection, name, found = c.Resource, "", true
		} else {
			return fmt.Errorf("%q does not say on which connection: write CONNECTION/%s", c.Resource, c.Resource)
		}
	}
	p, err := c.place(w, conf, connection)
	if err != nil {
		return err
	}
	t, err := c.touch(ctx, s, w, conf, p, name)
	if err != nil {
		return err
	}
	recorded, err := c.seen(ctx, conf)
	if err != nil {
		return err
	}
	joined := p.resource
	if !p.joined {
		joined = policy.Resource{}
	}
	var shown access.Shown
	if p.model != nil {
		shown = p.model.Shown
	}
	list := askers(w.set, conf, recorded)
	for i := range list {
		one := &list[i]
		one.Answer = access.Ask(w.slice(one.Principal), joined, t, shown)
		one.Can = one.Word()
	}
	if c.json() || c.JSON {
		return printJSON(s.out, map[string]any{"touch": t.String(), "labels": append([]string{}, t.Resource.Labels...), "answers": list})
	}
	fmt.Fprintf(s.out, "%s\n", plain(t.String()))
	if len(t.Resource.Labels) > 0 {
		fmt.Fprintf(s.out, "labels %s\n", plain(strings.Join(t.Resource.Labels, ", ")))
	}
	fmt.Fprintln(s.out)
	tw := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "WHO\tCAN\tHOW\tBY")
	for _, one := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", plain(one.Who), one.Can, plain(how(one.Answer)), plain(by(one.Answer)))
	}
	return tw.Flush()
}

// touch is what is asked about. Where no catalog can be had, as of an API, it is taken as it is written in full; of what has
// labels they must be said then.
func (c policyWhoCanCommand) touch(ctx context.Context, s streams, w *world, conf *config.Config, p *place, name string) (policy.Touch, error) {
	text := c.Action + " " + name
	if name == "" {
		return w.touch(p, text, nil)
	}
	unseen := c.see(ctx, s, conf, p)
	switch {
	case unseen == nil && c.Label != nil:
		return policy.Touch{}, fmt.Errorf("--label is for where there is no catalog: that of %s says which labels there are", p.resource.ID)
	case unseen == nil:
		return w.touch(p, text, nil)
	}
	labels := c.Label
	if slices.Equal(labels, []string{"none"}) {
		labels = []string{}
	}
	t, err := w.touch(p, text, labels)
	switch {
	case err != nil:
		return t, fmt.Errorf("%w\n%w", err, unseen)
	case policy.Labelled(t.Resource.Type) && c.Label == nil:
		return t, fmt.Errorf("%w\nor say which labels %s has: --label LABEL, or --label none", unseen, name)
	}
	return t, nil
}

// how is what an answer is under.
func how(a access.Answer) string {
	var parts []string
	if a.Mask != "" && a.Mask != policy.MaskNone.String() {
		parts = append(parts, a.Mask)
	}
	if len(a.Rows) > 0 {
		parts = append(parts, "where "+strings.Join(a.Rows, " and "))
	}
	if a.Limit != "" {
		parts = append(parts, a.Limit)
	}
	if len(a.Approvals) > 0 {
		parts = append(parts, "approval by "+strings.Join(a.Approvals, " and "))
	}
	if a.Because != "" {
		parts = append(parts, a.Because)
	}
	if parts == nil {
		return "-"
	}
	return strings.Join(parts, "; ")
}

func by(a access.Answer) string {
	if len(a.Policies) == 0 {
		return "no policy permits it"
	}
	return strings.Join(a.Policies, ", ")
}

// askers are who is asked about: nobody's group, every group, every principal that is named, and those of recordings.
func askers(set *policy.Set, conf *config.Config, recorded []policy.Principal) []whoAnswer {
	groups, agents, users := set.Mentioned()
	known := map[string]string{}
	for _, g := range groups {
		known[g] = "policies"
	}
	if conf != nil {
		for _, g := range configuredGroups(conf) {
			known[g] = cmp.Or(known[g], "configuration")
		}
	}
	for _, p := range recorded {
		for at := &p; at != nil; at = at.OnBehalfOf {
			for _, g := range at.Groups {
				known[g] = cmp.Or(known[g], "recordings")
			}
		}
	}
	var out []whoAnswer
	add := func(who, where string, p policy.Principal) {
		out = append(out, whoAnswer{Who: who, Known: where, Principal: p})
	}
	for _, kind := range []policy.Kind{policy.Agent, policy.User} {
		add(fmt.Sprintf("any %s", kind), "policies", policy.Principal{Kind: kind, ID: "any " + string(kind)})
		for _, g := range slices.Sorted(maps.Keys(known)) {
			add(fmt.Sprintf("%ss in %s", kind, g), known[g], policy.Principal{Kind: kind, ID: "any " + string(kind), Groups: []string{g}})
		}
	}
	for _, id := range agents {
		add(id+" (agent)", "policies", policy.Principal{Kind: policy.Agent, ID: id})
	}
	for _, id := range users {
		add(id+" (user)", "policies", policy.Principal{Kind: policy.User, ID: id})
	}
	for _, p := range recorded {
		add(fullName(p), "recordings", p)
	}
	return out
}

// configuredGroups are the groups that the configuration names.
func configuredGroups(conf *config.Config) []string {
	var out []string
	for i := range conf.Issuers {
		is := &conf.Issuers[i]
		out = append(out, slices.Collect(maps.Values(is.Groups.Names))...)
		for _, groups := range is.Agents {
			out = append(out, groups...)
		}
	}
	for _, c := range conf.Connections {
		out = append(out, c.Groups...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type policyWhatCanCommand struct {
	worldFlags
	outputFlag
	seenFlags
	JSON      bool   `name:"json" help:"The same as --output json."`
	Principal string `arg:"" help:"Its id; or the id or name of one that was recorded, with the groups that it had."`
	principalFlags
	Connection string `help:"Only on that connection; on all by default." placeholder:"NAME"`
}

func (policyWhatCanCommand) Help() string {
	return `Answers for every table and every action: yes, masked (some columns come back masked), part (some columns cannot be read), rows (only those of a filter), hold (with approval), or no. Below a table are the columns that differ from it. JSON has every column, and the policies.

Examples:
  gatehouse policy what-can entra:… --group ai-agents
  gatehouse policy what-can shop-agent --connection shop
  gatehouse policy what-can x --group analysts --policies draft.cedar --catalog orders.catalog.json --json`
}

// whatAnswer is what a principal can do on one connection.
type whatAnswer struct {
	Connection string                   `json:"connection"`
	Actions    map[string]access.Answer `json:"actions"` // on the connection itself
	Tables     []whatThing              `json:"tables"`
	Functions  []whatThing              `json:"functions"`
}

type whatThing struct {
	Name    string                   `json:"name"`
	Labels  []string                 `json:"labels,omitempty"`
	Read    string                   `json:"read,omitempty"` // of a table: in a word
	Actions map[string]access.Answer `json:"actions"`
	Columns []whatThing              `json:"columns,omitempty"`
}

func (c policyWhatCanCommand) Run(ctx context.Context, s streams) error {
	w, conf, err := c.open()
	if err != nil {
		return err
	}
	p, err := c.who(ctx, conf)
	if err != nil {
		return err
	}
	var places []*place
	if c.Connection != "" {
		one, err := c.place(w, conf, c.Connection)
		if err != nil {
			return err
		}
		places = append(places, one)
	} else {
		for _, name := range slices.Sorted(maps.Keys(w.places)) {
			places = append(places, w.places[name])
		}
	}
	if len(places) == 0 {
		return errors.New("no connection is known: give a catalog snapshot with --catalog, or a configuration")
	}
	answers := []whatAnswer{}
	for _, at := range places {
		if err := c.see(ctx, s, conf, at); err != nil {
			return err
		}
		answers = append(answers, whatCan(w.slice(p), at))
	}
	if c.json() || c.JSON {
		return printJSON(s.out, map[string]any{"principal": p, "policy_version": w.set.Version(), "connections": answers})
	}
	fmt.Fprintf(s.out, "%s\n", plain(fullName(p)))
	for i, a := range answers {
		a.print(s.out, places[i].model.Actions("Table"))
	}
	return nil
}

// who is the principal that is meant: as the flags say, or one that was recorded.
func (c policyWhatCanCommand) who(ctx context.Context, conf *config.Config) (policy.Principal, error) {
	p, err := c.principal(c.Principal)
	if err != nil || c.Groups != nil || c.OnBehalfOf != "" {
		return p, err
	}
	recorded, err := c.seen(ctx, conf)
	if err != nil {
		return p, err
	}
	for _, one := range recorded {
		if one.ID == c.Principal || one.Name == c.Principal {
			return one, nil
		}
	}
	return p, nil
}

// whatCan asks for everything on one connection.
func whatCan(slice *policy.Slice, at *place) whatAnswer {
	joined := at.resource
	if !at.joined {
		joined = policy.Resource{}
	}
	out := whatAnswer{Connection: at.resource.ID, Tables: []whatThing{}, Functions: []whatThing{}}
	for _, one := range access.Matrix(slice, joined, []policy.Resource{at.resource}, at.model.Actions, nil) {
		out.Actions = one.Actions
	}
	for _, one := range access.Matrix(slice, joined, at.model.Things(), at.model.Actions, at.model.Shown) {
		t := whatThing{Name: short(one.Resource.ID), Actions: one.Actions}
		if one.Resource.Type != "Table" {
			out.Functions = append(out.Functions, t)
			continue
		}
		t.Read = one.Read()
		for _, c := range one.Parts {
			t.Columns = append(t.Columns, whatThing{Name: strings.TrimPrefix(c.Resource.ID, one.Resource.ID+"."), Labels: c.Resource.Labels, Actions: c.Actions})
		}
		out.Tables = append(out.Tables, t)
	}
	return out
}

func (a *whatAnswer) print(out io.Writer, actions []string) {
	fmt.Fprintf(out, "\nconnection %s:", plain(a.Connection))
	for _, name := range slices.Sorted(maps.Keys(a.Actions)) {
		fmt.Fprintf(out, " %s %s", name, a.Actions[name].Word())
	}
	fmt.Fprintln(out)
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "TABLE\t%s\n", strings.ToUpper(strings.Join(actions, "\t")))
	for _, t := range a.Tables {
		cells := []string{plain(t.Name)}
		for _, name := range actions {
			word := t.Actions[name].Word()
			if name == "read" {
				word = t.Read
			}
			cells = append(cells, word)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	tw.Flush()
	for _, t := range a.Tables {
		t.notes(out)
	}
	for _, f := range a.Functions {
		if word := f.Actions["call"].Word(); word != "no" {
			fmt.Fprintf(out, "call %s: %s\n", plain(f.Name), word)
		}
	}
}

// notes are what a table's line cannot say: approvals, filters, and columns that differ.
func (t *whatThing) notes(out io.Writer) {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, plain(fmt.Sprintf(format, args...))) }
	byHow := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(t.Actions)) {
		if a := t.Actions[name]; a.Word() != "no" && how(a) != "-" {
			byHow[how(a)] = append(byHow[how(a)], name)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(byHow)) {
		add("%s: %s", strings.Join(byHow[h], ", "), h)
	}
	var masked, hidden []string
	differ := map[string][]string{}
	for _, c := range t.Columns {
		switch read := c.Actions["read"]; {
		case t.Actions["read"].Word() == "no":
		case read.Word() == "no":
			hidden = append(hidden, c.Name)
		case read.Mask != "" && read.Mask != policy.MaskNone.String():
			masked = append(masked, c.Name+" ("+read.Mask+")")
		}
		for _, name := range []string{"insert", "update"} {
			if word := c.Actions[name].Word(); word != t.Actions[name].Word() {
				differ[name+" "+word] = append(differ[name+" "+word], c.Name)
			}
		}
	}
	if masked != nil {
		add("masked: %s", strings.Join(masked, ", "))
	}
	if hidden != nil {
		add("cannot be read: %s", strings.Join(hidden, ", "))
	}
	for _, d := range slices.Sorted(maps.Keys(differ)) {
		add("%s: %s", d, strings.Join(differ[d], ", "))
	}
	if lines == nil {
		return
	}
	fmt.Fprintf(out, "\n%s\n", plain(t.Name))
	for _, l := range lines {
		fmt.Fprintf(out, "  %s\n", l)
	}
}
