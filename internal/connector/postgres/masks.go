package postgres

import (
	"context"

	"gatehouse/internal/policy"
	guard "gatehouse/internal/sqlguard/postgres"
)

// sight is what was found out about a session's masks.
type sight struct {
	epoch uint64
	slice string
	known bool
}

// noteMasks finds out whether anything of the catalog is masked or hidden for the principal. From then on
// the database's error texts are redacted, for as long as the session lasts.
func (s *session) noteMasks(ctx context.Context) error {
	if s.redacting.Load() {
		return nil
	}
	catalog, _, err := s.target.catalogs.Current(ctx)
	if err != nil {
		return s.target.unreachable(err)
	}
	slice := s.gate.Slice()
	now := sight{catalog.Epoch, slice.Key(), true}
	if s.seen == now {
		return nil
	}
	if anythingMasked(catalog, slice) {
		s.redacting.Store(true)
	}
	s.seen = now
	return nil
}

func anythingMasked(c *guard.Catalog, slice *policy.Slice) bool {
	for _, r := range c.Relations {
		for _, action := range []string{"read", "insert", "update", "delete"} {
			if len(c.Rows(slice, action, r)) > 0 {
				return true
			}
		}
		for i := range r.Columns {
			e := c.Exposure(slice, r, &r.Columns[i])
			if !e.Visible || e.Mask != policy.MaskNone || len(e.Rows) > 0 {
				return true
			}
		}
	}
	return false
}
