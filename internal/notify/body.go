package notify

import (
	"strings"
	"time"
	"unicode"
)

// title says in a line what an event is.
func title(e Event) string { return strings.ReplaceAll(plain(sentence(e)), "\n", " ") }

func sentence(e Event) string {
	switch e.Kind {
	case Pending:
		return "Approval needed on " + e.Connection
	case Approved:
		return "Approved on " + e.Connection + " by " + strings.Join(e.By, ", ")
	case Denied:
		return "Denied on " + e.Connection + " by " + strings.Join(e.By, ", ")
	case Expired:
		return "Nobody answered in time on " + e.Connection
	case BreakGlass:
		return "ALERT: the glass is broken on " + e.Connection
	case Review:
		return "Somebody broke the glass on " + e.Connection + ", and has to be reviewed"
	case AccessAsked:
		return "Access asked for on " + e.Connection
	case AccessGranted:
		return "Access granted on " + e.Connection + " by " + strings.Join(e.By, ", ")
	case AccessEnded:
		return "No access on " + e.Connection
	case Test:
		return "A test of Gatehouse's notifications"
	}
	return e.Kind
}

// fact is a name with what it is.
type fact struct{ name, value string }

func facts(e Event) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, plain(value)})
		}
	}
	who := "Asked by"
	if e.Kind == BreakGlass || e.Kind == Review {
		who = "By"
	}
	add(who, e.Principal)
	add("Connection", e.Connection)
	add("Statement, without its values", e.Statement)
	if e.Statement == "" {
		add("What", e.Summary)
	}
	add("Touches", strings.Join(e.Touches, "\n"))
	add("For", strings.Join(e.Groups, ", "))
	if (e.Kind == Pending || e.Kind == BreakGlass || e.Kind == AccessGranted) && !e.Expires.IsZero() {
		add("Until", e.Expires.UTC().Format(time.RFC1123))
	}
	id := "Approval"
	if e.Kind == BreakGlass || e.Kind == Review {
		id = "Window"
	}
	if e.Kind == AccessAsked || e.Kind == AccessGranted || e.Kind == AccessEnded {
		id = "Grant"
	}
	add(id, e.Approval)
	return out
}

// plain takes out what could steer a terminal or turn a line around. Names come from agents.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == ' ' || unicode.IsGraphic(r) {
			return r
		}
		return '·'
	}, s)
}

type object = map[string]any

// clip keeps a text below what Slack takes.
func clip(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes-1]) + "…"
	}
	return s
}

// slack is a message of Slack's Block Kit. What agents named is plain_text, in which neither links nor mentions
// mean anything.
func slack(e Event) any {
	text := func(s string, most int) object {
		return object{"type": "plain_text", "text": clip(s, most), "emoji": false}
	}
	blocks := []object{{"type": "header", "text": text(title(e), 150)}}
	for _, f := range facts(e) {
		blocks = append(blocks, object{"type": "section", "text": text(f.name+": "+f.value, 2900)})
	}
	if e.URL != "" {
		blocks = append(blocks, object{"type": "actions", "elements": []object{{"type": "button", "text": text("Open", 75), "url": e.URL}}})
	}
	// What notifications on a phone show; here & < > are the characters with a meaning.
	short := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(title(e))
	return object{"text": short, "blocks": blocks}
}

// teams is a message with an Adaptive Card, as the webhooks of Microsoft Teams workflows take it. What agents
// named stands in text runs, in which Markdown means nothing.
func teams(e Event) any {
	run := func(s string, more object) object {
		o := object{"type": "TextRun", "text": s}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	body := []object{{"type": "RichTextBlock", "inlines": []object{run(title(e), object{"weight": "Bolder", "size": "Medium"})}}}
	for _, f := range facts(e) {
		body = append(body, object{"type": "RichTextBlock", "inlines": []object{run(f.name+": ", object{"isSubtle": true}), run(f.value, nil)}})
	}
	card := object{
		"$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
		"type":    "AdaptiveCard",
		"version": "1.4",
		"body":    body,
	}
	if e.URL != "" {
		card["actions"] = []object{{"type": "Action.OpenUrl", "title": "Open", "url": e.URL}}
	}
	return object{"type": "message", "attachments": []object{{
		"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card,
	}}}
}
