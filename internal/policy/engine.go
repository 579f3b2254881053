package policy

// Set is a compiled set of policies. It is immutable.
type Set struct{}

// Slice is what a Set says to one principal.
type Slice struct{}
