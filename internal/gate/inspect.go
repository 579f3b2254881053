package gate

import (
	"context"

	"gatehouse/internal/policy"
)

// Inspector looks at one connection's target for its operator. No client's request goes through it.
type Inspector interface {
	// Describe says what the configuration says. It opens nothing and shows no secret.
	Describe() Description
	// Secrets says whether the secrets that the connection needs are there; its error names the one that is
	// not. It connects to nothing.
	Secrets() error
	// Check connects, and says what it found out. What cannot be looked at is a finding.
	Check(context.Context) Inspection
	// Grants are the least rights at the target that whoever the slices belong to needs, as a text that the
	// target's administrator can run.
	Grants(context.Context, []*policy.Slice) (string, error)
}

// Guide is an inspector that says how clients reach its connection.
type Guide interface {
	// Clients are commands or sentences for people to read; listener is the connector's own, empty where there is none,
	// and base the gateway's https URL.
	Clients(base, listener string) []string
}

// Description is a connection as it is configured.
type Description struct {
	// Target is where it is: postgres://db.internal:5432/orders.
	Target string `json:"target"`
	// Role is whom the gateway signs in as.
	Role string `json:"role,omitempty"`
	// Details are what else the connector's own keys say, in order.
	Details []Detail   `json:"details,omitempty"`
	Labels  []Labelled `json:"labels,omitempty"`
}

// Detail is one thing that is configured, for people to read.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Inspection is what was found out about a target.
type Inspection struct {
	// Server is what answers there: "PostgreSQL 17.2"; empty where nothing does.
	Server string `json:"server,omitempty"`
	// Findings are what is wrong and what is risky, the worst first.
	Findings []Finding `json:"findings"`
	// Labels are the labels that are in force, those that flowed to other columns too.
	Labels []Labelled `json:"labels"`
	// Suggestions are unlabelled fields that look as if they should have a label.
	Suggestions []Labelled `json:"suggestions"`
}

// OK says whether nothing is wrong; there may be warnings.
func (i Inspection) OK() bool {
	for _, f := range i.Findings {
		if f.Level != Warning {
			return false
		}
	}
	return true
}

// Level says how bad a finding is. Any other word than Warning is an error.
type Level string

// The levels.
const (
	Wrong   Level = "error"   // sessions are refused, or a promise does not hold
	Warning Level = "warning" // it works, and costs more than it must if anything goes wrong
)

// Finding is one thing that an operator should know.
type Finding struct {
	Level   Level  `json:"level"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

// Labelled is a field with its labels, and why it has them.
type Labelled struct {
	Field  string   `json:"field"` // public.customers.email
	Labels []string `json:"labels"`
	// Because says how a label that was not configured came there: "view over public.customers.email".
	Because string `json:"because,omitempty"`
}
