// Package deploy holds what is shipped in the binary: the starter policies and the profiles.
package deploy

import "embed"

// Starter is the starter set of policies, deploy/policies/starter.cedar.
//
//go:embed policies/starter.cedar
var Starter []byte

// Profiles are sets of policies for a kind of work, profiles/NAME.cedar, with parameters to be filled in.
//
//go:embed profiles/*.cedar
var Profiles embed.FS
