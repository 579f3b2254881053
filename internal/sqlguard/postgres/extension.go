package postgres

// extensionFunction is what the functions of a name outside pg_catalog have in common; nil where one of them
// may not be called without a permit of its own.
func (a *analysis) extensionFunction(names []string) *Overloads {
	return nil
}

// Overloads are the functions of one name in one schema.
type Overloads struct {
	// Result is the type that all of them return; 0 where they differ.
	Result uint32
}
