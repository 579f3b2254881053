package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/internal/gate"
)

type connectionsSnapshotCommand struct {
	connectionArg
	File   string `short:"f" help:"Write it there instead of to standard output." placeholder:"FILE"`
	System bool   `help:"With the server's own catalogs, so that statements that read those are understood too."`
}

func (connectionsSnapshotCommand) Help() string {
	return `Writes names, types, keys and labels as JSON; never a value, a default, or the text of a view or a function. Keep it beside the policies and take it again when tables or labels change: the gateway is not needed to test policies with it.

Examples:
  gatehouse connections snapshot orders --file policies/orders.catalog.json
  gatehouse policy test policies`
}

func (c connectionsSnapshotCommand) Run(ctx context.Context, s streams) error {
	_, one, i, err := c.open()
	if err != nil {
		return err
	}
	text, err := snapshotOf(ctx, one, i, c.System)
	if err != nil {
		return err
	}
	if c.File == "" {
		_, err = s.out.Write(text)
		return err
	}
	next := c.File + ".next"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(next, c.File); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	m, err := readModel(c.File, text)
	if err != nil {
		return err
	}
	tables, labelled := 0, 0
	table, column := "table", "column"
	for _, r := range m.Things() {
		switch r.Type {
		case "Method":
			table, column = "method", "field"
			tables++
		case "Table":
			tables++
		}
		if len(r.Labels) > 0 {
			labelled++
		}
	}
	fmt.Fprintf(s.out, "%s: %s, %s with labels\n", c.File, count(tables, table), count(labelled, column))
	return nil
}

func snapshotOf(ctx context.Context, c gate.Connection, i gate.Inspector, system bool) ([]byte, error) {
	taker, ok := i.(gate.Snapshotter)
	if !ok {
		return nil, fmt.Errorf("connection %s: the connector for %s takes no snapshots yet", c.Name, c.Kind)
	}
	text, err := taker.Snapshot(ctx, system)
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", c.Name, err)
	}
	return text, nil
}

// maxSnapshotFile bounds what is read of a snapshot's file, in bytes.
const maxSnapshotFile = 64 << 20

// openModel reads the snapshot of a file.
func openModel(path string) (gate.Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSnapshotFile+1))
	if err != nil {
		return nil, err
	}
	return readModel(path, text)
}

// readModel reads a snapshot by the connector that it says it is of.
func readModel(name string, text []byte) (gate.Model, error) {
	if len(text) > maxSnapshotFile {
		return nil, fmt.Errorf("%s is larger than %d MiB: it is no catalog snapshot", name, maxSnapshotFile>>20)
	}
	var head struct {
		Format int    `json:"gatehouse_catalog"`
		Kind   string `json:"kind"`
	}
	json.Unmarshal(text, &head) // what is wrong with it the connector says, with its place
	var kinds []string
	for _, c := range connectors() {
		m, ok := c.(gate.Modeller)
		if !ok {
			continue
		}
		kinds = append(kinds, c.Kind())
		if c.Kind() == head.Kind || head.Kind == "" {
			model, err := m.Model(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.ToSlash(name), err)
			}
			return model, nil
		}
	}
	return nil, fmt.Errorf("%s: a catalog of the kind %q is not known here: the kinds are %s", name, head.Kind, strings.Join(kinds, ", "))
}
