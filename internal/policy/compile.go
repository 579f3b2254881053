package policy

import (
	"cmp"
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
	// Known is what Warnings looks at besides the policies.
	Known
	// Schemas are the connectors' fragments; the core is added to them.
	Schemas  []Source
	Policies []Source
	Access   []Access
	// Rows says what is wrong with the text of a row filter; nil where no connector can filter rows.
	Rows func(text string) error
}

// Problem is one thing that is wrong with a policy, and where.
type Problem struct {
	Source string
	Line   int // from 1; 0: the whole source
	Column int // a character, from 1
	// EndLine and EndColumn are where the place ends; 0: not known.
	EndLine, EndColumn int
	// Code is a word for its kind.
	Code string
	// Warning says that the policies can be used all the same.
	Warning bool
	// Policy is the id of the policy; "" where none could be read.
	Policy  string
	Message string
	// Remedy is what to do; "" where the message says it.
	Remedy string
}

func (p Problem) String() string {
	text := p.Message
	if p.Remedy != "" {
		text += ": " + p.Remedy
	}
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.Source, text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.Source, p.Line, p.Column, text)
}

func (p Problem) compare(q Problem) int {
	return cmp.Or(strings.Compare(p.Source, q.Source), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column), strings.Compare(p.Code, q.Code))
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
	types    []string          // the entity types of the schema, sorted
}

// Compile parses and validates policies. Its error is Problems, with every problem found.
func Compile(in Input) (*Set, error) {
	c := &compiler{set: &Set{actions: map[string]types.EntityUIDSet{}, applies: map[string][]string{}, known: in.Known, most: maxKept}, ids: map[string]string{}, rows: in.Rows}
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
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	slices.SortFunc(c.set.rules, func(a, b *rule) int { return strings.Compare(a.id, b.id) })
	c.set.index = indexed(c.set.rules)
	c.set.version = hex.EncodeToString(hash.Sum(nil)[:8])
	return c.set, nil
}

// schema joins the fragments.
func (c *compiler) schema(fragments []Source) error {
	all, err := parseSchema(Source{Name: "schema", Text: coreSchema})
	if err != nil {
		return err
	}
	for _, f := range fragments {
		more, err := parseSchema(f)
		if err != nil {
			return err
		}
		if err := join(all, more, f.Name); err != nil {
			return err
		}
	}
	s := schema.NewSchemaFromAST(all)
	resolved, err := s.Resolve()
	if err != nil {
		return Problems{{Source: "schema", Message: err.Error()}}
	}
	for id, a := range resolved.Actions {
		c.set.actions[string(id.ID)] = a.Entity.Parents
		if a.AppliesTo != nil {
			a.AppliesTo.Context = momentary
			for _, r := range a.AppliesTo.Resources {
				c.set.applies[string(id.ID)] = append(c.set.applies[string(id.ID)], string(r))
			}
			slices.Sort(c.set.applies[string(id.ID)])
		}
	}
	for name := range resolved.Entities {
		c.types = append(c.types, string(name))
	}
	slices.Sort(c.types)
	c.check = validate.New(resolved)
	return nil
}

var parsePosition = regexp.MustCompile(`parse error at (?:<input>:)?\S*?(\d+):(\d+) `)

func (c *compiler) source(s Source) {
	if len(s.Text) > maxSource {
		c.problems = append(c.problems, Problem{Source: s.Name, Code: "too-large", Message: fmt.Sprintf("the file has %d bytes; the limit is %d", len(s.Text), maxSource)})
		return
	}
	t := newText(s)
	if p, found := t.hidden(); found {
		c.problems = append(c.problems, p)
		return
	}
	if p, ok := t.bounded(); !ok {
		c.problems = append(c.problems, p)
		return
	}
	list, err := cedar.NewPolicyListFromBytes(s.Name, s.Text)
	if err != nil {
		p := Problem{Source: s.Name, Code: "syntax", Message: "it does not parse: " + err.Error()}
		if m := parsePosition.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Column, _ = strconv.Atoi(m[2])
			_, after, _ := strings.Cut(err.Error(), "parse error at ")
			after = after[strings.Index(after, " ")+1:]
			if at, why, found := strings.Cut(after, `": `); found {
				w := unparsed(at+`"`, why)
				p.Message, p.Remedy = w.message, w.remedy
			} else {
				p.Message = "it does not parse at " + after
			}
		}
		c.problems = append(c.problems, p)
		return
	}
	for _, p := range list {
		c.policy(t, p, "")
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
		c.policy(&text{name: "connection " + a.Connection}, p, id)
	}
}

func (c *compiler) policy(t *text, p *cedar.Policy, id string) {
	pos := p.Position()
	r := &rule{id: id, policy: p, forbid: p.Effect() == cedar.Forbid}
	r.span = t.span(pos.Offset)
	problem := func(code string, words []string, format string, args ...any) {
		c.problems = append(c.problems, r.span.at(words, Problem{Code: code, Policy: r.id, Message: fmt.Sprintf(format, args...)}))
	}
	r.exact = exact(p)
	annotations := p.Annotations()
	if v, ok := annotations["id"]; ok {
		r.id = string(v)
	}
	if r.id == "" {
		r.id = fmt.Sprintf("%s:%d", t.name, pos.Line)
	}
	where := fmt.Sprintf("%s:%d", t.name, pos.Line)
	switch first, taken := c.ids[r.id]; {
	case taken && r.id == where:
		problem("duplicate-id", nil, "two policies are on one line, which would give both the id %q: give each an @id, such as @id(\"readers\"), or a line of its own", r.id)
	case taken:
		problem("duplicate-id", []string{"@id"}, "the id %q is used already at %s: give each policy an @id of its own", r.id, first)
	}
	c.ids[r.id] = where
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if err := c.annotation(r, string(name), string(annotations[name])); err != nil {
			problem("annotation", []string{"@" + string(name)}, "%v", err)
		}
	}
	if err := c.check.Policy(r.id, (*ast.Policy)(p.AST())); err != nil {
		var messages []string
		for _, e := range flatten(err) {
			messages = append(messages, strings.TrimPrefix(e.Error(), "for policy `"+r.id+"`, "))
		}
		for _, w := range c.untyped((*ast.Policy)(p.AST()), messages) {
			if len(w.message) > maxMessage {
				w.message = strings.ToValidUTF8(w.message[:maxMessage], "") + "…"
			}
			c.problems = append(c.problems, r.span.at(quotedIn(w.message), Problem{Code: "type", Policy: r.id, Message: w.message, Remedy: w.remedy}))
		}
	}
	atTime, fromSource := reads(p)
	c.set.readsTime, c.set.readsSource = c.set.readsTime || atTime, c.set.readsSource || fromSource
	c.set.rules = append(c.set.rules, r)
}

// maxMessage bounds a message of the validator, in bytes: types in types are spelled out.
const maxMessage = 500

// quotedIn are the words that a message of the validator quotes, and the entities that it names.
func quotedIn(message string) []string {
	var out []string
	for i, part := range strings.Split(message, "`") {
		if i%2 == 1 {
			out = append(out, part)
		}
	}
	return out
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
var known = []string{"id", "description", "approval", "mask", "rows", "limit", "breakglass", "escalate"}

// escalate takes the group that may answer too when an approval has waited for some time: "oncall-leads,10m".
func escalate(r *rule, value string) error {
	group, wait, _ := strings.Cut(value, ",")
	after, ok := seconds(strings.TrimSpace(wait))
	switch {
	case r.approval == nil:
		return errors.New("@escalate is misplaced: it belongs beside an @approval")
	case !ok:
		return fmt.Errorf("@escalate(%q): write the group, and after how long it may answer too, such as \"oncall-leads,10m\" (30s, 10m, 2h; 24h at most)", value)
	}
	r.approval.Escalate, r.approval.After = strings.TrimSpace(group), after
	return groupName(r.approval.Escalate)
}

// seconds reads a length of time of one unit, from a second to a day: 30s, 10m, 2h.
func seconds(text string) (int, bool) {
	for unit, factor := range map[string]int{"s": 1, "m": 60, "h": 3600} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.Atoi(number)
			return n * factor, err == nil && n > 0 && n <= 24*3600/factor
		}
	}
	return 0, false
}

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
		switch {
		case !c.scoped(r, func(action string) bool { return !slices.Contains(personal, action) }):
			return errors.New("@approval is misplaced: people's own actions are not held")
		case !c.scoped(r, func(action string) bool { return !slices.Contains(personal, action) && action != "connect" }):
			return errors.New("@approval is misplaced: connecting is not held, and would be refused; ask for approvals of what is done then")
		}
		r.approval = &a
	case "escalate": // after approval, in the order of their names
		return escalate(r, value)
	case "breakglass":
		return c.breakglass(r, value)
	case "mask":
		m, err := parseMask(value)
		if err != nil {
			return fmt.Errorf("@mask: %w", err)
		}
		// A mask on a permit of reveal would be none, and one on a forbid of writes could not be met.
		reading := func(action string) bool { return action == "read" }
		if !c.scoped(r, reading) || !c.confined(r, func(action string) bool { return reading(action) || c.readonly(action) }) {
			return errors.New("@mask is misplaced: it belongs on a policy about no other actions than read, or those in readonly")
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

var personal = []string{"approve", "review", "breakglass", "grant", "kill"}

// unlimited are the actions that give nothing back that a limit could bound.
var unlimited = []string{"approve", "review", "administer", "breakglass", "grant", "kill", "connect", "set", "reveal"}

// readonly says whether an action is in the group of that name.
func (c *compiler) readonly(action string) bool {
	return c.set.actions[action].Contains(types.NewEntityUID("Action", "readonly"))
}

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

// scoped says whether the scope of a policy reaches an action that fits. Of one that names no action that there is, nothing is
// said: that is what is wrong with it.
func (c *compiler) scoped(r *rule, fits func(string) bool) bool {
	reached := c.reached(r)
	return len(reached) == 0 || slices.ContainsFunc(reached, fits)
}

// confined says whether the scope of a policy reaches actions that fit, and no others.
func (c *compiler) confined(r *rule, fits func(string) bool) bool {
	reached := c.reached(r)
	return c.scoped(r, fits) && !slices.ContainsFunc(reached, func(action string) bool { return !fits(action) && !c.group(action) })
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
