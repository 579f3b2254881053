package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"gatehouse/deploy"
	"gatehouse/internal/policy"
)

// profile is a set of policies for a kind of work. Its text has its parameters' names in capitals where their values go,
// always inside of a string or a comment; its first lines say what it is for, and which parameters there are.
type profile struct {
	Name       string      `json:"name"`
	About      string      `json:"about"`
	Parameters []parameter `json:"parameters"`
	text       string
}

type parameter struct {
	Name    string `json:"name"`
	Default string `json:"default,omitempty"` // empty: it must be given
	About   string `json:"about"`
}

var (
	profileHead   = regexp.MustCompile(`^// profile: ([a-z-]+): (.+)$`)
	parameterHead = regexp.MustCompile(`^// parameter ([a-z]+)(?: \(([^)]+)\))?: (.+)$`)
)

// profiles are those that the binary has.
func profiles() ([]profile, error) {
	files, err := deploy.Profiles.ReadDir("profiles")
	if err != nil {
		return nil, err
	}
	var out []profile
	for _, f := range files {
		text, err := deploy.Profiles.ReadFile(path.Join("profiles", f.Name()))
		if err != nil {
			return nil, err
		}
		p := profile{}
		lines := strings.Split(string(text), "\n")
		for i, l := range lines {
			if m := profileHead.FindStringSubmatch(l); m != nil {
				p.Name, p.About = m[1], m[2]
			} else if m := parameterHead.FindStringSubmatch(l); m != nil {
				p.Parameters = append(p.Parameters, parameter{m[1], m[2], m[3]})
			} else {
				p.text = strings.TrimLeft(strings.Join(lines[i:], "\n"), "\n")
				break
			}
		}
		out = append(out, p)
	}
	return out, nil
}

type policyProfileCommand struct {
	configFlag
	outputFlag
	Name       string `arg:"" optional:"" help:"The profile; without one they are listed."`
	Connection string `help:"The connection that it is for." placeholder:"NAME"`
	Group      string `help:"The group that it is for." placeholder:"GROUP"`
	Schema     string `help:"The schema." placeholder:"NAME"`
	Table      string `help:"The table." placeholder:"NAME"`
	Approvers  string `help:"The group that approves, \"dba\", or so many of it, \"dba,2\"." placeholder:"GROUP"`
	Rows       string `name:"limit" help:"What one statement may give back and how long it may run: rows=1000,seconds=30." placeholder:"LIMIT"`
}

func (policyProfileCommand) Help() string {
	return `Writes a set of policies for a kind of work, filled in and checked: put it into a file beside your others, and make it
yours. Without a name the profiles are listed, with what each allows and its parameters.

Examples:
  gatehouse policy profile
  gatehouse policy profile read-only-analyst --connection orders --group analysts > policies/analysts.cedar
  gatehouse policy profile support-lookup --connection orders --group support --table customers --limit rows=5`
}

func (c policyProfileCommand) Run(s streams) error {
	all, err := profiles()
	if err != nil {
		return err
	}
	if c.Name == "" {
		return c.list(s, all)
	}
	i := slices.IndexFunc(all, func(p profile) bool { return p.Name == c.Name })
	if i < 0 {
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
		}
		return fmt.Errorf("there is no profile %q: there is %s", c.Name, strings.Join(names, ", "))
	}
	text, err := all[i].fill(map[string]string{"connection": c.Connection, "group": c.Group, "schema": c.Schema, "table": c.Table, "approvers": c.Approvers, "limit": c.Rows})
	if err != nil {
		return err
	}
	if err := c.check(s, all[i], text); err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, map[string]any{"profile": all[i].Name, "cedar": text})
	}
	_, err = fmt.Fprint(s.out, text)
	return err
}

func (c policyProfileCommand) list(s streams, all []profile) error {
	if c.json() {
		return printJSON(s.out, all)
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	for i, p := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n  %s\n", p.Name, p.About)
		for _, a := range p.Parameters {
			given := "must be given"
			if a.Default != "" {
				given = a.Default + " by default"
			}
			fmt.Fprintf(w, "  --%s\t%s\t%s\n", a.Name, a.About, given)
		}
	}
	return w.Flush()
}

var placeholder = regexp.MustCompile(`\b[A-Z]{5,}\b`)

// fill puts values in the place of parameters.
func (p profile) fill(values map[string]string) (string, error) {
	var missing []string
	with := map[string]string{}
	for _, a := range p.Parameters {
		v := values[a.Name]
		delete(values, a.Name)
		if v == "" {
			v = a.Default
		}
		if v == "" {
			missing = append(missing, "--"+a.Name+" ("+a.About+")")
		}
		if err := fits(a.Name, v); err != nil {
			return "", err
		}
		with[strings.ToUpper(a.Name)] = v
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("profile %s needs %s", p.Name, strings.Join(missing, ", "))
	}
	for name, v := range values {
		if v != "" {
			return "", fmt.Errorf("profile %s has no parameter --%s: leave it out", p.Name, name)
		}
	}
	head := fmt.Sprintf("// %s: %s.\n\n", p.Name, p.About)
	return head + placeholder.ReplaceAllStringFunc(p.text, func(word string) string {
		if v, ok := with[word]; ok {
			return v
		}
		return word
	}), nil
}

// fits says whether a value can stand in a string of Cedar as it is, and in the id of a thing.
func fits(name, v string) error {
	if len(v) > 200 {
		return fmt.Errorf("--%s has %d bytes: at most 200 fit", name, len(v))
	}
	allowed := "_-$@: "
	if name == "approvers" || name == "limit" {
		allowed += ",="
	}
	if name == "group" || name == "approvers" {
		allowed += "."
	}
	for _, r := range v {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune(allowed, r) {
			return fmt.Errorf("--%s has %q in it, which profiles do not take: write these policies by hand", name, r)
		}
	}
	return nil
}

// check compiles what was filled in, and says where it does not fit the configuration, where there is one.
func (c policyProfileCommand) check(s streams, p profile, text string) error {
	in := policy.Input{Schemas: schemas(), Rows: checkRows, Policies: []policy.Source{{Name: p.Name + ".cedar", Text: []byte(text)}}}
	if _, err := os.Stat(c.Config); err == nil {
		conf, err := c.load()
		if err != nil {
			return err
		}
		in.Known = known(conf)
	}
	set, err := policy.Compile(in)
	if err != nil {
		return errors.Join(fmt.Errorf("profile %s does not fit these parameters", p.Name), err)
	}
	for _, w := range set.Warnings() {
		fmt.Fprintln(s.err, "warning:", plain(w.String()))
	}
	return nil
}
