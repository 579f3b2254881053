package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/policy/cases"
)

// offlinePolicyCommands are those that need no gateway.
type offlinePolicyCommands struct {
	Test    policyTestCommand    `cmd:"" help:"Decide cases by the policies, and say where the decision is not as expected."`
	Explain policyExplainCommand `cmd:"" help:"Say why a request is decided as it is: every policy considered, and what would be needed."`
	WhoCan  policyWhoCanCommand  `cmd:"" name:"who-can" help:"Say who may do something: every group and principal that is known."`
	WhatCan policyWhatCanCommand `cmd:"" name:"what-can" help:"Say what a principal may do: every table and every action."`
}

type policyTestCommand struct {
	outputFlag
	JSON     bool     `name:"json" help:"The same as --output json."`
	Paths    []string `arg:"" name:"path" optional:"" help:"Files of cases, or folders with files named *_test.yaml; the folder of now by default."`
	Run_     string   `name:"run" help:"Only the cases whose name fits." placeholder:"REGEX"`
	Verbose  bool     `short:"v" help:"Name the cases that pass too."`
	Policies []string `help:"Test these policy files instead of those that the cases are for." placeholder:"FILE" type:"existingfile"`
}

func (policyTestCommand) Help() string {
	return `Decides the requests of cases by the policies beside them, and says where the decision, a mask, an approval or a missing permit is not as expected. It needs no gateway and no database: a text is understood with the catalog that ` + "`gatehouse connections snapshot`" + ` wrote. The exit status is 1 where a case fails.

A file of cases:

    principals:
      bot: {kind: agent, id: "entra:…", groups: [ai-agents]}
    cases:
      - name: e-mail addresses are masked
        principal: bot
        connection: orders
        sql: select email from customers
        want: {decision: permit, mask: {customers.email: email}}
      - principal: bot
        connection: orders
        touches: [drop table public.customers]
        want: refuse

Examples:
  gatehouse connections snapshot orders --file policies/orders.catalog.json
  gatehouse policy test policies
  gatehouse policy test --run 'e-mail' -v policies/orders_test.yaml
  gatehouse policy test --policies draft.cedar policies/orders_test.yaml`
}

// fileResult is what became of a file of cases.
type fileResult struct {
	File  string       `json:"file"`
	Error string       `json:"error,omitempty"` // why its cases could not be run
	Cases []caseResult `json:"cases"`
	took  time.Duration
}

type caseResult struct {
	Name string `json:"name"`
	Line int    `json:"line"`
	OK   bool   `json:"ok"`
	// Differences are set where it is not ok, or Error is.
	Differences []placedDifference `json:"differences,omitempty"`
	Error       string             `json:"error,omitempty"`
	Outcome     cases.Outcome      `json:"outcome"`
}

type placedDifference struct {
	cases.Difference
	Line int `json:"line"`
}

func (r *fileResult) failed() int {
	n := 0
	for _, c := range r.Cases {
		if !c.OK {
			n++
		}
	}
	return n
}

func (c policyTestCommand) Run(s streams) error {
	only, err := regexp.Compile(c.Run_)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	files, err := caseFiles(c.Paths)
	if err != nil {
		return err
	}
	asJSON := c.json() || c.JSON
	results := []fileResult{}
	ran, failed, broken := 0, 0, 0
	for _, f := range files {
		r := c.file(f, only)
		ran, failed = ran+len(r.Cases), failed+r.failed()
		if r.Error != "" {
			broken++
		}
		if !asJSON {
			c.print(s, &r)
		}
		results = append(results, r)
	}
	if asJSON {
		if err := printJSON(s.out, map[string]any{"files": results, "cases": ran, "failed": failed}); err != nil {
			return err
		}
	}
	switch {
	case broken > 0 && failed == 0:
		return fmt.Errorf("%s could not be run", count(broken, "file"))
	case broken > 0:
		return fmt.Errorf("%s could not be run; %d of %s failed", count(broken, "file"), failed, count(ran, "case"))
	case failed > 0:
		return fmt.Errorf("%d of %s failed", failed, count(ran, "case"))
	case ran == 0:
		return fmt.Errorf("no case is called like %q", c.Run_)
	}
	return nil
}

// caseFiles are the files that paths name, each once.
func caseFiles(paths []string) ([]string, error) {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, p)
			continue
		}
		err = filepath.WalkDir(p, func(f string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (strings.HasSuffix(f, "_test.yaml") || strings.HasSuffix(f, "_test.yml")) {
				out = append(out, f)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no file of cases (*_test.yaml) in %s", strings.Join(paths, ", "))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// file runs the cases of a file.
func (c policyTestCommand) file(path string, only *regexp.Regexp) fileResult {
	begun := time.Now()
	out := fileResult{File: path, Cases: []caseResult{}}
	list, w, err := readCases(path, c.Policies)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	for _, one := range list {
		if only.MatchString(one.name) {
			out.Cases = append(out.Cases, one.run(w))
		}
	}
	out.took = time.Since(begun)
	return out
}

// run decides a case and compares.
func (c *policyCase) run(w *world) caseResult {
	out := caseResult{Name: c.name, Line: c.node.Line}
	at := *w
	at.moment = c.moment
	got, err := at.decide(c.request)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Outcome = got.outcome
	for _, d := range c.want.Against(got.outcome, short) {
		if d.Field == "decision" && got.outcome.Decision != "permit" {
			d.Got += because(got)
		}
		out.Differences = append(out.Differences, placedDifference{d, c.line(d.Field)})
	}
	out.OK = len(out.Differences) == 0
	return out
}

// because says in brackets why something is not permitted.
func because(a answered) string {
	o := a.outcome
	switch {
	case len(o.Missing) > 0:
		return " (no policy permits: " + shortList(o.Missing) + ")"
	case len(o.Forbidden) > 0:
		return " (forbidden by " + strings.Join(a.decision.Forbidden, ", ") + ": " + shortList(o.Forbidden) + ")"
	case len(o.Approvals) > 0:
		return " (approvals: " + strings.Join(o.Approvals, " and ") + ")"
	case o.Reason != "":
		return " (" + o.Code + ": " + o.Reason + ")"
	case len(a.decision.Errors) > 0:
		return " (" + strings.Join(a.decision.Errors, "; ") + ")"
	}
	return ""
}

// shortList are the first of a list.
func shortList(list []string) string {
	if more := len(list) - 3; more > 0 {
		return strings.Join(list[:3], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(list, ", ")
}

func (c policyTestCommand) print(s streams, r *fileResult) {
	if r.Error != "" {
		fmt.Fprintf(s.out, "FAIL  %s\n%s\n", r.File, indent(plainLines(r.Error)))
		return
	}
	for _, one := range r.Cases {
		switch {
		case one.OK && c.Verbose:
			fmt.Fprintf(s.out, "--- ok: %s (%s)\n", plain(one.Name), one.Outcome.Decision)
		case !one.OK:
			fmt.Fprintf(s.out, "--- FAIL: %s\n", plain(one.Name))
		}
		if one.Error != "" {
			fmt.Fprintf(s.out, "    %s:%d: %s\n", r.File, one.Line, plain(one.Error))
		}
		for _, d := range one.Differences {
			fmt.Fprintf(s.out, "    %s:%d: %s\n", r.File, cmp.Or(d.Line, one.Line), plain(d.String()))
		}
	}
	if n := r.failed(); n > 0 {
		fmt.Fprintf(s.out, "FAIL  %s  %d of %s failed\n", r.File, n, count(len(r.Cases), "case"))
		return
	}
	fmt.Fprintf(s.out, "ok    %s  %s  %s\n", r.File, count(len(r.Cases), "case"), r.took.Round(time.Millisecond))
}

// plainLines is plain, with its line ends.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
