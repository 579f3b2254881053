package postgres

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// TokenSetting is the setting of the upstream session that holds the key of pseudonyms, 32 bytes in hex as bytea
// is written. No statement of a client can show it.
const TokenSetting = "gatehouse.token_key"

// tokenText is the pseudonym of a value: the beginning of SHA-256 over the key, the column's data class and the
// value. It is cut (96 bits of a text, so that the hash cannot be carried on); equal values of one class on one
// connection have equal pseudonyms.
func tokenText(c *Column, value string) string {
	class := ""
	if len(c.Labels) > 0 {
		class = c.Labels[0]
	}
	sum := sha256.Sum256([]byte(class))
	key := fmt.Sprintf(`(SELECT pg_catalog.current_setting('%s')::bytea || '\x%x'::bytea)`, TokenSetting, sum[:16])
	hash := func(bytes string, length int) string {
		return fmt.Sprintf("pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(%s || %s), 1, %d), 'hex')", key, bytes, length)
	}
	switch c.Type.Name {
	case "uuid":
		return hash("pg_catalog.uuid_send("+value+")", 16) + "::uuid"
	case "int8":
		return "('x' || " + hash("pg_catalog.int8send("+value+")", 8) + ")::bit(64)::int8"
	}
	prefix, length := tokenWidth(c)
	token := hash("pg_catalog.textsend("+plainText(c, value)+")", length)
	if prefix != "" {
		token = "'" + prefix + "' || " + token
	}
	if c.Spelled == "text" {
		return token
	}
	return "(" + token + ")::" + c.Spelled
}

// tokenWidth is what a pseudonym begins with, and how many bytes of the hash follow: what fits, at least 64 bits.
func tokenWidth(c *Column) (prefix string, length int) {
	const most = 12
	if c.TypeMod < 0 && c.Type.Name != "bpchar" || c.Type.Name == "text" {
		return "tok_", most
	}
	room := int(c.TypeMod) - 4 // atttypmod of varchar(n) and char(n)
	if room >= 4+16 {
		return "tok_", min(most, (room-4)/2)
	}
	return "", min(most, room/2)
}

// narrow says whether a text type has no room for a pseudonym.
func narrow(c *Column) bool {
	_, length := tokenWidth(c)
	return textLike(c) && length < 8
}

// isKey says whether a type that is no text is wide enough for a pseudonym.
func isKey(c *Column) bool {
	return c.Type.Schema == "pg_catalog" && (c.Type.Name == "uuid" || c.Type.Name == "int8")
}

// mayToken says whether a column may be shown by its pseudonyms: who may write it could find a value by trying,
// and a function of a user's could read the key.
func (a *analysis) mayToken(r *Relation, c *Column) bool {
	return a.env.Tokens && !a.mayWrite(r, c) && !a.mayCall()
}

// mayWrite says whether the principal may put values of its choice into a column: in its own table, one that it
// inherits from or that inherits from it, by a column that it is generated from, or through a foreign key.
func (a *analysis) mayWrite(r *Relation, c *Column) bool {
	for _, oid := range append(append([]uint32{r.OID}, r.Parents...), r.Children...) {
		rel := a.env.Catalog.ByOID[oid]
		if oid == r.OID {
			rel = r
		}
		if rel == nil {
			return true
		}
		for i := range rel.Columns {
			col := &rel.Columns[i]
			if (col.Name == c.Name || c.Generated) && (a.may("insert", rel, col) || a.may("update", rel, col)) {
				return true
			}
		}
	}
	for _, other := range a.env.Catalog.ByOID {
		for _, cascade := range other.Cascades {
			if cascade.OID == r.OID && cascade.OnUpdate != "" && a.env.Sight.May("update", a.env.Catalog.TableResource(other.Name)).Visible {
				return true
			}
		}
	}
	return r.Kind == View && !a.env.Catalog.readOnlyView(a.env.Sight, r)
}

func (a *analysis) may(action string, r *Relation, c *Column) bool {
	return a.env.Sight.May(action, a.env.Catalog.TableResource(r.Name)).Visible && a.env.Sight.May(action, a.env.Catalog.ColumnResource(r, c)).Visible
}

// mayCall says whether any function that users made may run for the principal.
func (a *analysis) mayCall() bool {
	if a.callsAny == nil {
		may := MayCall(a.env.Catalog, a.env.Sight)
		a.callsAny = &may
	}
	return *a.callsAny
}

// MayCall says whether any function that users made may run for a principal: it could read every setting of the session,
// the key of pseudonyms too.
func MayCall(c *Catalog, s Sight) bool {
	may := func(list []Function) bool {
		return slices.ContainsFunc(list, func(f Function) bool { return s.May("call", c.FunctionResource(f)).Visible })
	}
	if may(c.Routines) {
		return true
	}
	for _, r := range c.ByOID {
		if may(r.Calls) {
			return true
		}
	}
	for _, t := range c.Types {
		if may(t.Calls) {
			return true
		}
	}
	return false
}
