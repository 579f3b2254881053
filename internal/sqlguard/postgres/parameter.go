package postgres

import "gatehouse/internal/policy"

// firstUserOID is the first OID that the server gives to what users make (FirstNormalObjectId).
const firstUserOID = 16384

// Parameter says what a client does that declares a parameter to be of a type: reading a value of the type can
// run functions. 0 is a type that the server finds out. Its errors are *Error.
func (c *Catalog) Parameter(oid uint32) ([]policy.Touch, error) {
	if oid < firstUserOID {
		return nil, nil
	}
	for _, t := range c.TypesByOID {
		if t.OID != oid && t.Array != oid || t.Kind == 'b' && !t.Usable {
			continue
		}
		var touches []policy.Touch
		for _, f := range t.Calls {
			touches = append(touches, policy.Touch{Action: "call", Resource: c.FunctionResource(f)})
		}
		return touches, nil
	}
	return nil, refused(NotBuilt, "0A000", 0, "Parameters of this type are not built yet in this gateway.", "Declare the parameter as text, or not at all.")
}
