package tools

import (
	"strings"
	"testing"
)

// TestTPCH: the queries of TPC-H give through the gateway what they give without it; to one who sees masks, what
// they give over tables that are masked by hand.
func TestTPCH(t *testing.T) {
	onlyAll(t)
	b := bedOf(t, "")
	compare(t, b, "tpch", "testdata/tpch.sql")
	roads := b.roads(t, "tpch")
	direct, masks := roads[0].dial(t), roads[2].dial(t)
	direct.simple("SET search_path = masked, public")
	for _, s := range statements(t, "testdata/tpch.sql") {
		t.Run(s.name+"/masked", func(t *testing.T) {
			direct.t, masks.t = t, t
			want, got := origins(s.run(direct)), origins(s.run(masks))
			if want != got {
				t.Errorf("masked by hand\n%sthrough the gateway\n%s", want, got)
			}
			if !strings.Contains(want, "DataRow") && s.name != "q22" {
				t.Errorf("no row came back, so nothing is proved:\n%s", want)
			}
		})
	}
}
