package main

import (
	"fmt"
	"os"

	"gatehouse/internal/policy"
)

type policyCommands struct {
	Check checkCommand `cmd:"" help:"Say whether policy files are valid."`
}

type checkCommand struct {
	Files []string `arg:"" type:"existingfile" help:"Policy files."`
}

func (checkCommand) Help() string {
	return `Checks syntax, types and annotations; every problem is named with file, line and column.

Examples:
  gatehouse policy check policies/*.cedar`
}

func (c checkCommand) Run(s streams) error {
	in := policy.Input{Schemas: schemas(), Rows: checkRows}
	for _, f := range c.Files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		in.Policies = append(in.Policies, policy.Source{Name: f, Text: text})
	}
	set, err := policy.Compile(in)
	if err != nil {
		return fmt.Errorf("the policies are not valid:\n%w", err)
	}
	for _, w := range set.Warnings() {
		fmt.Fprintln(s.err, "warning:", w)
	}
	fmt.Fprintf(s.out, "valid: policies %s\n", set.Version())
	return nil
}
