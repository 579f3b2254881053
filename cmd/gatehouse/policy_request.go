package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/config/strict"
	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/policy/cases"
	"gatehouse/internal/policy/offline"
)

// place is a connection as it is known without a gateway.
type place struct {
	resource policy.Resource
	model    gate.Model // nil: without a catalog
	// joined says that who may connect is known, so that it is decided too.
	joined bool
}

// world is what requests are decided by without a gateway.
type world struct {
	set    *policy.Set
	places map[string]*place
	moment policy.Moment
}

// slice is what the policies say to a principal at the moment.
func (w *world) slice(p policy.Principal) *policy.Slice { return w.set.At(p, w.moment) }

// add takes a snapshot in.
func (w *world) add(m gate.Model) error {
	r := m.Connection()
	if p := w.places[r.ID]; p != nil && p.model != nil {
		return fmt.Errorf("there are two catalogs of the connection %s", r.ID)
	}
	w.places[r.ID] = &place{resource: r, model: m}
	return nil
}

// at finds a connection by its name; the only one needs none.
func (w *world) at(name string) (*place, error) {
	names := slices.Sorted(maps.Keys(w.places))
	if name == "" && len(names) == 1 {
		return w.places[names[0]], nil
	}
	if p := w.places[name]; p != nil {
		return p, nil
	}
	switch {
	case len(names) == 0:
		return nil, errors.New("no connection is known: give a catalog snapshot (`gatehouse connections snapshot NAME`), or name it")
	case name == "":
		return nil, fmt.Errorf("the connection is missing: it is one of %s", strings.Join(names, ", "))
	}
	hint := "known are " + strings.Join(names, ", ")
	if near := strict.Nearest(name, names); near != "" {
		hint = "is " + near + " meant?"
	}
	return nil, fmt.Errorf("there is no connection %q: %s", name, hint)
}

// request is what a principal asks for: a text, or touches.
type request struct {
	principal policy.Principal
	place     *place
	text      string
	touches   []policy.Touch
	observed  bool // the connection only observes its policies
}

// systemUnknown is said of a system catalog where a snapshot has none.
var systemUnknown = regexp.MustCompile(`relation "(pg_catalog|information_schema|pg_[a-z_]+)[."].* does not exist`)

// answered is what became of a request.
type answered struct {
	outcome  cases.Outcome
	decision policy.Decision
	touches  []policy.Touch
	text     string        // what would be sent
	refusal  *gate.Refusal // where it was refused for what it is
}

// decide decides a request as the gateway would.
func (w *world) decide(r request) (answered, error) {
	slice := w.slice(r.principal)
	if r.observed {
		slice = slice.Observing()
	}
	if r.place.joined {
		connect := []policy.Touch{{Action: "connect", Resource: r.place.resource}}
		if d := slice.Decide(connect); d.Effect != policy.Permit { // connecting is not held: the gateway refuses it then
			d.Effect = policy.Refuse
			out := answered{outcome: cases.Of(d, nil, nil), decision: d, touches: connect}
			out.outcome.Reason = "It may not connect to " + r.place.resource.ID + "."
			return out, nil
		}
	}
	if r.text == "" {
		shown, rows := cases.Touched(slice, r.touches)
		return decided(slice, r.touches, shown, rows), nil
	}
	if r.place.model == nil {
		return answered{}, fmt.Errorf("there is no catalog of the connection %s, which a text is understood with: write one with `gatehouse connections snapshot %s`, or give touches", r.place.resource.ID, r.place.resource.ID)
	}
	u := r.place.model.Understand(slice, r.text)
	out := decided(slice, u.Touches, u.Shown, u.Rows)
	out.text, out.refusal = u.Text, u.Refusal
	if u.Refusal == nil {
		return out, nil
	}
	if u.Refusal.Code != gate.PolicyDenied || out.decision.Effect != policy.Refuse {
		out.decision = policy.Decision{Missing: u.Refusal.Missing}
		out.outcome = cases.Of(out.decision, nil, nil)
	}
	out.outcome.Code, out.outcome.Reason = string(u.Refusal.Code), u.Refusal.Reason
	if systemUnknown.MatchString(u.Refusal.Reason) {
		out.outcome.Reason += " (the snapshot is one without the system catalogs: write it with --system)"
	}
	return out, nil
}

func decided(slice *policy.Slice, touches []policy.Touch, shown map[string]string, rows map[string]policy.Rows) answered {
	d := slice.Decide(touches)
	return answered{outcome: cases.Of(d, shown, rows), decision: d, touches: touches}
}

// touch reads an action and an object as people write them: "read customers.email", "read table customers",
// "call public.f(integer)". Without a catalog the object has its schema: public.customers.email.
func (w *world) touch(p *place, text string, labels []string) (policy.Touch, error) {
	action, object, _ := strings.Cut(strings.TrimSpace(text), " ")
	object = strings.TrimSpace(object)
	if !slices.Contains(w.set.Actions(), action) {
		hint := "the actions are " + strings.Join(w.set.Actions(), ", ")
		if near := strict.Nearest(action, w.set.Actions()); near != "" {
			hint = "is " + near + " meant?"
		}
		return policy.Touch{}, fmt.Errorf("there is no action %q: %s", action, hint)
	}
	r, err := p.find(action, object, w.set.AppliesTo(action))
	if err != nil {
		return policy.Touch{}, err
	}
	if labels != nil {
		if !policy.Labelled(r.Type) {
			return policy.Touch{}, fmt.Errorf("%s is a %s: only columns and fields have labels", r.ID, strings.ToLower(r.Type))
		}
		r.Labels = labels
	}
	return policy.Touch{Action: action, Resource: r}, nil
}

// types are the words for types of resources.
var types = []string{"Connection", "Schema", "Table", "Column", "Function", "Channel", "Endpoint", "Service", "Method", "Message", "Field"}

// find finds the object of an action: with the word for its type in front, or of the type that the action, which is done to
// some, and the name suggest.
func (p *place) find(action, object string, to []string) (policy.Resource, error) {
	word, name, typed := strings.Cut(object, " ")
	if i := slices.IndexFunc(types, func(t string) bool { return strings.EqualFold(t, word) }); typed && i >= 0 {
		return p.thing(types[i], strings.TrimSpace(name))
	}
	if len(to) == 1 && object != "" && slices.Contains(types, to[0]) {
		return p.thing(to[0], object)
	}
	switch action {
	case "connect", "set", "temporary", "approve", "review", "breakglass", "kill":
		return p.thing("Connection", object)
	case "listen", "notify":
		return p.thing("Channel", object)
	case "call":
		if p.model == nil && strings.Contains(object, "/") {
			return p.thing("Method", object)
		}
		return p.thing("Function", object)
	case "reveal":
		return p.thing(p.labelled(object), object)
	}
	if object == "" {
		return policy.Resource{}, fmt.Errorf("%s needs an object, such as %s public.customers", action, action)
	}
	if typ := p.labelled(object); typ == "Field" {
		return p.thing(typ, object)
	}
	if p.model == nil && strings.HasPrefix(object, "/") {
		return p.thing("Endpoint", object)
	}
	var first error
	for _, typ := range []string{"Table", "Column", "Schema", "Function"} {
		r, err := p.thing(typ, object)
		if err == nil {
			return r, nil
		}
		if first == nil || typ == "Column" && strings.Count(object, ".") >= 1 && strings.Contains(err.Error(), "meant?") {
			first = err
		}
	}
	return policy.Resource{}, first
}

// labelled is the type of what is masked that has a name: a field where it has the path of one behind what answers with it.
func (p *place) labelled(name string) string {
	if p.model == nil && strings.Contains(name, "#") {
		return "Field"
	}
	return "Column"
}

// thing finds a thing of a type by its name.
func (p *place) thing(typ, name string) (policy.Resource, error) {
	connection := p.resource.ID
	if typ == "Connection" {
		if name != "" && name != connection {
			return policy.Resource{}, fmt.Errorf("%q is not the connection %s", name, connection)
		}
		return p.resource, nil
	}
	if p.model != nil {
		return p.model.Find(typ, name)
	}
	if !strings.HasPrefix(name, connection+"/") {
		name = connection + "/" + strings.TrimPrefix(name, "/")
	}
	return offline.Resource(p.resource, typ, name)
}

// short is an id without its connection.
func short(id string) string {
	if _, rest, found := strings.Cut(id, "/"); found {
		return rest
	}
	return id
}
