package postgres

import (
	"errors"
	"slices"

	guard "gatehouse/internal/sqlguard/postgres"
)

// keptLabels are the labels that columns were once seen with, by OID and attribute number: what a column
// holds stays when it, or its table, gets another name, or loses the foreign key that its label came over.
// They are kept as long as the gateway runs.
type keptLabels struct {
	columns map[columnKey][]string
	found   map[configuredColumn]bool // what the configuration names and was there once
	// reviewed is which column of a table was meant by a reviewed one when it was first there.
	reviewed map[configuredColumn]columnKey
	// traces are of the views' definitions as they were last read.
	traces map[uint32]knownTrace
}

type configuredColumn struct {
	table  guard.Name
	column string
}

func newKeptLabels() *keptLabels {
	return &keptLabels{columns: map[columnKey][]string{}, found: map[configuredColumn]bool{}, reviewed: map[configuredColumn]columnKey{}}
}

// labelled finds a column that the configuration labels. One that was never there is an error; one that has
// gone has no key: its label stays on what it was renamed to.
func (r *reader) labelled(table guard.Name, column string) (columnKey, error) {
	at := configuredColumn{table, column}
	rel := r.catalog.Relations[table]
	if rel != nil {
		if c := rel.Column(column); c != nil {
			r.kept.found[at] = true
			return columnKey{rel.OID, c.Number}, nil
		}
	}
	switch {
	case r.kept.found[at]:
		return columnKey{}, nil
	case rel == nil:
		return columnKey{}, errors.New(noTable(r.catalog, table) + " Correct it in the configuration.")
	}
	return columnKey{}, errors.New(noColumn(rel, column) + " Correct it in the configuration.")
}

// keep remembers the labels of a column that stores values. What a view shows changes with its definition.
func (k *keptLabels) keep(r *guard.Relation, c *guard.Column) {
	if r.Kind != guard.View {
		k.columns[columnKey{r.OID, c.Number}] = c.Labels
	}
}

// restore adds what was remembered of the columns that are still there, and forgets the others.
func (k *keptLabels) restore(c *guard.Catalog, has map[columnKey][]string) {
	for at, labels := range k.columns {
		rel := c.ByOID[at.oid]
		if rel == nil || !slices.ContainsFunc(rel.Columns, func(c guard.Column) bool { return c.Number == at.number }) {
			delete(k.columns, at)
			continue
		}
		for _, l := range labels {
			if !slices.Contains(has[at], l) {
				has[at] = append(has[at], l)
			}
		}
	}
}

// looked is the column that was reviewed under a name: the one that had it first, as long as its table is there. Now
// is the one that has it.
func (k *keptLabels) looked(at configuredColumn, now columnKey) columnKey {
	if first, ok := k.reviewed[at]; ok && (now.oid == first.oid || now.oid == 0) {
		return first
	}
	if now.oid != 0 {
		k.reviewed[at] = now
	}
	return now
}
