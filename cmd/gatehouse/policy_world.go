package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
)

// worldFlags say which policies decide, and what the connections are like.
type worldFlags struct {
	configFlag
	profileFlag
	Policies []string `help:"Policy files or folders in the place of those in force." placeholder:"PATH"`
	At       moment   `name:"at" help:"The time that it is decided at, where a policy reads it; now, or that of the recorded request, by default." placeholder:"TIME"`
	From     string   `help:"The client's address, where a policy reads it." placeholder:"ADDRESS"`
	Catalog  []string `help:"A catalog snapshot; by default the gateway is asked for its catalog, as the profile's person, or the database that the configuration names." placeholder:"FILE"`
}

// open compiles the policies and reads the snapshots. The configuration may be missing where policies are named.
func (f worldFlags) open() (*world, *config.Config, error) {
	w := &world{places: map[string]*place{}, moment: policy.Moment{Millis: time.Now().UnixMilli(), Source: f.From}}
	if !f.At.IsZero() {
		w.moment.Millis = f.At.UnixMilli()
	}
	if _, err := netip.ParseAddr(f.From); f.From != "" && err != nil {
		return nil, nil, fmt.Errorf("--from %q is not an address: write one such as 10.1.2.3", f.From)
	}
	var conf *config.Config
	var err error
	if _, missing := os.Stat(f.Config); missing == nil || len(f.Policies) == 0 {
		if conf, err = f.load(); err != nil {
			return nil, nil, err
		}
	}
	for _, file := range f.Catalog {
		m, err := openModel(file)
		if err == nil {
			err = w.add(m)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if conf != nil {
		for _, c := range conf.Gate() {
			p := w.places[c.Name]
			if p == nil {
				p = &place{resource: c.Resource()}
				w.places[c.Name] = p
			}
			p.joined = true
		}
	}
	switch {
	case len(f.Policies) == 0:
		w.set, err = compilePolicies(conf)
	case conf != nil:
		w.set, err = compileDraft(conf, f.Policies)
	default:
		w.set, err = compileAlone(f.Policies)
	}
	return w, conf, err
}

// compileAlone compiles policy files without a configuration: who may connect is only what they say themselves.
func compileAlone(paths []string) (*policy.Set, error) {
	files, err := draftFiles(paths)
	if err != nil {
		return nil, err
	}
	in := policy.Input{Schemas: schemas(), Rows: checkRows}
	if in.Policies, err = policySources(files); err != nil {
		return nil, err
	}
	set, err := policy.Compile(in)
	if err != nil {
		return nil, fmt.Errorf("the policies are not valid:\n%w", err)
	}
	return set, nil
}

// place finds a connection; without a configuration or a catalog it is taken to be as it is named.
func (f worldFlags) place(w *world, conf *config.Config, name string) (*place, error) {
	if conf == nil && len(w.places) == 0 && name != "" {
		w.places[name] = &place{resource: gate.Connection{Name: name}.Resource()}
	}
	return w.at(name)
}

// see makes sure of the catalog of a connection: asks the gateway for it, or else its database.
func (f worldFlags) see(ctx context.Context, s streams, conf *config.Config, p *place) error {
	if p.model != nil {
		return nil
	}
	name := p.resource.ID
	var tried []string
	if text, err := f.ask(ctx, name); err == nil {
		p.model, err = readModel("the catalog of the gateway", text)
		return err
	} else if !errors.Is(err, errNotSignedIn) {
		tried = append(tried, "the gateway: "+err.Error())
	}
	if conf != nil {
		for _, c := range conf.Gate() {
			if c.Name != name {
				continue
			}
			i, err := inspector(c)
			if err != nil {
				return err
			}
			text, err := snapshotOf(ctx, c, i, false)
			if err == nil {
				p.model, err = readModel("the catalog of the database", text)
				return err
			}
			tried = append(tried, err.Error())
		}
	}
	hint := fmt.Sprintf("name a snapshot with --catalog (`gatehouse connections snapshot %s --file %s.catalog.json` writes one)", name, name)
	if tried == nil {
		return fmt.Errorf("there is no catalog of the connection %s: %s", name, hint)
	}
	return fmt.Errorf("there is no catalog of the connection %s: %s\n%s", name, hint, strings.Join(tried, "\n"))
}

var errNotSignedIn = errors.New("nobody is signed in")

// ask gets the catalog from the gateway.
func (f worldFlags) ask(ctx context.Context, name string) ([]byte, error) {
	_, p, err := f.profileFlag.open()
	if err != nil || p.API == "" {
		return nil, errNotSignedIn
	}
	api, err := f.dial()
	if err != nil {
		return nil, err
	}
	return api.Catalog(ctx, name)
}

// principalFlags name a principal that need not exist.
type principalFlags struct {
	Kind       string   `default:"agent" enum:"agent,user" help:"agent or user."`
	Groups     []string `name:"group" help:"A group that it is in; may be given again, or several with commas." placeholder:"GROUP"`
	OnBehalfOf string   `help:"The id of the user that the agent acts for." placeholder:"ID"`
	UserGroups []string `name:"user-group" help:"A group of that user." placeholder:"GROUP"`
}

// principal is the one that the flags name.
func (f principalFlags) principal(id string) (policy.Principal, error) {
	p := policy.Principal{Kind: policy.Kind(f.Kind), ID: id, Groups: slices.Clone(f.Groups)}
	switch {
	case id == "":
		return p, errors.New("the principal's id is missing")
	case f.OnBehalfOf == "" && len(f.UserGroups) > 0:
		return p, errors.New("--user-group is for the user of --on-behalf-of, which is missing")
	case f.OnBehalfOf != "" && p.Kind == policy.User:
		return p, errors.New("a user acts for nobody: --on-behalf-of is for an agent")
	case f.OnBehalfOf != "":
		p.OnBehalfOf = &policy.Principal{Kind: policy.User, ID: f.OnBehalfOf, Groups: f.UserGroups}
	}
	return p, nil
}

// fullName is a principal with its groups, and those of the user that it acts for.
func fullName(p policy.Principal) string {
	text := fmt.Sprintf("%s [%s]", policy.Principal{Kind: p.Kind, ID: p.ID, Name: p.Name}, p.ID)
	if p.Name == "" {
		text = policy.Principal{Kind: p.Kind, ID: p.ID}.String()
	}
	if len(p.Groups) > 0 {
		text += " in " + strings.Join(p.Groups, ", ")
	}
	if p.OnBehalfOf != nil {
		text += " on behalf of " + fullName(*p.OnBehalfOf)
	}
	return text
}
