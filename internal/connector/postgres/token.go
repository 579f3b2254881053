package postgres

import (
	"gatehouse/internal/gate"
	guard "gatehouse/internal/sqlguard/postgres"
)

// keeps refuses what a session that holds the key of pseudonyms must not run: a function of a user's could read it. When
// the session began nothing could be called. (What triggers and defaults call gives back nothing by itself.)
func (s *session) keeps(plan *guard.Plan) error {
	if !plan.Calls || s.up == nil || !s.keyed || s.target.tokenKey == nil {
		return nil
	}
	for i := range plan.Touches {
		if t := &plan.Touches[i]; t.Action == "call" && s.gate.Slice().May(t.Action, t.Resource).Visible {
			return &gate.Refusal{
				Code:     gate.Unavailable,
				SQLState: "57P01",
				Reason:   "When this session began no function of the database's own was there that you may call, so it holds a key that functions must not see.",
				Remedy:   "Connect again.",
			}
		}
	}
	return nil
}

// tokens says whether pseudonyms can be made: there is a key, and texts are bytes of UTF-8, so that making them
// never fails.
func (t *target) tokens() bool {
	t.catalogs.state.RLock()
	defer t.catalogs.state.RUnlock()
	return t.tokenKey != nil && t.catalogs.facts != nil && t.catalogs.facts.ServerEncoding == "UTF8"
}
