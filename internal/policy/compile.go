package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed core.cedarschema
var coreSchema []byte

// maxSource bounds one policy file.
const maxSource = 4 << 20

// Source is a text with the name that errors are reported under.
type Source struct {
	Name string
	Text []byte
}

// Access is the short form of who may connect: a generated permit.
type Access struct {
	Connection string
	Groups     []string
}

// Input is what a set is compiled from.
type Input struct {
	// Groups says whether persons can be in a group; nil where that is not known.
	Groups func(string) bool
	// Schemas are the connectors' fragments; the core is added to them.
	Schemas  []Source
	Policies []Source
	Access   []Access
	// Rows says what is wrong with the text of a row filter; nil where no connector can filter rows.
	Rows func(text string) error
}

// Problem is one thing that is wrong with a policy, and where.
type Problem struct {
	Source  string
	Line    int // from 1; 0: the whole source
	Column  int
	Message string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.Source, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.Source, p.Line, p.Column, p.Message)
}

// Problems are all that Compile found wrong.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// compiler gathers rules and problems.
type compiler struct {
	set      *Set
	problems Problems
	check    *validate.Validator
	rows     func(string) error
	ids      map[string]string // id -> where it was first used
}

// Compile parses and validates policies. Its error is Problems, with every problem found.
func Compile(in Input) (*Set, error) {
	c := &compiler{set: &Set{actions: map[string]types.EntityUIDSet{}}, ids: map[string]string{}, rows: in.Rows}
	if err := c.schema(in.Schemas); err != nil {
		return nil, err
	}
	hash := sha256.New()
	for _, s := range in.Policies {
		fmt.Fprintf(hash, "%d %s\n", len(s.Text), s.Text)
		c.source(s)
	}
	for _, a := range in.Access {
		fmt.Fprintf(hash, "%q\n", a)
		c.access(a)
	}
	c.unknownGroups(in.Groups)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	slices.SortFunc(c.set.rules, func(a, b *rule) int { return strings.Compare(a.id, b.id) })
	c.warn()
	c.set.version = hex.EncodeToString(hash.Sum(nil)[:8])
	return c.set, nil
}

// unknownGroups warns of approvals that nobody could give.
func (c *compiler) unknownGroups(known func(string) bool) {
	for _, r := range c.set.rules {
		if known == nil || r.approval == nil || known(r.approval.Group) {
			continue
		}
		pos := r.policy.Position()
		c.set.warnings = append(c.set.warnings, Problem{Source: pos.Filename, Line: pos.Line, Column: pos.Column,
			Message: fmt.Sprintf("no issuer gives anyone the group %q, which @approval asks: requests would wait in vain: name it in groups.names, or correct it", r.approval.Group)})
	}
}

// schema joins the fragments.
func (c *compiler) schema(fragments []Source) error {
	text := slices.Clone(coreSchema)
	for _, f := range fragments {
		text = append(append(text, '\n'), f.Text...)
	}
	var s schema.Schema
	s.SetFilename("schema")
	if err := s.UnmarshalCedar(text); err != nil {
		return Problems{{Source: "schema", Message: err.Error()}}
	}
	resolved, err := s.Resolve()
	if err != nil {
		return Problems{{Source: "schema", Message: err.Error()}}
	}
	for id, a := range resolved.Actions {
		c.set.actions[string(id.ID)] = a.Entity.Parents
	}
	c.check = validate.New(resolved)
	return nil
}

var parsePosition = regexp.MustCompile(`parse error at (?:<input>:)?\S*?(\d+):(\d+) `)

func (c *compiler) source(s Source) {
	if len(s.Text) > maxSource {
		c.problems = append(c.problems, Problem{Source: s.Name, Message: fmt.Sprintf("the file has %d bytes; the limit is %d", len(s.Text), maxSource)})
		return
	}
	list, err := cedar.NewPolicyListFromBytes(s.Name, s.Text)
	if err != nil {
		p := Problem{Source: s.Name, Message: "it does not parse: " + err.Error()}
		if m := parsePosition.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Column, _ = strconv.Atoi(m[2])
			_, after, _ := strings.Cut(err.Error(), "parse error at ")
			p.Message = "it does not parse at " + after[strings.Index(after, " ")+1:]
		}
		c.problems = append(c.problems, p)
		return
	}
	for _, p := range list {
		c.policy(s.Name, p, "")
	}
}

// access adds the generated permit of a connection.
func (c *compiler) access(a Access) {
	for i, g := range a.Groups {
		p := cedar.NewPolicyFromAST((*publicast.Policy)(ast.Permit().
			PrincipalIn(types.NewEntityUID("Group", types.String(g))).
			ActionEq(types.NewEntityUID("Action", "connect")).
			ResourceEq(types.NewEntityUID("Connection", types.String(a.Connection)))))
		id := "connection:" + a.Connection
		if i > 0 {
			id += ":" + g
		}
		c.policy("connection "+a.Connection, p, id)
	}
}

func (c *compiler) policy(source string, p *cedar.Policy, id string) {
	pos := p.Position()
	problem := func(format string, args ...any) {
		c.problems = append(c.problems, Problem{Source: source, Line: pos.Line, Column: pos.Column, Message: fmt.Sprintf(format, args...)})
	}
	r := &rule{id: id, policy: p, forbid: p.Effect() == cedar.Forbid}
	r.exact = exact(p)
	annotations := p.Annotations()
	if v, ok := annotations["id"]; ok {
		r.id = string(v)
	}
	if r.id == "" {
		r.id = fmt.Sprintf("%s:%d", source, pos.Line)
	}
	where := fmt.Sprintf("%s:%d", source, pos.Line)
	switch first, taken := c.ids[r.id]; {
	case taken && r.id == where:
		problem("two policies are on one line, which would give both the id %q: give each an @id, such as @id(\"readers\"), or a line of its own", r.id)
	case taken:
		problem("the id %q is used already at %s: give each policy an @id of its own", r.id, first)
	}
	c.ids[r.id] = where
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if err := c.annotation(r, string(name), string(annotations[name])); err != nil {
			problem("%v", err)
		}
	}
	if err := c.check.Policy(r.id, (*ast.Policy)(p.AST())); err != nil {
		for _, e := range flatten(err) {
			problem("%s", strings.TrimPrefix(e.Error(), "for policy `"+r.id+"`, "))
		}
	}
	c.set.rules = append(c.set.rules, r)
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// known are the annotations: what may be written, and what is planned.
var known = []string{"id", "description", "approval", "mask", "rows", "limit"}

func (c *compiler) annotation(r *rule, name, value string) error {
	switch name {
	case "id":
		if strings.TrimSpace(value) == "" {
			return errors.New("@id is empty")
		}
	case "description":
	case "rows":
		return c.filter(r, value)
	case "limit":
		l, err := ParseLimit(value)
		if err != nil {
			return fmt.Errorf("@limit: %w", err)
		}
		if !c.confined(r, func(action string) bool { return !slices.Contains(unlimited, action) }) {
			return errors.New("@limit is misplaced: name the actions whose results it bounds, such as read")
		}
		r.limit = l
	case "approval":
		group, quorum, found := strings.Cut(value, ",")
		a := Approval{Group: strings.TrimSpace(group), Quorum: 1, Policy: r.id}
		if found {
			n, err := strconv.Atoi(strings.TrimSpace(quorum))
			if err != nil || n < 1 || n > 100 {
				return fmt.Errorf("@approval(%q): the quorum must be a number from 1 to 100", value)
			}
			a.Quorum = n
		}
		if err := groupName(a.Group); err != nil {
			return err
		}
		if !c.scoped(r, func(action string) bool { return !slices.Contains(personal, action) }) {
			return errors.New("@approval is misplaced: people's own actions are not held")
		}
		r.approval = &a
	case "mask":
		m, err := parseMask(value)
		if err != nil {
			return fmt.Errorf("@mask: %w", err)
		}
		if !c.scoped(r, func(action string) bool { return action == "read" }) {
			return errors.New("@mask is misplaced: it belongs on a policy whose action is read")
		}
		r.mask, r.masks = m, true
	default:
		return fmt.Errorf("unknown annotation @%s; did you mean @%s?", name, nearest(name, known))
	}
	return nil
}

var (
	quorumLike = regexp.MustCompile(`^([\pL\pN_.-]+)\s*[:;*/+ ]\s*([1-9][0-9]?)$`)
	namespaced = regexp.MustCompile(`^[^:]+:(group|role):.+$`)
)

// groupName refuses what no person's group can be called: a request that waits for it would wait in vain.
// Groups are words (configured), or ISSUER:group:ID and ISSUER:role:NAME.
func groupName(group string) error {
	if m := quorumLike.FindStringSubmatch(group); m != nil {
		return fmt.Errorf("@approval(%q) names a group that nobody can be in: for %s persons of the group %s write @approval(%q)", group, m[2], m[1], m[1]+","+m[2])
	}
	switch {
	case group == "":
		return errors.New(`@approval names no group: write @approval("dba") or @approval("dba,2")`)
	case strings.Contains(group, ":") && !namespaced.MatchString(group):
		return fmt.Errorf(`@approval(%q) names a group that nobody can be in: a group is a word of groups.names, such as "dba", or ISSUER:group:ID, or ISSUER:role:NAME`, group)
	}
	return nil
}

var personal = []string{"approve", "review"}

// unlimited are the actions that give nothing back that a limit could bound.
var unlimited = []string{"approve", "review", "connect", "set", "reveal"}

// filter takes a row filter: one that a connector understands, on a policy about rows alone.
func (c *compiler) filter(r *rule, text string) error {
	if c.rows == nil {
		return errors.New("@rows: no connector of this gateway can filter rows: leave it out")
	}
	if err := c.rows(text); err != nil {
		return fmt.Errorf("@rows: %w", err)
	}
	if !c.confined(r, func(action string) bool { return action == "explain" || slices.Contains(filtered, action) }) {
		return errors.New("@rows is misplaced: it belongs on a policy whose actions are among read, insert, update, delete")
	}
	r.rows = text
	return nil
}

// scoped says whether the scope of a policy reaches an action that fits.
func (c *compiler) scoped(r *rule, fits func(string) bool) bool {
	return slices.ContainsFunc(c.reached(r), fits)
}

// confined says whether the scope of a policy reaches actions that fit, and no others.
func (c *compiler) confined(r *rule, fits func(string) bool) bool {
	return c.scoped(r, fits) && !c.scoped(r, func(action string) bool { return !fits(action) && !c.group(action) })
}

// group says whether an action is only there to hold others.
func (c *compiler) group(action string) bool {
	for _, parents := range c.set.actions {
		if parents.Contains(types.NewEntityUID("Action", types.String(action))) {
			return true
		}
	}
	return false
}

// reached are the actions of the schema that the scope of a policy reaches.
func (c *compiler) reached(r *rule) []string {
	var named []types.EntityUID
	switch a := r.policy.AST().Action.(type) {
	case ast.ScopeTypeEq:
		named = []types.EntityUID{a.Entity}
	case ast.ScopeTypeIn:
		named = []types.EntityUID{a.Entity}
	case ast.ScopeTypeInSet:
		named = a.Entities
	default:
		return slices.Collect(maps.Keys(c.set.actions))
	}
	var out []string
	for name, parents := range c.set.actions {
		if slices.ContainsFunc(named, func(n types.EntityUID) bool { return string(n.ID) == name || parents.Contains(n) }) {
			out = append(out, name)
		}
	}
	return out
}

// exact is the one resource that a policy's scope names; zero where it names none.
func exact(p *cedar.Policy) types.EntityUID {
	switch r := p.AST().Resource.(type) {
	case ast.ScopeTypeEq:
		return r.Entity
	case ast.ScopeTypeIn:
		return r.Entity
	}
	return types.EntityUID{}
}

// warn names permits whose row filter has no effect: wherever one matches, so does another that has none.
func (c *compiler) warn() {
	for _, narrow := range c.set.rules {
		if narrow.forbid || narrow.rows == "" {
			continue
		}
		for _, wide := range c.set.rules {
			if wide.forbid || wide.rows != "" || wide.approval != nil || !everywhere(wide) || !c.covers(wide, narrow) {
				continue
			}
			pos := narrow.policy.Position()
			c.set.warnings = append(c.set.warnings, Problem{Source: pos.Filename, Line: pos.Line, Column: pos.Column,
				Message: fmt.Sprintf("the filter of %q has no effect: %q permits the same without one; use a forbid to narrow it", narrow.id, wide.id)})
		}
	}
}

// everywhere says whether a policy matches every principal and resource.
func everywhere(r *rule) bool {
	p := r.policy.AST()
	_, anyone := p.Principal.(ast.ScopeTypeAll)
	_, anything := p.Resource.(ast.ScopeTypeAll)
	return anyone && anything && len(p.Conditions) == 0
}

// covers says whether a policy reaches every action that another reaches.
func (c *compiler) covers(wide, narrow *rule) bool {
	all := c.reached(wide)
	return !slices.ContainsFunc(c.reached(narrow), func(action string) bool { return !slices.Contains(all, action) })
}

// nearest is the word that takes the fewest changes.
func nearest(word string, words []string) string {
	best, distance := "", 1<<30
	for _, w := range words {
		if d := editDistance(word, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance of two short words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			previous, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, previous+cost)
		}
	}
	return row[len(b)]
}
