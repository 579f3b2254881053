package main

import (
	"errors"
	"fmt"
	"os"

	"gatehouse/internal/config"
	"gatehouse/internal/policy"
)

type policyCommands struct {
	Check    checkCommand          `cmd:"" help:"Say whether policy files are valid."`
	Profile  policyProfileCommand  `cmd:"" help:"Write policies for a kind of work: an analyst, migrations, on-call, support, a pipeline."`
	Versions policyVersionsCommand `cmd:"" help:"List the versions of a gateway's policies: who published them, why, and which is in force."`
	Show     policyShowCommand     `cmd:"" help:"Show a version."`
	Diff     policyDiffCommand     `cmd:"" help:"Show what a version changed, or what files would change."`
	Publish  policyPublishCommand  `cmd:"" help:"Put policy files in force, as a new version."`
	Rollback policyRollbackCommand `cmd:"" help:"Put an earlier version in force again."`
	Export   policyExportCommand   `cmd:"" help:"Write a version into a folder."`
	Import   policyImportCommand   `cmd:"" help:"Put the files of a folder in force, as a new version."`

	recordedPolicyCommands
	offlinePolicyCommands
}

type checkCommand struct {
	configFlag
	outputFlag
	Strict bool     `help:"Fail for warnings too."`
	Files  []string `arg:"" optional:"" help:"Policy files or folders; by default those of the configuration."`
}

func (checkCommand) Help() string {
	return `Checks syntax, types, annotations and row filters (errors), and looks for what is hardly meant (warnings): policies without an effect, obligations that another policy goes around, groups, connections, tags and labels that there are not, names that look like others. Each is named with file, line and column. Names are compared with the configuration, where there is one.

Examples:
  gatehouse policy check
  gatehouse policy check policies/*.cedar
  gatehouse policy check policies/ --strict --output json

With --output json a list of {file, line, column, end_line, end_column, severity, code, policy, message, remedy}, for editors; lines and columns count from 1, columns in characters.`
}

// Validate says which path there is not.
func (c *checkCommand) Validate() error {
	for _, f := range c.Files {
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("there is no file %s", f)
		}
	}
	return nil
}

// checkProblem is a problem as --output json gives it.
type checkProblem struct {
	File      string `json:"file"`
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	EndLine   int    `json:"end_line,omitempty"`
	EndColumn int    `json:"end_column,omitempty"`
	Severity  string `json:"severity"`
	Code      string `json:"code,omitempty"`
	Policy    string `json:"policy,omitempty"`
	Message   string `json:"message"`
	Remedy    string `json:"remedy,omitempty"`
}

func (c checkCommand) Run(s streams) error {
	set, texts, err := c.compile()
	var problems policy.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if set != nil {
		problems = set.Warnings()
	}
	failed := err != nil || c.Strict && len(problems) > 0
	if c.json() {
		list := []checkProblem{}
		for _, p := range problems {
			one := checkProblem{p.Source, p.Line, p.Column, p.EndLine, p.EndColumn, "error", p.Code, p.Policy, p.Message, p.Remedy}
			if p.Warning {
				one.Severity = "warning"
			}
			list = append(list, one)
		}
		if err := printJSON(s.out, list); err != nil {
			return err
		}
	} else if err == nil {
		for _, p := range problems {
			fmt.Fprintln(s.err, "warning:", plain(p.String()))
		}
	}
	switch {
	case err != nil && c.json():
		return fmt.Errorf("the policies are not valid: %s", count(len(problems), "error"))
	case err != nil:
		return fmt.Errorf("the policies are not valid:\n%w", err)
	case failed:
		return fmt.Errorf("the policies are valid, and have %s, which --strict does not let pass", count(len(problems), "warning"))
	case !c.json():
		fmt.Fprintf(s.out, "valid: policies %s (%s, %s)\n", set.Version(), count(texts, "file"), count(len(problems), "warning"))
	}
	return nil
}

// compile compiles the files that are named, or the configuration's; it counts them.
func (c checkCommand) compile() (*policy.Set, int, error) {
	var conf *config.Config
	if _, missing := os.Stat(c.Config); missing == nil || len(c.Files) == 0 {
		var err error
		if conf, err = c.load(); err != nil {
			return nil, 0, err
		}
	}
	if len(c.Files) == 0 {
		texts, err := fileTexts(conf)
		if err != nil {
			return nil, 0, err
		}
		set, err := compileTexts(conf, texts)
		return set, len(texts), err
	}
	files, err := draftFiles(c.Files)
	if err != nil {
		return nil, 0, err
	}
	in := policy.Input{Schemas: schemas(), Rows: checkRows}
	if conf != nil {
		in.Known = known(conf)
		for _, one := range conf.Connections {
			in.Access = append(in.Access, policy.Access{Connection: one.Name, Groups: one.Groups})
		}
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, 0, err
		}
		in.Policies = append(in.Policies, policy.Source{Name: f, Text: text})
	}
	set, err := policy.Compile(in)
	return set, len(files), err
}
