package postgres

import "fmt"

// Bounds of what the analysis of one text may cost, whatever its length: a name that stands for many columns, and
// stands twice in the next name, doubles them with every line.
const (
	maxOutputs = 1664      // columns of one result, as in PostgreSQL (MaxTupleAttributeNumber)
	maxTables  = 10_000    // tables in FROM, with repetitions
	maxColumns = 1 << 18   // columns of everything in FROM, with repetitions
	maxSteps   = 200 << 20 // columns and tables that names are compared with
)

// budget is what the analysis has cost until now.
type budget struct{ columns, steps int }

// hold notes that columns are kept for a thing in FROM.
func (a *analysis) hold(columns int) error {
	a.spent.columns += columns
	if a.spent.columns > maxColumns {
		return refused(NotUnderstood, "54000", 0, fmt.Sprintf("The tables of the statement have more than %d columns together.", maxColumns), "Name the columns in place of stars, or send several statements.")
	}
	return nil
}

// step notes that a name is compared with others.
func (a *analysis) step(n int) error {
	a.spent.steps += n
	if a.spent.steps > maxSteps {
		return refused(NotUnderstood, "54000", 0, "The statement has too many names, each of which can mean too much.", "Send several statements.")
	}
	return nil
}

// outputs bounds the columns of one result.
func (a *analysis) outputs(n int, location int32) error {
	if n > maxOutputs {
		return refused(NotUnderstood, "54011", a.at(location), fmt.Sprintf("target lists can have at most %d entries", maxOutputs), "Name fewer columns.")
	}
	return nil
}

// inSight is how many things a name is looked for among.
func (s *scope) inSight() (n int) {
	for ; s != nil; s = s.up {
		n += len(s.items) + len(s.ctes) + 1
	}
	return n
}
