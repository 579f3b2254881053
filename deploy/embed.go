// Package deploy holds what is shipped beside the binary: the starter policies.
package deploy

import _ "embed"

// Starter is the starter set of policies, deploy/policies/starter.cedar.
//
//go:embed policies/starter.cedar
var Starter []byte
