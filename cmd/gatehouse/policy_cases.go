package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/cases"
)

// Bounds of a file of cases.
const (
	maxCasesFile = 4 << 20 // bytes
	maxCases     = 20000
)

// casesFile is what a file of cases says.
type casesFile struct {
	// Policies are files or patterns, from the folder of the file; by default *.cedar.
	Policies []string `yaml:"policies"`
	// Catalogs are snapshots, in the same way; by default *.catalog.json.
	Catalogs    []string                   `yaml:"catalogs"`
	Connections map[string]casesConnection `yaml:"connections"`
	Principals  map[string]casesPrincipal  `yaml:"principals"`
	Cases       []casesCase                `yaml:"cases"`
}

// casesConnection says what no catalog says.
type casesConnection struct {
	Groups []string            `yaml:"groups"` // who may connect; then that is decided too
	Tags   []string            `yaml:"tags"`
	Labels map[string][]string `yaml:"labels"` // of columns, where there is no catalog
}

type casesPrincipal struct {
	Kind       string          `yaml:"kind"` // agent or user; agent by default
	ID         string          `yaml:"id"`
	Name       string          `yaml:"name"`
	Client     string          `yaml:"client"`
	Groups     []string        `yaml:"groups"`
	OnBehalfOf *casesPrincipal `yaml:"on_behalf_of"`
}

// principal is the one that the YAML describes.
func (c *casesPrincipal) principal(n *yaml.Node) (policy.Principal, error) {
	p := policy.Principal{Kind: policy.Kind(c.Kind), ID: c.ID, Name: c.Name, Client: c.Client, Groups: c.Groups}
	if p.Kind == "" {
		p.Kind = policy.Agent
	}
	switch {
	case p.Kind != policy.Agent && p.Kind != policy.User:
		return p, strict.Errorf(strict.Find(n, "kind"), "kind is %q and should be agent or user", c.Kind)
	case p.ID == "":
		return p, strict.Errorf(n, "the principal has no id")
	case c.OnBehalfOf != nil && p.Kind == policy.User:
		return p, strict.Errorf(strict.Find(n, "on_behalf_of"), "a user acts for nobody: the principal that acts on behalf of one is an agent")
	case c.OnBehalfOf == nil:
		return p, nil
	}
	at := strict.Find(n, "on_behalf_of")
	if c.OnBehalfOf.Kind == "" {
		c.OnBehalfOf.Kind = string(policy.User)
	}
	user, err := c.OnBehalfOf.principal(at)
	p.OnBehalfOf = &user
	return p, err
}

// casesCase is one case.
type casesCase struct {
	Name       string      `yaml:"name"`
	Principal  yaml.Node   `yaml:"principal"` // a name of principals, or one
	Connection string      `yaml:"connection"`
	SQL        string      `yaml:"sql"`
	Touches    []yaml.Node `yaml:"touches"` // each ACTION RESOURCE, or {action, resource, labels}
	Action     string      `yaml:"action"`
	Object     string      `yaml:"resource"`
	Time       string      `yaml:"time"`    // where a policy reads it, of RFC 3339
	From       string      `yaml:"from"`    // the client's address, where a policy reads it
	Observe    bool        `yaml:"observe"` // as on a connection that only observes its policies
	Want       yaml.Node   `yaml:"want"`    // a decision, or casesWant
}

type casesTouch struct {
	Action string   `yaml:"action"`
	Object string   `yaml:"resource"`
	Labels []string `yaml:"labels"`
}

type casesWant struct {
	Decision  string            `yaml:"decision"`
	Would     string            `yaml:"would"`
	Code      string            `yaml:"code"`
	Mask      map[string]string `yaml:"mask"`
	Missing   []string          `yaml:"missing"`
	Forbidden []string          `yaml:"forbidden"`
	Approvals []string          `yaml:"approvals"`
	Rows      map[string]clause `yaml:"rows"`
	Limit     string            `yaml:"limit"`
	Policies  []string          `yaml:"policies"`
}

// clause is one filter or a list of them.
type clause []string

// UnmarshalYAML reads a filter or a list.
func (c *clause) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*c = clause{n.Value}
		return nil
	}
	return n.Decode((*[]string)(c))
}

// policyCase is a case that is ready to be decided.
type policyCase struct {
	name    string
	node    *yaml.Node
	request request
	moment  policy.Moment
	want    cases.Want
	wanted  *yaml.Node
}

// line is where a field of what is wanted stands.
func (c *policyCase) line(field string) int { return strict.Find(c.wanted, field).Line }

// casesError is an error in a file of cases, with its place.
type casesError struct {
	file string
	err  error
}

func (e *casesError) Error() string {
	var at *strict.Error
	if errors.As(e.err, &at) && at.Line > 0 {
		return fmt.Sprintf("%s:%d:%d: %s", e.file, at.Line, at.Column, at.Message)
	}
	return fmt.Sprintf("%s: %v", e.file, e.err)
}

// readCases reads a file of cases with all that it names. policies, where there are any, stand in the place of its
// own. Its error is a *casesError.
func readCases(path string, policies []string) ([]*policyCase, *world, error) {
	list, w, err := parseCases(path, policies)
	if err != nil {
		return nil, nil, &casesError{path, err}
	}
	return list, w, nil
}

func parseCases(path string, policies []string) ([]*policyCase, *world, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCasesFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(text) > maxCasesFile {
		return nil, nil, fmt.Errorf("it is larger than %d MiB", maxCasesFile>>20)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var root, more yaml.Node
	if err := d.Decode(&root); err != nil && err != io.EOF {
		return nil, nil, err
	}
	if root.Kind == 0 {
		return nil, nil, errors.New("it is empty")
	}
	if err := d.Decode(&more); err != io.EOF {
		return nil, nil, errors.New("it holds more than one YAML document")
	}
	var c casesFile
	if err := strict.Decode(&root, &c); err != nil {
		return nil, nil, err
	}
	if len(c.Cases) == 0 || len(c.Cases) > maxCases {
		return nil, nil, strict.Errorf(strict.Find(&root, "cases"), "it has %d cases: there should be one or more, and at most %d", len(c.Cases), maxCases)
	}
	w, err := c.world(filepath.Dir(path), &root, policies)
	if err != nil {
		return nil, nil, err
	}
	list, err := c.list(w, &root)
	return list, w, err
}

// world compiles the policies and reads the catalogs.
func (c *casesFile) world(dir string, root *yaml.Node, policies []string) (*world, error) {
	w := &world{places: map[string]*place{}}
	catalogs, err := named(dir, c.Catalogs, "*.catalog.json", strict.Find(root, "catalogs"))
	if err != nil {
		return nil, err
	}
	for _, f := range catalogs {
		m, err := openModel(f)
		if err == nil {
			err = w.add(m)
		}
		if err != nil {
			return nil, err
		}
	}
	in := policy.Input{Schemas: schemas(), Rows: checkRows}
	for name, one := range c.Connections {
		at := strict.Find(root, "connections", name)
		p := w.places[name]
		if p != nil && (one.Tags != nil || one.Labels != nil) {
			return nil, strict.Errorf(at, "the catalog of %s says which tags and labels there are: leave them out here", name)
		}
		if p == nil {
			p = &place{resource: gate.Connection{Name: name, Tags: one.Tags}.Resource()}
			w.places[name] = p
		}
		p.joined = one.Groups != nil
		in.Access = append(in.Access, policy.Access{Connection: name, Groups: one.Groups})
	}
	slices.SortFunc(in.Access, func(a, b policy.Access) int { return strings.Compare(a.Connection, b.Connection) })
	files := policies
	if files == nil {
		if files, err = named(dir, c.Policies, "*.cedar", strict.Find(root, "policies")); err != nil {
			return nil, err
		}
	}
	if in.Policies, err = policySources(files); err != nil {
		return nil, err
	}
	if len(in.Policies) == 0 {
		return nil, fmt.Errorf("there are no policies (*.cedar) in %s: name them with `policies: [FILE]`", dir)
	}
	if w.set, err = policy.Compile(in); err != nil {
		return nil, fmt.Errorf("its policies are not valid:\n%w", err)
	}
	return w, nil
}

// policySources reads policy files.
func policySources(files []string) ([]policy.Source, error) {
	var out []policy.Source
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		out = append(out, policy.Source{Name: f, Text: text})
	}
	return out, nil
}

// named are the files that patterns name, from a folder; each pattern must name one.
func named(dir string, patterns []string, otherwise string, at *yaml.Node) ([]string, error) {
	if patterns == nil {
		return filepath.Glob(filepath.Join(dir, otherwise))
	}
	var out []string
	for _, p := range patterns {
		full := p
		if !filepath.IsAbs(p) {
			full = filepath.Join(dir, p)
		}
		found, err := filepath.Glob(full)
		if err != nil || len(found) == 0 {
			return nil, strict.Errorf(at, "there is no file %s", full)
		}
		for _, f := range found {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// list makes every case ready.
func (c *casesFile) list(w *world, root *yaml.Node) ([]*policyCase, error) {
	principals := map[string]policy.Principal{}
	for name := range c.Principals {
		one := c.Principals[name]
		p, err := one.principal(strict.Find(root, "principals", name))
		if err != nil {
			return nil, err
		}
		if p.Name == "" {
			p.Name = name
		}
		principals[name] = p
	}
	var out []*policyCase
	seen := map[string]int{}
	for i := range c.Cases {
		one, err := c.Cases[i].ready(w, c, principals, strict.Find(root, "cases", i))
		if err != nil {
			return nil, err
		}
		if line := seen[one.name]; line != 0 {
			return nil, strict.Errorf(one.node, "the case %q is there twice, first in line %d: give each a name of its own", one.name, line)
		}
		seen[one.name] = one.node.Line
		out = append(out, one)
	}
	return out, nil
}

// ready makes one case ready.
func (c *casesCase) ready(w *world, file *casesFile, principals map[string]policy.Principal, n *yaml.Node) (*policyCase, error) {
	out := &policyCase{name: c.Name, node: n, wanted: &c.Want}
	var err error
	if out.request.principal, err = c.who(principals, n); err != nil {
		return nil, err
	}
	if out.request.place, err = w.at(c.Connection); err != nil {
		return nil, strict.Errorf(strict.Find(n, "connection"), "%v", err)
	}
	if out.moment, err = c.moment(n); err != nil {
		return nil, err
	}
	ways := 0
	for _, given := range []bool{c.SQL != "", c.Touches != nil, c.Action != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 || c.Action == "" && c.Object != "" {
		return nil, strict.Errorf(n, "a case asks for one thing: give it sql, or touches, or action and resource")
	}
	out.request.text, out.request.observed = c.SQL, c.Observe
	what := c.SQL
	if c.Action != "" {
		c.Touches = []yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(c.Action + " " + c.Object), Line: strict.Find(n, "action").Line, Column: strict.Find(n, "action").Column}}
	}
	for i := range c.Touches {
		t, err := c.touch(w, file, out.request.place, &c.Touches[i])
		if err != nil {
			return nil, err
		}
		out.request.touches = append(out.request.touches, t)
		what = strings.TrimPrefix(what+"; "+t.String(), "; ")
	}
	if out.name == "" {
		how := ""
		if c.Observe {
			how = " observed"
		}
		out.name = line(strings.Join(strings.Fields(out.request.principal.String()+how+" "+c.Time+" "+c.From+": "+what), " "), 100)
	}
	out.want, err = c.wants(w, out.request.place, n)
	return out, err
}

// moment is when and from where a case is asked.
func (c *casesCase) moment(n *yaml.Node) (m policy.Moment, err error) {
	if c.Time != "" {
		at, err := time.Parse(time.RFC3339, c.Time)
		if err != nil {
			return m, strict.Errorf(strict.Find(n, "time"), "%q is not a time: write one such as 2026-01-31T12:00:00Z", c.Time)
		}
		m.Millis = at.UnixMilli()
	}
	if _, err := netip.ParseAddr(c.From); c.From != "" && err != nil {
		return m, strict.Errorf(strict.Find(n, "from"), "%q is not an address: write one such as 10.1.2.3", c.From)
	}
	m.Source = c.From
	return m, nil
}

func (c *casesCase) who(principals map[string]policy.Principal, n *yaml.Node) (policy.Principal, error) {
	at := strict.Find(n, "principal")
	switch {
	case c.Principal.Kind == 0:
		return policy.Principal{}, strict.Errorf(n, "the case has no principal")
	case c.Principal.Kind != yaml.ScalarNode:
		var one casesPrincipal
		if err := strict.Decode(&c.Principal, &one); err != nil {
			return policy.Principal{}, err
		}
		return one.principal(at)
	}
	p, ok := principals[c.Principal.Value]
	if !ok {
		var names []string
		for name := range principals {
			names = append(names, name)
		}
		hint := "name it under principals, or write {id: …, groups: […]}"
		if near := strict.Nearest(c.Principal.Value, names); near != "" {
			hint = "is " + near + " meant?"
		}
		return p, strict.Errorf(at, "there is no principal %q: %s", c.Principal.Value, hint)
	}
	return p, nil
}

// touch reads one touch. What labels a column has comes from the touch, else from the catalog or the file.
func (c *casesCase) touch(w *world, file *casesFile, p *place, n *yaml.Node) (policy.Touch, error) {
	var one casesTouch
	text := n.Value
	if n.Kind != yaml.ScalarNode {
		if err := strict.Decode(n, &one); err != nil {
			return policy.Touch{}, err
		}
		text = strings.TrimSpace(one.Action + " " + one.Object)
	}
	t, err := w.touch(p, text, one.Labels)
	if err != nil {
		return t, strict.Errorf(n, "%v", err)
	}
	if one.Labels == nil && p.model == nil && policy.Labelled(t.Resource.Type) {
		labels, name := file.Connections[p.resource.ID].Labels, short(t.Resource.ID)
		if t.Resource.Labels = labels[name]; t.Resource.Labels == nil && t.Resource.Type == "Field" {
			t.Resource.Labels = labels["/"+name]
		}
	}
	return t, nil
}

// wants reads what a case expects.
func (c *casesCase) wants(w *world, p *place, n *yaml.Node) (cases.Want, error) {
	if c.Want.Kind == 0 {
		return cases.Want{}, strict.Errorf(n, "the case does not say what it wants: want: permit, hold or refuse, or {decision: …, mask: …}")
	}
	if c.Want.Kind == yaml.ScalarNode {
		return cases.Want{Decision: c.Want.Value}, decisionWord(&c.Want, c.Want.Value)
	}
	var v casesWant
	if err := strict.Decode(&c.Want, &v); err != nil {
		return cases.Want{}, err
	}
	out := cases.Want{Decision: v.Decision, Would: v.Would, Code: v.Code, Policies: v.Policies, Approvals: v.Approvals}
	if v.Decision == "" {
		out.Decision = v.implied()
	}
	if err := decisionWord(strict.Find(&c.Want, "decision"), out.Decision); err != nil {
		return out, err
	}
	switch {
	case v.Would == "":
	case !c.Observe:
		return out, strict.Errorf(strict.Find(&c.Want, "would"), "would is what policies say that are only observed: write observe: true in the case, or decision here")
	case !slices.Contains([]string{"refuse", "hold", "none"}, v.Would):
		return out, strict.Errorf(strict.Find(&c.Want, "would"), "would is refuse, hold or none, not %q", v.Would)
	}
	for i, a := range out.Approvals {
		group, quorum, found := strings.Cut(a, ",")
		if out.Approvals[i] = strings.TrimSpace(group); found && strings.TrimSpace(quorum) != "1" {
			out.Approvals[i] += "," + strings.TrimSpace(quorum)
		}
	}
	if v.Limit != "" {
		limit, err := limitWord(v.Limit)
		if err != nil {
			return out, strict.Errorf(strict.Find(&c.Want, "limit"), "%v", err)
		}
		out.Limit = &limit
	}
	return out, c.ids(w, p, &v, &out)
}

// implied is the decision of a case that names none.
func (v *casesWant) implied() string {
	switch {
	case v.Would != "": // what is only observed is let through
		return "permit"
	case v.Missing != nil || v.Forbidden != nil || v.Code != "":
		return "refuse"
	case len(v.Approvals) > 0:
		return "hold"
	}
	return "permit"
}

func limitWord(text string) (string, error) {
	if text == "none" {
		return "", nil
	}
	l, err := policy.ParseLimit(text)
	return cases.LimitText(l), err
}

func decisionWord(n *yaml.Node, word string) error {
	if !slices.Contains([]string{"permit", "hold", "refuse"}, word) {
		return strict.Errorf(n, "a decision is permit, hold or refuse, not %q", word)
	}
	return nil
}

// ids reads the things that a case names.
func (c *casesCase) ids(w *world, p *place, v *casesWant, out *cases.Want) error {
	if v.Mask != nil {
		out.Masks = map[string]string{}
	}
	for name, mask := range v.Mask {
		at := strict.Find(&c.Want, "mask", name)
		r, err := p.thing(p.labelled(name), name)
		if err != nil {
			return strict.Errorf(at, "%v", err)
		}
		word, _, _ := strings.Cut(mask, ":")
		for _, one := range strings.Split(word, "+") {
			if _, err := policy.ParseMask(one); err != nil && one != policy.MaskNone.String() {
				return strict.Errorf(at, "%v, or none", err)
			}
		}
		if _, twice := out.Masks[r.ID]; twice {
			return strict.Errorf(at, "the column %s is named twice", short(r.ID))
		}
		if mask == "bucket" {
			mask = "bucket:10"
		}
		out.Masks[r.ID] = mask
	}
	if v.Rows != nil {
		out.Rows = map[string][]string{}
	}
	for name, filters := range v.Rows {
		r, err := p.thing("Table", name)
		if err != nil {
			return strict.Errorf(strict.Find(&c.Want, "rows", name), "%v", err)
		}
		out.Rows[r.ID] = filters
	}
	for _, list := range []struct {
		field string
		from  []string
		to    *[]string
	}{{"missing", v.Missing, &out.Missing}, {"forbidden", v.Forbidden, &out.Forbidden}} {
		if list.from != nil {
			*list.to = []string{}
		}
		for i, text := range list.from {
			t, err := w.touch(p, text, nil)
			if err != nil {
				return strict.Errorf(strict.Find(&c.Want, list.field, i), "%v", err)
			}
			*list.to = append(*list.to, t.String())
		}
	}
	return nil
}
