package policy

import (
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// Moment is what a decision can depend on besides the principal and the touch. What is not known is left zero: a
// policy that reads it then cannot be evaluated, and refuses.
type Moment struct {
	// Millis is the time, in milliseconds since 1970-01-01 UTC: context.time.
	Millis int64
	// Source is the client's address without a port: context.source.
	Source string
}

// Momentary says whether any policy reads the time or the source: then At has to be asked for each request.
func (s *Set) Momentary() bool { return s.readsTime || s.readsSource }

// At is what the set says to a principal at a moment, to the second. Of what no policy reads nothing depends: the
// slice is then that of For.
func (s *Set) At(p Principal, m Moment) *Slice {
	key := principalKey(p)
	context := types.RecordMap{}
	if s.readsTime && m.Millis != 0 {
		second := m.Millis - m.Millis%1000
		context["time"] = types.NewDatetimeFromMillis(second)
		key += "time " + strconv.FormatInt(second, 10) + "\n"
	}
	if s.readsSource && m.Source != "" {
		if ip, err := types.ParseIPAddr(address(m.Source)); err == nil {
			context["source"] = ip
			key += "source " + ip.String() + "\n"
		}
	}
	return s.slice(p, key, types.NewRecord(context))
}

// address is an address without a zone, and as IPv4 where it is one in IPv6's clothes.
func address(s string) string {
	s, _, _ = strings.Cut(s, "%")
	if v4, ok := strings.CutPrefix(s, "::ffff:"); ok && strings.Contains(v4, ".") {
		return v4
	}
	return s
}

// momentary are the attributes of the context, which every action has.
var momentary = resolved.RecordType{
	"time":   {Type: resolved.ExtensionType("datetime")},
	"source": {Type: resolved.ExtensionType("ipaddr")},
}

// reads says what of the moment a policy reads. Anything but a plain attribute of the context counts as both.
func reads(p *cedar.Policy) (time, source bool) {
	for _, c := range (*ast.Policy)(p.AST()).Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if get, ok := n.(ast.NodeTypeAccess); ok && isContext(get.Arg) {
				switch get.Value {
				case "time":
					time = true
				case "source":
					source = true
				default:
					time, source = true, true
				}
				return false
			}
			if isContext(n) {
				time, source = true, true
			}
			return true
		})
	}
	return time, source
}

func isContext(n ast.IsNode) bool {
	v, ok := n.(ast.NodeTypeVariable)
	return ok && v.Name == "context"
}
