package ocsf_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/ocsf"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

// object is what the schema says of an object or of an event.
type object struct {
	Required   []string          `json:"required"`
	Optional   []string          `json:"optional"`
	AtLeastOne []string          `json:"at_least_one"`
	Enums      map[string][]int  `json:"enums"`
	Name       string            `json:"name"`
	Activities map[string]string `json:"activity_id"`
}

type schema struct {
	Version string              `json:"version"`
	Types   map[string][]string `json:"types"`
	Event   object              `json:"event"`
	Classes map[string]object   `json:"classes"`
	Objects map[string]object   `json:"objects"`
}

func load(t testing.TB) (s schema) {
	t.Helper()
	b, err := os.ReadFile("testdata/ocsf-1.4.0.json")
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate says what is wrong with an event, as the schema has it.
func (s schema) validate(line []byte) (wrong []string) {
	var e map[string]any
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		return []string{err.Error()}
	}
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	number := func(key string) string { return fmt.Sprint(e[key]) }
	class, ok := s.Classes[number("class_uid")]
	if !ok {
		add("there is no class %s", number("class_uid"))
		return wrong
	}
	name, ok := class.Activities[number("activity_id")]
	if !ok || name != "" && name != e["activity_name"] {
		add("activity %s is not %v", number("activity_id"), e["activity_name"])
	}
	if class.Name != e["class_name"] || number("type_uid") != fmt.Sprintf("%s%02s", number("class_uid"), number("activity_id")) {
		add("class %v, type %v", e["class_name"], e["type_uid"])
	}
	event := s.Event
	event.Required = slices.Concat(event.Required, class.Required)
	event.Optional = slices.Concat(event.Optional, class.Optional)
	event.AtLeastOne = class.AtLeastOne
	var look func(path string, o object, v map[string]any)
	look = func(path string, o object, v map[string]any) {
		for _, key := range o.Required {
			if _, ok := v[key]; !ok {
				add("%s has no %s", path, key)
			}
		}
		if len(o.AtLeastOne) > 0 && !slices.ContainsFunc(o.AtLeastOne, func(key string) bool { return v[key] != nil }) {
			add("%s has none of %v", path, o.AtLeastOne)
		}
		for key, value := range v {
			if !slices.Contains(o.Required, key) && !slices.Contains(o.Optional, key) {
				add("%s has a %s", path, key)
			}
			if allowed := o.Enums[key]; allowed != nil && !slices.ContainsFunc(allowed, func(n int) bool { return fmt.Sprint(n) == fmt.Sprint(value) }) {
				add("%s: %s is %v", path, key, value)
			}
			at := strings.TrimPrefix(path+"."+key, "event.")
			inner, isObject := s.Objects[at]
			switch value := value.(type) {
			case map[string]any:
				if isObject {
					look(at, inner, value)
				} else if key != "unmapped" {
					add("%s is an object that the schema does not know", at)
				}
			case []any:
				for _, one := range value {
					if m, ok := one.(map[string]any); ok && isObject {
						look(at, inner, m)
					} else {
						add("%s is a list of %v", at, one)
					}
				}
			case json.Number:
				n, err := value.Int64()
				if err != nil || !slices.Contains(s.Types["integer"], key) && !slices.Contains(s.Types["timestamp"], key) || slices.Contains(s.Types["timestamp"], key) && n < 1e12 {
					add("%s is %v", at, value)
				}
			case string:
				if !slices.Contains(s.Types["string"], key) {
					add("%s is %q", at, value)
				}
			default:
				add("%s is %v", at, value)
			}
		}
	}
	look("event", event, e)
	if m, _ := e["metadata"].(map[string]any); m["version"] != s.Version {
		add("version %v", m["version"])
	}
	return wrong
}

func event(t testing.TB, kind gate.EventKind, request uint64, body any) record.Event {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return record.Event{Kind: kind, Request: request, Body: b}
}

// run maps a session with a request for each of the touches; the outcome of the last one is not known.
func run(t testing.TB, info gate.SessionInfo, requests ...gate.DecisionBody) (out []ocsf.Event) {
	t.Helper()
	m := ocsf.New("1.2.3")
	at := time.UnixMilli(1_750_000_000_000)
	info.Opened = at
	take := func(events ...record.Event) {
		list, err := m.Entry(record.Entry{Session: info.ID, Time: at, Events: events})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, list...)
		at = at.Add(5 * time.Millisecond)
	}
	take(event(t, gate.SessionOpened, 0, info))
	for i, d := range requests {
		n := uint64(i + 1)
		text := "SELECT 1"
		if info.Protocol == "http" {
			text = d.Touches[0] + "\nbody"
		}
		take(event(t, gate.Requested, n, gate.RequestBody{ID: fmt.Sprintf("%s.%d", info.ID, n), Intent: gate.Intent{Text: text}}), event(t, gate.Decided, n, d))
		switch {
		case d.Refusal != nil:
			take(event(t, gate.Responded, n, gate.Outcome{Status: "refused", Error: "no"}))
		case n == 2:
			take(event(t, gate.Approved, n, gate.ApprovalBody{ID: "a-1", State: "approved", By: "ada"}), event(t, gate.Alerted, n, gate.AlertBody{Reason: "odd"}), event(t, gate.Responded, n, gate.Outcome{Status: "error", Error: "it broke", Summary: "500 Internal Server Error"}))
		case i+1 < len(requests):
			take(event(t, gate.Responded, n, gate.Outcome{Status: "ok", Summary: "200 OK", Rows: 2, Bytes: 100}))
		}
	}
	take(event(t, gate.SessionClosed, 0, gate.SessionEnd{Reason: "client"}))
	return out
}

func permitted(touches ...string) gate.DecisionBody {
	return gate.DecisionBody{Decision: policy.Decision{Effect: policy.Permit, Policies: []string{"readers"}}, Touches: touches, Version: "v1"}
}

// TestSchema: what is written has what the schema requires, nothing that it does not know, and its numbers.
func TestSchema(t *testing.T) {
	s := load(t)
	refused := gate.DecisionBody{Decision: policy.Decision{Effect: policy.Refuse}, Version: "v1", Refusal: &gate.Refusal{Code: "policy_denied", Reason: "no"}, Touches: []string{"GET a"}}
	agent := policy.Principal{Kind: policy.Agent, ID: "entra:1", Name: "deploy-bot", Issuer: "entra", Groups: []string{"ai-agents"}}
	user := policy.Principal{Kind: policy.User, ID: "entra:2", Name: "ada", Issuer: "entra", Groups: []string{"dba"}}
	behalf := agent
	behalf.OnBehalfOf = &user
	all := 0
	for _, c := range []struct {
		info     gate.SessionInfo
		requests []gate.DecisionBody
		want     []string // activity and status
	}{
		{gate.SessionInfo{ID: "s-1", Principal: agent, Connection: "shop", Protocol: "postgres", Client: "10.1.2.3:4567"},
			[]gate.DecisionBody{permitted("read table shop/public.orders", "read column shop/public.orders.id"), permitted("read table shop/public.a", "delete table shop/public.b"), refused, permitted("insert table shop/public.a"), permitted("ddl schema shop/public"), permitted("update table shop/public.a")},
			[]string{"Connect Success", "Query Success", "Delete Failure", "Unknown Failure", "Create Success", "ddl Success", "Update Unknown"}},
		{gate.SessionInfo{ID: "s-2", Principal: behalf, Connection: "crm", Protocol: "http", Client: "[::1]:80", Connect: &refused},
			[]gate.DecisionBody{permitted("GET /v1/customers"), permitted("DELETE /v1/customers/1"), permitted("POST /x"), permitted("PATCH /x"), permitted("OPTIONS /x"), permitted("GET /y")},
			[]string{"Connect Failure", "Read Success", "Delete Failure", "Create Success", "Update Success", "OPTIONS Success", "Read Unknown"}},
		{gate.SessionInfo{ID: "s-3", Principal: user, Connection: "shop", Protocol: "postgres"}, nil, []string{"Connect Success"}},
	} {
		var got []string
		for _, e := range run(t, c.info, c.requests...) {
			line, err := e.MarshalLine()
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range s.validate(line) {
				t.Errorf("%s: %s", w, line)
			}
			all++
			got = append(got, e.ActivityName+" "+e.Status)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s:\n%q, want\n%q", c.info.ID, got, c.want)
		}
	}
	if all != 15 {
		t.Errorf("%d events", all)
	}
	// The validator is no rubber stamp.
	for _, bad := range []string{`{}`, `{"class_uid":6005,"activity_id":4,"activity_name":"Query"}`, `{"class_uid":6003,"activity_id":1,"activity_name":"Create","class_name":"API Activity","type_uid":600301,"x":1}`} {
		if len(s.validate([]byte(bad))) == 0 {
			t.Errorf("it takes %s", bad)
		}
	}
}

// TestActor: an agent that acts for a user is the app, and the user is the user.
func TestActor(t *testing.T) {
	user := policy.Principal{Kind: policy.User, ID: "entra:2", Name: "ada"}
	e := run(t, gate.SessionInfo{ID: "s-1", Protocol: "postgres", Principal: policy.Principal{Kind: policy.Agent, ID: "entra:1", Name: "bot", OnBehalfOf: &user}})[0]
	if e.Actor.User.UID != "entra:2" || e.Actor.AppUID != "entra:1" || e.Actor.AppName != "bot" || e.Actor.Session.UID != "s-1" {
		t.Errorf("%+v", e.Actor)
	}
}
