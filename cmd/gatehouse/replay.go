package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/internal/gate"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

// replay prints a session's events, as text or as JSON lines.
type replay struct {
	out      io.Writer
	rows     int // of a result in text: 0 is all, -1 none
	decoders map[string]gate.ResultDecoder
	events   *json.Encoder // nil: text
	// What is shown begins so long after the session was opened, and with a request; of what was before only what is needed to
	// read what follows is taken in.
	from  time.Duration
	since uint64
	pace  *pace // nil: all at once

	opened  time.Time
	decoder gate.ResultDecoder
	current uint64
	schema  map[uint64][]gate.ResultColumn
	printed map[uint64]int
}

func newEventLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// eventLine is one event in JSON; a result's rows are decoded.
type eventLine struct {
	Time    time.Time           `json:"time"`
	Kind    gate.EventKind      `json:"kind"`
	Request uint64              `json:"request,omitempty"`
	Body    json.RawMessage     `json:"body,omitempty"`
	Columns []gate.ResultColumn `json:"columns,omitempty"`
	Rows    [][]*string         `json:"rows,omitempty"`
}

const allRows = 1 << 30

// before says whether an entry is from before what is shown.
func (r *replay) before(e record.Entry) bool {
	return r.from > 0 && (r.opened.IsZero() || e.Time.Sub(r.opened) < r.from)
}

func (r *replay) entry(e record.Entry) error {
	for _, ev := range e.Events {
		if err := r.event(e.Time, ev); err != nil {
			return fmt.Errorf("entry %d: %s: %w", e.Number, ev.Kind, err)
		}
	}
	return nil
}

func (r *replay) event(at time.Time, ev record.Event) error {
	if ev.Kind == gate.SessionOpened {
		var info gate.SessionInfo
		if err := json.Unmarshal(ev.Body, &info); err != nil {
			return err
		}
		r.opened, r.decoder = at, r.decoders[info.Protocol]
		r.schema, r.printed = map[uint64][]gate.ResultColumn{}, map[uint64]int{}
		if r.events == nil {
			r.header(info)
		}
	}
	if ev.Kind == gate.ResultSchema && r.decoder != nil {
		columns, err := r.decoder.Schema(ev.Data)
		if err != nil {
			return err
		}
		r.schema[ev.Request] = columns
	}
	if ev.Kind != gate.SessionOpened && (at.Sub(r.opened) < r.from || ev.Request > 0 && ev.Request < r.since) {
		return nil
	}
	if r.events != nil {
		return r.json(at, ev)
	}
	return r.text(at, ev)
}

func (r *replay) json(at time.Time, ev record.Event) error {
	l := eventLine{Time: at, Kind: ev.Kind, Request: ev.Request, Body: ev.Body}
	if r.rows < 0 && (ev.Kind == gate.ResultSchema || ev.Kind == gate.ResultRows) {
		return nil
	}
	switch {
	case r.decoder == nil:
	case ev.Kind == gate.ResultSchema:
		l.Columns = r.schema[ev.Request]
	case ev.Kind == gate.ResultRows:
		rows, err := r.decoder.Rows(r.schema[ev.Request], ev.Data, allRows)
		if err != nil {
			return err
		}
		l.Rows = rows
	}
	return r.events.Encode(l)
}

func (r *replay) say(format string, args ...any) {
	fmt.Fprintln(r.out, plain(strings.TrimRight(fmt.Sprintf(format, args...), " ")))
}

func (r *replay) header(i gate.SessionInfo) {
	r.say("session     %s", i.ID)
	r.say("principal   %s  [%s]", i.Principal, i.Principal.ID)
	r.say("connection  %s (%s) from %s", i.Connection, i.Protocol, i.Client)
	for k, v := range i.Attributes {
		r.say("client      %s=%s", k, v)
	}
	r.say("opened      %s", i.Opened.Local().Format("2006-01-02 15:04:05"))
}

func (r *replay) text(at time.Time, ev record.Event) error {
	var err error
	read := func(v any) bool { err = json.Unmarshal(ev.Body, v); return err == nil }
	switch ev.Kind {
	case gate.Requested:
		var b gate.RequestBody
		if read(&b) {
			r.current = ev.Request
			fmt.Fprintln(r.out)
			r.say("+%s  request %d", at.Sub(r.opened).Round(time.Millisecond), ev.Request)
			r.intent(b.Intent)
		}
	case gate.Decided:
		var b gate.DecisionBody
		if read(&b) {
			r.decided(b)
		}
	case gate.Approved:
		var b gate.ApprovalBody
		if read(&b) {
			r.about(ev.Request)
			text := "  approval " + b.ID + ": " + b.State
			if b.By != "" {
				text += " by " + b.By
			}
			if b.Reason != "" {
				text += " (" + b.Reason + ")"
			}
			r.say("%s", text)
		}
	case gate.ResultSchema:
		if r.rows >= 0 {
			r.about(ev.Request)
			var names []string
			for _, c := range r.schema[ev.Request] {
				names = append(names, c.Name)
			}
			r.say("  | %s", strings.Join(names, " | "))
		}
	case gate.ResultRows:
		return r.result(ev)
	case gate.Notified:
		var b gate.NotificationBody
		if read(&b) {
			fmt.Fprintln(r.out)
			r.say("+%s  notification on %s: %s", at.Sub(r.opened).Round(time.Millisecond), b.Channel, line(b.Payload, 120))
			r.current = 0
		}
	case gate.LeftOut:
		var b gate.LeftOutBody
		if read(&b) {
			r.about(ev.Request)
			what := fmt.Sprintf("%d bytes", b.Bytes)
			if b.Rows > 0 {
				what = fmt.Sprintf("%d of %d rows (%d bytes)", b.Rows-b.Recorded, b.Rows, b.Bytes)
			}
			r.say("  | … the client got %s that are not recorded, sha256 of the whole result %s", what, b.SHA256)
		}
	case gate.StreamBytes:
		var b gate.StreamBody
		if read(&b) {
			r.about(ev.Request)
			r.say("  the client sent %d bytes (%s), sha256 %s", b.Bytes, b.Ended, b.SHA256)
		}
	case gate.Alerted:
		var b gate.AlertBody
		if read(&b) {
			r.about(ev.Request)
			r.say("  ALERT: the database's answer did not fit what was asked: %s", b.Reason)
		}
	case gate.Responded:
		var o gate.Outcome
		if read(&o) {
			r.responded(ev.Request, o)
		}
	case gate.SessionClosed:
		var end gate.SessionEnd
		if read(&end) {
			fmt.Fprintln(r.out)
			r.say("+%s  closed: %s  %s", at.Sub(r.opened).Round(time.Millisecond), end.Reason, end.Detail)
		}
	}
	return err
}

// about names the request where another one was printed in between.
func (r *replay) about(request uint64) {
	if request != r.current {
		r.say("  (request %d)", request)
		r.current = request
	}
}

func (r *replay) intent(i gate.Intent) {
	text := i.Text
	if text == "" {
		text = i.Received
	}
	for l := range strings.Lines(text) {
		r.say("  > %s", strings.TrimRight(l, "\n"))
	}
	for _, uses := range i.Means {
		r.say("    which uses: %s", line(uses, 200))
	}
	for n, p := range i.Parameters {
		r.say("    $%d = %s", n+1, parameterText(p))
	}
	if i.Received != "" && i.Text != "" {
		r.say("    received as: %s", line(i.Received, 200))
	}
}

func (r *replay) decided(b gate.DecisionBody) {
	switch {
	case b.Refusal != nil:
		r.say("  refuse (%s): %s", b.Refusal.Code, b.Refusal.Reason)
		r.say("  hint: %s", b.Refusal.Remedy)
	case b.Decision.Effect == policy.Refuse || len(b.Decision.Policies) == 0:
		r.say("  %s", b.Decision.Effect)
	default:
		r.say("  %s by %s", b.Decision.Effect, strings.Join(b.Decision.Policies, ", "))
	}
	if b.Decision.Would != "" {
		r.say("  the policies are only observed: they would %s it%s", b.Decision.Would, missing(b.Decision))
	}
	if b.BreakGlass != nil {
		r.say("  BREAK-GLASS %s; otherwise: %s", strings.Join(b.BreakGlass.Windows, ", "), b.BreakGlass.Otherwise)
	}
	for _, t := range b.Touches {
		r.say("    %s", t)
	}
}

// missing says what a decision lacks, in brackets.
func missing(d policy.Decision) string {
	var out []string
	for _, t := range d.Missing {
		out = append(out, "no permit for "+t.String())
	}
	for _, id := range d.Forbidden {
		out = append(out, "forbidden by "+id)
	}
	for _, a := range d.Approvals {
		out = append(out, "approval of "+a.String())
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

func (r *replay) result(ev record.Event) error {
	if r.rows < 0 || r.decoder == nil {
		return nil
	}
	r.about(ev.Request)
	rows, err := r.decoder.Rows(r.schema[ev.Request], ev.Data, allRows)
	if err != nil {
		return err
	}
	for _, row := range rows {
		n := r.printed[ev.Request]
		r.printed[ev.Request]++
		if r.rows > 0 && n >= r.rows {
			continue
		}
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = "NULL"
			if c != nil {
				cells[i] = line(*c, 120)
			}
		}
		r.say("  | %s", strings.Join(cells, " | "))
	}
	return nil
}

func (r *replay) responded(request uint64, o gate.Outcome) {
	if more := r.printed[request] - r.rows; r.rows > 0 && more > 0 {
		r.say("  | … %d more rows (--rows 0 shows all)", more)
	}
	text := "  " + o.Status
	if o.Summary != "" {
		text += ": " + o.Summary
	}
	if o.Error != "" {
		text += ": " + o.Error
	}
	if o.Rows > 0 {
		text += fmt.Sprintf("  (%d rows, %d bytes)", o.Rows, o.Bytes)
	}
	r.about(request)
	r.say("%s", text)
	delete(r.printed, request)
	delete(r.schema, request)
}

func parameterText(p gate.Parameter) string {
	switch {
	case p.Null:
		return "NULL"
	case p.Format == "binary" || !utf8.Valid(p.Value):
		return fmt.Sprintf(`\x%x`, p.Value)
	}
	return "'" + strings.ReplaceAll(string(p.Value), "'", "''") + "'"
}
