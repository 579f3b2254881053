package postgres

import (
	"fmt"
	"slices"

	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// breach is an answer that does not fit what was asked: nothing of it reaches the client.
func (s *session) breach(what string) error {
	s.target.log.Error("ALERT: the database's answer does not fit the plan", "session", s.gate.ID(), "breach", what)
	s.alert = what
	return &gate.Refusal{
		Code:     gate.Unavailable,
		SQLState: "XX000",
		Reason:   "The database's answer did not fit what was asked, so the session ends.",
		Remedy:   "Connect again and repeat the statement; if it stays, tell the operator of this gateway.",
	}
}

// recordAlert records a breach with the request that it came in.
func (s *session) recordAlert(it *item) error {
	e := it.entry
	if e == nil && it.portal != nil {
		e = it.portal.entry
	}
	if !e.Open() {
		return nil
	}
	return e.Record(gate.Event{Kind: gate.Alerted, Body: gate.AlertBody{Reason: s.alert}})
}

// checkRows is the second check: a column whose values would come raw from where the plan masks them, or other columns
// than those that the plan's statement gives. ended is how many statements of the plan have ended.
func (s *session) checkRows(body []byte, plan *guard.Plan, ended int) error {
	if why := misfit(body, plan, ended); why != "" {
		return s.breach(why)
	}
	return nil
}

// misfit is what of a RowDescription does not fit a plan; "" where all does.
func misfit(body []byte, plan *guard.Plan, ended int) string {
	columns, err := decodeRowDescription(body)
	if err != nil || plan == nil {
		return "a malformed RowDescription"
	}
	row := make([]guard.Described, len(columns))
	for i, c := range columns {
		if slices.Contains(plan.Guarded[c.table], c.column) {
			return fmt.Sprintf("column %d of relation %d comes raw", c.column, c.table)
		}
		if slices.Contains(plan.GuardedRows, c.typ) {
			return fmt.Sprintf("whole rows of type %d come raw", c.typ)
		}
		row[i] = guard.Described{Name: c.name, TypeOID: c.typ}
	}
	if ended >= len(plan.Statements) {
		return "rows that no statement gives"
	}
	if !plan.Statements[ended].Gives(row) {
		return fmt.Sprintf("%d columns that are not those of the statement", len(columns))
	}
	return ""
}
