package postgres

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/policy"
)

// MaxSnapshot bounds a snapshot, in bytes.
const MaxSnapshot = 64 << 20

// snapshotFormat is the version of what Snapshot writes.
const snapshotFormat = 1

// snapshot is a catalog in a file: names, types, labels and what belongs together. It holds no value of any row,
// no default and no text of a view or a function.
type snapshot struct {
	Format     int      `json:"gatehouse_catalog"`
	Kind       string   `json:"kind"`
	Connection string   `json:"connection"`
	Tags       []string `json:"tags,omitempty"`
	// Server says which server it was taken of, with its version: what only newer servers know is not understood.
	Server           string              `json:"server,omitempty"`
	SearchPath       []string            `json:"search_path"`
	Schemas          map[string]uint32   `json:"schemas"`
	Relations        []*Relation         `json:"relations"`
	Types            []*Type             `json:"types,omitempty"`
	Functions        map[Name]*Overloads `json:"functions,omitempty"`
	Routines         []Function          `json:"routines,omitempty"`
	OperatorPath     []string            `json:"operator_path,omitempty"`
	RefusedOperators []string            `json:"refused_operators,omitempty"`
	// LeakproofOperators are LEFT OPERATOR RIGHT, LeakproofCasts are FROM TO, by the names of types.
	LeakproofOperators []string    `json:"leakproof_operators,omitempty"`
	LeakproofCasts     []string    `json:"leakproof_casts,omitempty"`
	System             []*Relation `json:"system,omitempty"`
}

// Snapshot writes a catalog so that ReadSnapshot reads it again. With system the server's own catalogs are in it
// too; else statements that name those are not understood by it. What changes without a meaning (the transaction
// that wrote a view) is left out, so that equal catalogs have equal snapshots.
func (c *Catalog) Snapshot(server string, system bool) ([]byte, error) {
	s := snapshot{Format: snapshotFormat, Kind: "postgres", Connection: c.Connection.ID, Server: server, SearchPath: c.SearchPath, Schemas: c.Schemas,
		Functions: c.Functions, Routines: c.Routines, OperatorPath: c.OperatorPath}
	for _, p := range c.Connection.Parents {
		s.Tags = append(s.Tags, p.ID)
	}
	for _, r := range c.ByOID {
		one := *r
		one.Definition = ""
		s.Relations = append(s.Relations, &one)
	}
	s.Types = slices.Collect(maps.Values(c.Types))
	for o, ok := range c.RefusedOperators {
		if ok {
			s.RefusedOperators = append(s.RefusedOperators, o)
		}
	}
	for o, ok := range c.Leakproof.Operators {
		if ok {
			s.LeakproofOperators = append(s.LeakproofOperators, o.Left+" "+o.Name+" "+o.Right)
		}
	}
	for cast, ok := range c.Leakproof.Casts {
		if ok {
			s.LeakproofCasts = append(s.LeakproofCasts, cast[0]+" "+cast[1])
		}
	}
	if system {
		s.System = slices.Collect(maps.Values(c.System))
	}
	byOID := func(a, b *Relation) int { return cmp.Compare(a.OID, b.OID) }
	slices.SortFunc(s.Relations, byOID)
	slices.SortFunc(s.System, byOID)
	slices.SortFunc(s.Types, func(a, b *Type) int { return cmp.Compare(a.OID, b.OID) })
	for _, list := range [][]string{s.RefusedOperators, s.LeakproofOperators, s.LeakproofCasts} {
		slices.Sort(list)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return b.Bytes(), err
}

// ReadSnapshot reads what Snapshot wrote. Unknown keys, another format and things that are there twice are errors,
// with line and column where the text itself is wrong.
func ReadSnapshot(text []byte) (*Catalog, error) {
	if len(text) > MaxSnapshot {
		return nil, fmt.Errorf("it has %d bytes; a catalog snapshot has at most %d", len(text), MaxSnapshot)
	}
	var s snapshot
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, placed(text, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, placed(text, d.InputOffset(), errors.New("there is more after the catalog"))
	}
	switch {
	case s.Format != snapshotFormat || s.Kind != "postgres":
		return nil, fmt.Errorf(`it is not a catalog snapshot of PostgreSQL that this program reads ("gatehouse_catalog": %d, "kind": "postgres"): take it again`, snapshotFormat)
	case s.Connection == "":
		return nil, errors.New("it does not say which connection it is of")
	}
	return s.catalog()
}

// catalog puts the parts together.
func (s *snapshot) catalog() (*Catalog, error) {
	c := &Catalog{Connection: policy.Resource{Entity: policy.Entity{Type: "Connection", ID: s.Connection}}, Server: MajorVersion(s.Server), Epoch: 1, SearchPath: s.SearchPath, Schemas: s.Schemas,
		Relations: map[Name]*Relation{}, ByOID: map[uint32]*Relation{}, Types: map[Name]*Type{}, TypesByOID: map[uint32]*Type{},
		Functions: s.Functions, Routines: s.Routines, OperatorPath: s.OperatorPath, RefusedOperators: map[string]bool{}, System: map[Name]*Relation{},
		Leakproof: Leakproof{Operators: map[Operator]bool{}, Casts: map[[2]string]bool{}}}
	for _, tag := range s.Tags {
		c.Connection.Parents = append(c.Connection.Parents, policy.Entity{Type: "Tag", ID: tag})
	}
	for i, r := range s.Relations {
		if r == nil || r.OID == 0 || r.Name.Schema == "" || r.Kind == 0 || c.ByOID[r.OID] != nil || c.Relations[r.Name] != nil {
			return nil, fmt.Errorf("relations[%d] has no oid, name or kind, or is there twice", i)
		}
		if err := r.sound(); err != nil {
			return nil, fmt.Errorf("relations[%d] (%s): %w", i, r.Name, err)
		}
		c.Relations[r.Name], c.ByOID[r.OID] = r, r
	}
	for i, t := range s.Types {
		if t == nil || t.OID == 0 || t.Name.Schema == "" || c.TypesByOID[t.OID] != nil || c.Types[t.Name] != nil {
			return nil, fmt.Errorf("types[%d] has no oid or name, or is there twice", i)
		}
		c.Types[t.Name], c.TypesByOID[t.OID] = t, t
	}
	for n, f := range s.Functions {
		if f == nil {
			return nil, fmt.Errorf("functions: %s has no value", n)
		}
	}
	for i, r := range s.System {
		if r == nil || r.Name.Schema == "" || c.System[r.Name] != nil {
			return nil, fmt.Errorf("system[%d] has no name, or is there twice", i)
		}
		c.System[r.Name] = r
	}
	for _, o := range s.RefusedOperators {
		c.RefusedOperators[o] = true
	}
	for i, text := range s.LeakproofOperators {
		f := strings.Fields(text)
		if len(f) != 3 {
			return nil, fmt.Errorf("leakproof_operators[%d] should be LEFT OPERATOR RIGHT", i)
		}
		c.Leakproof.Operators[Operator{Name: f[1], Left: f[0], Right: f[2]}] = true
	}
	for i, text := range s.LeakproofCasts {
		f := strings.Fields(text)
		if len(f) != 2 {
			return nil, fmt.Errorf("leakproof_casts[%d] should be FROM TO", i)
		}
		c.Leakproof.Casts[[2]string{f[0], f[1]}] = true
	}
	return c, nil
}

// MajorVersion is the major version in what a server says of itself ("PostgreSQL 17.2 (Debian 17.2-1)", "17.2"); 0
// where there is none.
func MajorVersion(said string) int {
	at := strings.IndexAny(said, "0123456789")
	if at < 0 {
		return 0
	}
	end := at
	for end < len(said) && said[end] >= '0' && said[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(said[at:end])
	if err != nil {
		return 0
	}
	return n
}

// sound says what is wrong with the columns of a relation.
func (r *Relation) sound() error {
	seen := map[string]bool{}
	for i := range r.Columns {
		c := &r.Columns[i]
		if c.Name == "" || c.Number < 1 || c.Type.Name == "" || c.Spelled == "" || seen[c.Name] {
			return fmt.Errorf("columns[%d] has no name, number, type or spelled, or is there twice", i)
		}
		seen[c.Name] = true
	}
	return nil
}

// placed adds line and column to an error of the JSON decoder.
func placed(text []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	if errors.As(err, &typ) {
		offset = typ.Offset
	}
	before := text[:min(max(int(offset), 0), len(text))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Errorf("line %d, column %d: %s", line, len(before)-bytes.LastIndexByte(before, '\n'), strings.TrimPrefix(err.Error(), "json: "))
}

// MarshalText writes schema.name, quoted where it must be.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads schema.name, as MarshalText writes it.
func (n *Name) UnmarshalText(b []byte) error {
	schema, rest, err := unquoteFirst(string(b))
	if err != nil {
		return err
	}
	name, after, err := unquoteFirst(strings.TrimPrefix(rest, "."))
	if err != nil || !strings.HasPrefix(rest, ".") || after != "" {
		return fmt.Errorf("%q should be schema.name, with double quotes around what is not a plain word", b)
	}
	n.Schema, n.Name = schema, name
	return nil
}

// unquoteFirst reads the first name of a dotted text.
func unquoteFirst(s string) (name, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, '.')
		if end < 0 {
			end = len(s)
		}
		name = s[:end]
		if Quote(name) != name {
			return "", "", fmt.Errorf("%q needs double quotes", name)
		}
		return name, s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i+1:], `"`):
			b.WriteByte('"')
			i++
		default:
			return b.String(), s[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("the quotes of %s do not end", s)
}

// MarshalText writes the letter of pg_class.relkind.
func (k RelationKind) MarshalText() ([]byte, error) { return []byte{byte(k)}, nil }

// UnmarshalText reads a letter of pg_class.relkind that a statement may name.
func (k *RelationKind) UnmarshalText(b []byte) error {
	if len(b) != 1 || !strings.Contains("rpvmfS", string(b)) {
		return fmt.Errorf("%q is not a kind of relation: r, p, v, m, f or S", b)
	}
	*k = RelationKind(b[0])
	return nil
}

// MarshalText writes the letter of pg_type.typtype.
func (k TypeKind) MarshalText() ([]byte, error) { return []byte{byte(k)}, nil }

// UnmarshalText reads the letter of pg_type.typtype.
func (k *TypeKind) UnmarshalText(b []byte) error {
	if len(b) != 1 || !strings.Contains("bcdermp", string(b)) {
		return fmt.Errorf("%q is not a kind of type: b, c, d, e, r or m", b)
	}
	*k = TypeKind(b[0])
	return nil
}
