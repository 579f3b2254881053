// Package ocsf says what recordings say as events of the Open Cybersecurity Schema Framework (schema.ocsf.io), version 1.4.0.
//
// A session that is opened and each request in it become one event: of the class Datastore Activity (6005) for databases, of
// API Activity (6003) for everything else. What the schema has no word for is in unmapped. It is pure.
package ocsf

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

// Version is that of the schema.
const Version = "1.4.0"

// The numbers of the schema.
const (
	application   = 6 // category
	apiActivity   = application*1000 + 3
	dataActivity  = application*1000 + 5
	informational = 1 // severity
	medium        = 3
	unknown       = 0 // of everything
	success       = 1 // status
	failure       = 2
	other         = 99 // of everything
)

// Event is one event. Times are in milliseconds since 1970.
type Event struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	CategoryName string         `json:"category_name"`
	ClassUID     int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	TypeUID      int            `json:"type_uid"`
	SeverityID   int            `json:"severity_id"`
	Severity     string         `json:"severity"`
	StatusID     int            `json:"status_id"`
	Status       string         `json:"status"`
	StatusDetail string         `json:"status_detail,omitempty"`
	Time         int64          `json:"time"`
	StartTime    int64          `json:"start_time,omitempty"`
	EndTime      int64          `json:"end_time,omitempty"`
	Duration     int64          `json:"duration,omitempty"`
	Message      string         `json:"message,omitempty"`
	Metadata     Metadata       `json:"metadata"`
	Actor        Actor          `json:"actor"`
	Source       Endpoint       `json:"src_endpoint"`
	Database     *Database      `json:"database,omitempty"`
	Table        *Named         `json:"table,omitempty"`
	Query        *Query         `json:"query_info,omitempty"`
	API          *API           `json:"api,omitempty"`
	Resources    []Named        `json:"resources,omitempty"`
	Unmapped     map[string]any `json:"unmapped,omitempty"`
}

// Metadata says where an event comes from.
type Metadata struct {
	Version  string  `json:"version"`
	UID      string  `json:"uid"`
	Product  Product `json:"product"`
	LogName  string  `json:"log_name"`
	Sequence uint64  `json:"sequence"`
}

// Product is what made it.
type Product struct {
	Name    string `json:"name"`
	Vendor  string `json:"vendor_name"`
	Version string `json:"version,omitempty"`
}

// Actor is who asked.
type Actor struct {
	User    *User   `json:"user,omitempty"`
	AppName string  `json:"app_name,omitempty"`
	AppUID  string  `json:"app_uid,omitempty"`
	Session Session `json:"session"`
}

// User is a principal.
type User struct {
	UID    string  `json:"uid"`
	Name   string  `json:"name,omitempty"`
	TypeID int     `json:"type_id"`
	Groups []Named `json:"groups,omitempty"`
}

// Session is where it was asked.
type Session struct {
	UID     string `json:"uid"`
	Created int64  `json:"created_time,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
}

// Endpoint is an address.
type Endpoint struct {
	IP   string `json:"ip,omitempty"`
	Port int    `json:"port,omitempty"`
	Name string `json:"name,omitempty"`
}

// Database is a connection.
type Database struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	TypeID int    `json:"type_id"`
}

// Named is anything with a name only.
type Named struct {
	Name string `json:"name"`
}

// Query is what ran.
type Query struct {
	UID   string `json:"uid"`
	Query string `json:"query_string"`
	Bytes uint64 `json:"bytes,omitempty"`
}

// API is a call.
type API struct {
	Operation string    `json:"operation"`
	Service   Named     `json:"service"`
	Request   Request   `json:"request"`
	Response  *Response `json:"response,omitempty"`
}

// Request is the call's.
type Request struct {
	UID string `json:"uid"`
}

// Response is what came of it.
type Response struct {
	Code    int    `json:"code,omitempty"`
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

// Mapper follows one session.
type Mapper struct {
	version string // of the gateway
	info    gate.SessionInfo
	open    []*request
	n       uint64
}

type request struct {
	number   uint64
	begun    time.Time
	id       string
	intent   gate.Intent
	decision *gate.DecisionBody
	approved []gate.ApprovalBody
	alert    string
}

// New makes a mapper for the next session.
func New(version string) *Mapper { return &Mapper{version: version} }

// Entry gives the events that an entry completes.
func (m *Mapper) Entry(e record.Entry) (out []Event, err error) {
	for _, ev := range e.Events {
		r := m.request(ev.Request)
		switch ev.Kind {
		case gate.SessionOpened:
			if m.info, err = record.Body[gate.SessionInfo](ev); err == nil {
				out = append(out, m.connected(e.Time))
			}
		case gate.Requested:
			var b gate.RequestBody
			if b, err = record.Body[gate.RequestBody](ev); err == nil {
				m.open = append(m.open, &request{number: ev.Request, begun: e.Time, id: b.ID, intent: b.Intent})
			}
		case gate.Decided:
			if r != nil {
				r.decision = new(gate.DecisionBody)
				*r.decision, err = record.Body[gate.DecisionBody](ev)
			}
		case gate.Approved:
			if r != nil {
				var a gate.ApprovalBody
				a, err = record.Body[gate.ApprovalBody](ev)
				r.approved = append(r.approved, a)
			}
		case gate.Alerted:
			if r != nil {
				var a gate.AlertBody
				a, err = record.Body[gate.AlertBody](ev)
				r.alert = a.Reason
			}
		case gate.Responded:
			if r != nil {
				var o gate.Outcome
				if o, err = record.Body[gate.Outcome](ev); err == nil {
					out = append(out, m.asked(r, e.Time, o))
				}
				m.open = slices.DeleteFunc(m.open, func(one *request) bool { return one == r })
			}
		case gate.SessionClosed:
			out = append(out, m.End(e.Time)...)
		}
		if err != nil {
			return nil, fmt.Errorf("session %s, entry %d: %s: %w", e.Session, e.Number, ev.Kind, err)
		}
	}
	return out, nil
}

// End gives the requests that have no outcome, at the time at which nothing more is known of them.
func (m *Mapper) End(at time.Time) (out []Event) {
	for _, r := range m.open {
		out = append(out, m.asked(r, at, gate.Outcome{Status: "unknown"}))
	}
	m.open = nil
	return out
}

func (m *Mapper) request(number uint64) *request {
	for _, r := range m.open {
		if r.number == number {
			return r
		}
	}
	return nil
}

// database says whether what is asked is asked of a database.
func (m *Mapper) database() bool {
	return slices.Contains([]string{"postgres", "mysql", "mongodb"}, m.info.Protocol)
}

// event is what all have.
func (m *Mapper) event(at time.Time, uid string) Event {
	m.n++
	e := Event{
		CategoryUID: application, CategoryName: "Application Activity", ClassUID: apiActivity, ClassName: "API Activity",
		SeverityID: informational, Severity: "Informational", Time: at.UnixMilli(),
		Metadata: Metadata{Version: Version, UID: uid, Product: Product{Name: "Gatehouse", Vendor: "Gatehouse", Version: m.version}, LogName: "recordings", Sequence: m.n},
		Actor:    m.actor(), Source: endpoint(m.info.Client),
	}
	if m.database() {
		e.ClassUID, e.ClassName = dataActivity, "Datastore Activity"
		e.Database = &Database{Name: m.info.Connection, Type: "Relational", TypeID: 1}
	}
	return e
}

func (e *Event) activity(id int, name string) {
	e.ActivityID, e.ActivityName, e.TypeUID = id, name, e.ClassUID*100+id
}

func (e *Event) status(id int, name, detail string) {
	e.StatusID, e.Status, e.StatusDetail = id, name, detail
}

func (m *Mapper) connected(at time.Time) Event {
	e := m.event(at, m.info.ID)
	if m.database() {
		e.activity(3, "Connect")
	} else {
		e.activity(other, "Connect")
		e.API = &API{Operation: "connect", Service: Named{m.info.Connection}, Request: Request{m.info.ID}}
	}
	e.status(success, "Success", "")
	if c := m.info.Connect; c != nil {
		if c.Decision.Effect == policy.Refuse {
			e.refused(c)
		}
		e.decided(c)
	}
	return e
}

func (m *Mapper) asked(r *request, at time.Time, o gate.Outcome) Event {
	e := m.event(r.begun, r.id)
	e.StartTime, e.EndTime, e.Duration = r.begun.UnixMilli(), at.UnixMilli(), at.Sub(r.begun).Milliseconds()
	text := r.intent.Text
	if text == "" {
		text = r.intent.Received
	}
	var touches []string
	if r.decision != nil {
		touches = r.decision.Touches
	}
	if m.database() {
		e.activity(dataDone(touches))
		e.Query = &Query{UID: r.id, Query: text, Bytes: o.Bytes}
		if tables := tablesOf(touches); len(tables) > 0 {
			e.Table = &tables[0]
		}
	} else {
		operation, _, _ := strings.Cut(text, "\n")
		e.activity(apiDone(operation))
		e.API = &API{Operation: operation, Service: Named{m.info.Connection}, Request: Request{r.id}, Response: &Response{Error: o.Error, Message: o.Summary}}
		if o.Status == "unknown" {
			e.API.Response = nil
		} else if o.Error == "" && o.Summary == "" {
			e.API.Response.Message = o.Status
		} else if code, err := strconv.Atoi(strings.Fields(o.Summary + " x")[0]); err == nil {
			e.API.Response.Code = code
		}
	}
	switch o.Status {
	case "ok":
		e.status(success, "Success", o.Summary)
	case "unknown":
		e.status(unknown, "Unknown", "forwarded, and nothing came back")
	default:
		e.status(failure, "Failure", o.Error)
	}
	if r.decision != nil {
		if r.decision.Refusal != nil {
			e.refused(r.decision)
		}
		e.decided(r.decision)
	}
	e.unmapped("outcome", o.Status)
	if o.Rows > 0 {
		e.unmapped("rows", o.Rows)
	}
	if len(r.approved) > 0 {
		e.unmapped("approvals", r.approved)
	}
	if r.alert != "" {
		e.SeverityID, e.Severity = 5, "Critical"
		e.unmapped("alert", r.alert)
	}
	return e
}

func (e *Event) refused(d *gate.DecisionBody) {
	e.SeverityID, e.Severity = medium, "Medium"
	detail := "refused"
	if d.Refusal != nil {
		detail = fmt.Sprintf("%s: %s", d.Refusal.Code, d.Refusal.Reason)
	}
	e.status(failure, "Failure", detail)
}

func (e *Event) decided(d *gate.DecisionBody) {
	e.unmapped("decision", d.Decision.Effect.String())
	e.unmapped("policy_version", d.Version)
	if len(d.Decision.Policies) > 0 {
		e.unmapped("policies", d.Decision.Policies)
	}
	if len(d.Touches) > 0 {
		e.unmapped("touches", d.Touches)
	}
}

func (e *Event) unmapped(key string, v any) {
	if e.Unmapped == nil {
		e.Unmapped = map[string]any{}
	}
	e.Unmapped[key] = v
}

// actor is the user, or the agent with the user that it acts for.
func (m *Mapper) actor() Actor {
	p := m.info.Principal
	a := Actor{Session: Session{UID: m.info.ID, Issuer: p.Issuer}}
	if !m.info.Opened.IsZero() {
		a.Session.Created = m.info.Opened.UnixMilli()
	}
	if p.Kind == policy.Agent {
		a.AppUID, a.AppName = p.ID, p.Name
		if p.OnBehalfOf == nil {
			a.User = userOf(p)
			return a
		}
		p = *p.OnBehalfOf
	}
	a.User = userOf(p)
	return a
}

func userOf(p policy.Principal) *User {
	u := &User{UID: p.ID, Name: p.Name, TypeID: 1}
	if p.Kind == policy.Agent {
		u.TypeID = 4 // a service
	}
	for _, g := range p.Groups {
		u.Groups = append(u.Groups, Named{g})
	}
	return u
}

func endpoint(address string) Endpoint {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	n, _ := strconv.ParseUint(port, 10, 16) // none: 0
	if net.ParseIP(host) == nil {
		if host == "" {
			host = "unknown"
		}
		return Endpoint{Name: host, Port: int(n)}
	}
	return Endpoint{IP: host, Port: int(n)}
}

// dataDone is the activity of what touches a database: that which changes most.
func dataDone(touches []string) (int, string) {
	activities := []struct {
		actions []string
		id      int
		name    string
	}{
		{[]string{"ddl", "call", "set"}, other, "Other"},
		{[]string{"delete", "truncate"}, 7, "Delete"},
		{[]string{"update"}, 2, "Update"},
		{[]string{"insert"}, 6, "Create"},
		{[]string{"read", "reveal", "explain"}, 4, "Query"},
	}
	for _, a := range activities {
		for _, t := range touches {
			if action, _, _ := strings.Cut(t, " "); slices.Contains(a.actions, action) {
				if a.id == other {
					return a.id, action
				}
				return a.id, a.name
			}
		}
	}
	return unknown, "Unknown"
}

func tablesOf(touches []string) (out []Named) {
	for _, t := range touches {
		if parts := strings.SplitN(t, " ", 3); len(parts) == 3 && parts[1] == "table" {
			_, name, _ := strings.Cut(parts[2], "/")
			out = append(out, Named{name})
		}
	}
	return out
}

// apiDone is the activity of a call, by its method.
func apiDone(operation string) (int, string) {
	method, _, _ := strings.Cut(operation, " ")
	switch method {
	case "POST":
		return 1, "Create"
	case "GET", "HEAD":
		return 2, "Read"
	case "PUT", "PATCH":
		return 3, "Update"
	case "DELETE":
		return 4, "Delete"
	}
	return other, method
}

// MarshalLine gives an event as a line of JSON.
func (e Event) MarshalLine() ([]byte, error) {
	b, err := json.Marshal(e)
	return append(b, '\n'), err
}
