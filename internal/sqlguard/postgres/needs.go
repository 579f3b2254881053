package postgres

import (
	"strings"

	"gatehouse/internal/policy"
)

// Reads says whether a statement that shows a column under a mask refers to the column at all. Where it does
// not (a constant is shown), the role that runs it needs no right to read the column.
func Reads(c *Column, e policy.Exposure) bool {
	const mark = "t.the_value"
	return e.Visible && strings.Contains(maskText(c, e, mark), mark)
}
