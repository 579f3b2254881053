package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"text/tabwriter"

	"gatehouse/internal/config"
	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
)

type connectionCommands struct {
	List   connectionsListCommand   `cmd:"" help:"List the configured connections."`
	Show   connectionsShowCommand   `cmd:"" help:"Show how a connection is configured, and how to use it."`
	Check  connectionsCheckCommand  `cmd:"" help:"Connect, and say what is wrong or risky: the role, the labels, what has none."`
	Grants connectionsGrantsCommand `cmd:"" help:"Print the least GRANTs that the policies need, as SQL."`

	Snapshot connectionsSnapshotCommand `cmd:"" help:"Write the catalog and the labels to a file, for policy test, explain, who-can and what-can."`
}

func (connectionCommands) Help() string {
	return `These read the configuration; check, grants and snapshot connect to the database with the role and password that it names. The gateway need not run.

Examples:
  gatehouse connections list
  gatehouse connections check orders
  gatehouse connections grants orders > grants.sql`
}

// inspector is what looks at a connection.
func inspector(c gate.Connection) (gate.Inspector, error) {
	for _, kind := range connectors() {
		if kind.Kind() == c.Kind {
			return kind.Inspector(c)
		}
	}
	return nil, fmt.Errorf("connection %s: there is no connector for %s", c.Name, c.Kind)
}

// connectionArg names one connection of the configuration.
type connectionArg struct {
	configFlag
	Name string `arg:"" help:"The connection's name."`
}

func (a connectionArg) open() (*config.Config, gate.Connection, gate.Inspector, error) {
	conf, err := a.load()
	if err != nil {
		return nil, gate.Connection{}, nil, err
	}
	var names []string
	for _, c := range conf.Gate() {
		if c.Name == a.Name {
			i, err := inspector(c)
			return conf, c, i, err
		}
		names = append(names, c.Name)
	}
	hint := "`gatehouse connections list` shows them"
	if near := strict.Nearest(a.Name, names); near != "" {
		hint = "is " + near + " meant?"
	}
	return nil, gate.Connection{}, nil, fmt.Errorf("there is no connection %q in %s: %s", a.Name, a.Config, hint)
}

// connectionView is a connection as `list` and `show` give it.
type connectionView struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	Tags   []string `json:"tags"`
	Groups []string `json:"groups"`
	// Observe: the policies refuse and hold nothing.
	Observe bool `json:"observe,omitempty"`
	gate.Description
}

func view(c gate.Connection, i gate.Inspector) connectionView {
	return connectionView{c.Name, c.Kind, append([]string{}, c.Tags...), append([]string{}, c.Groups...), c.Observe, i.Describe()}
}

type connectionsListCommand struct {
	configFlag
	outputFlag
}

func (connectionsListCommand) Help() string {
	return `Examples:
  gatehouse connections list
  gatehouse connections list --output json`
}

func (c connectionsListCommand) Run(s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	list := []connectionView{}
	for _, one := range conf.Gate() {
		i, err := inspector(one)
		if err != nil {
			return err
		}
		list = append(list, view(one, i))
	}
	if c.json() {
		return printJSON(s.out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(s.out, "No connections.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CONNECTION\tKIND\tTARGET\tROLE\tTAGS\tGROUPS\tLABELS")
	for _, v := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", v.Name, v.Kind, v.Target, v.Role, strings.Join(v.Tags, " "), strings.Join(v.Groups, " "), len(v.Labels))
	}
	return w.Flush()
}

type connectionsShowCommand struct {
	connectionArg
	outputFlag
}

func (connectionsShowCommand) Help() string {
	return `Shows no secret, and connects to nothing: check does.

Examples:
  gatehouse connections show orders
  gatehouse connections show orders --output json`
}

func (c connectionsShowCommand) Run(s streams) error {
	conf, one, i, err := c.open()
	if err != nil {
		return err
	}
	v := view(one, i)
	if c.json() {
		return printJSON(s.out, v)
	}
	field := func(name, value string) { fmt.Fprintf(s.out, "%-22s %s\n", name, plain(value)) }
	field("connection", v.Name)
	field("kind", v.Kind)
	field("target", v.Target)
	field("role", v.Role)
	for _, d := range v.Details {
		field(d.Name, d.Value)
	}
	field("tags", strings.Join(v.Tags, ", "))
	field("groups", strings.Join(v.Groups, ", "))
	if v.Observe {
		field("observe", "yes: the policies refuse and hold nothing, and are recorded")
	}
	if g, ok := i.(gate.Guide); ok {
		for _, how := range g.Clients(conf.BaseURL(), conf.Listen[one.Kind]) {
			field("clients", how)
		}
	} else {
		field("clients", fmt.Sprintf("connect to %s with the database name %s", conf.Listen[one.Kind], one.Name))
	}
	printLabels(s.out, "labels", v.Labels)
	return nil
}

func printLabels(w io.Writer, head string, list []gate.Labelled) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "%s:\n", head)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, l := range list {
		fmt.Fprintf(t, "    %s\t%s\t%s\n", plain(l.Field), strings.Join(l.Labels, ", "), plain(l.Because))
	}
	t.Flush()
}

type connectionsCheckCommand struct {
	connectionArg
	outputFlag
}

func (connectionsCheckCommand) Help() string {
	return `Connects as the gateway does and reads the catalog, never a row of a table. Names each right of the role that goes beyond reading and writing rows, each label that is on nothing, where labels flowed to, and columns without a label whose names look as if they should have one. The exit status is 1 where anything is an error; warnings do not count.

Examples:
  gatehouse connections check orders
  gatehouse connections check orders --output json`
}

func (c connectionsCheckCommand) Run(ctx context.Context, s streams) error {
	_, one, i, err := c.open()
	if err != nil {
		return err
	}
	found := i.Check(ctx)
	if c.json() {
		err = printJSON(s.out, struct {
			Connection string `json:"connection"`
			OK         bool   `json:"ok"`
			gate.Inspection
		}{one.Name, found.OK(), found})
	} else {
		printInspection(s.out, one.Name, i.Describe(), found)
	}
	if err == nil && !found.OK() {
		err = fmt.Errorf("connection %s is not fit for use: remove the errors above, then check again", one.Name)
	}
	return err
}

func printInspection(w io.Writer, name string, d gate.Description, i gate.Inspection) {
	server := i.Server
	if server == "" {
		server = "not reached"
	}
	fmt.Fprintf(w, "%s: %s as %s (%s)\n", name, d.Target, d.Role, server)
	for _, f := range i.Findings {
		word := "ERROR"
		if f.Level == gate.Warning {
			word = "warning"
		}
		fmt.Fprintf(w, "%-8s %s\n%-8s %s\n", word, plain(f.Problem), "", plain(f.Remedy))
	}
	if len(i.Findings) == 0 {
		fmt.Fprintln(w, "The role may do no more than read and write rows, and every label is on a column.")
	}
	printLabels(w, "labels in force", i.Labels)
	printLabels(w, "columns without a label that look as if they should have one", i.Suggestions)
}

type connectionsGrantsCommand struct{ connectionArg }

func (connectionsGrantsCommand) Help() string {
	return `Prints SQL that gives the connection's role exactly what the policies can need, for any principal, and takes away what else it has on the tables. It changes nothing itself: an administrator of the database looks at it, and runs it. Make the role before: it needs no rights for this.

Examples:
  gatehouse connections grants orders
  gatehouse connections grants orders > grants.sql && psql -X -v ON_ERROR_STOP=1 -f grants.sql "host=db.internal dbname=orders user=postgres"`
}

func (c connectionsGrantsCommand) Run(ctx context.Context, s streams) error {
	conf, one, i, err := c.open()
	if err != nil {
		return err
	}
	set, err := compilePolicies(conf)
	if err != nil {
		return err
	}
	reaching := set.Reaching(one.Resource())
	if len(reaching) == 0 {
		fmt.Fprintf(s.err, "warning: no policy lets anyone connect to %s: give it groups, or permit connect\n", one.Name)
	}
	text, err := i.Grants(ctx, reaching)
	if err != nil {
		return fmt.Errorf("connection %s: %w", one.Name, err)
	}
	fmt.Fprint(s.out, text)
	return nil
}

// missingSecrets names every connection, and every place that is notified, shipped or streamed to, whose secret is not there.
func missingSecrets(conf *config.Config) []string {
	var out []string
	for _, c := range conf.Gate() {
		i, err := inspector(c)
		if err == nil {
			err = i.Secrets()
		}
		if err != nil {
			out = append(out, fmt.Sprintf("connection %q: %v", c.Name, err))
		}
	}
	for i := range conf.Approvals.Notify {
		if t := &conf.Approvals.Notify[i]; t.Secrets() != nil {
			out = append(out, fmt.Sprintf("approvals.notify %q: %v", t.Name, t.Secrets()))
		}
	}
	for i := range conf.Recordings.Ship {
		if t := &conf.Recordings.Ship[i]; t.Secrets() != nil {
			out = append(out, fmt.Sprintf("recordings.ship %q: %v", t.Name, t.Secrets()))
		}
	}
	for i := range conf.Recordings.Streams {
		if t := &conf.Recordings.Streams[i]; t.Secrets() != nil {
			out = append(out, fmt.Sprintf("recordings.streams %q: %v", t.Name, t.Secrets()))
		}
	}
	return out
}

// warn looks at every connection once and logs what is wrong: the gateway serves all the same, because what is
// wrong with a database can be put right while it does.
func (g *gateway) warn(ctx context.Context) {
	for _, c := range g.config.Gate() {
		if c.Observe {
			g.log.Warn("the policies are only observed: nothing is refused or held by them", "connection", c.Name, "remedy", "take observe out of the connection when the recordings show what you want")
		}
	}
	var looking sync.WaitGroup
	for _, c := range g.config.Gate() {
		looking.Go(func() { g.warnOf(ctx, c) })
	}
	looking.Wait()
}

func (g *gateway) warnOf(ctx context.Context, c gate.Connection) {
	i, err := inspector(c)
	if err != nil {
		g.log.Error("a connection cannot be looked at", "connection", c.Name, "error", err)
		return
	}
	for _, f := range i.Check(ctx).Findings {
		if ctx.Err() != nil {
			return
		}
		level := slog.LevelWarn
		if f.Level == gate.Warning {
			level = slog.LevelInfo
		}
		g.log.Log(ctx, level, "a connection was looked at", "connection", c.Name, "problem", f.Problem, "remedy", f.Remedy)
	}
}
