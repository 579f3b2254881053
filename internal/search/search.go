package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"gatehouse/internal/policy"
	"gatehouse/internal/record"
)

// Query says which requests are searched for; what is empty finds all.
type Query struct {
	// Text are words that must all be in the text of the request, whatever their case; "a b" in quotes are found one after
	// the other, and order* finds what begins so.
	Text string
	// Principal is a part of the id or the name of who asked, or of the user it acted for.
	Principal  string
	Connection string
	// Since and Until bound when it was asked; a zero time does not.
	Since, Until time.Time
	// Effect is permit, hold or refuse.
	Effect string
	Policy string // the id of one that made the decision
	// Object is what was touched, or what that is in: orders/public.customers.email, public.customers, orders.
	Object string
	// Action is what was done, to the object where there is one.
	Action string
	// Before is where the next page begins: the Next of the page before it.
	Before int64
	// Limit is how many are given at most; 50 where it is 0.
	Limit int
}

// Hit is a request that was found.
type Hit struct {
	ID         string           `json:"id"`
	Session    string           `json:"session"`
	Request    uint64           `json:"request"`
	Time       time.Time        `json:"time"`
	Principal  policy.Principal `json:"principal"`
	Connection string           `json:"connection"`
	Protocol   string           `json:"protocol"`
	Effect     string           `json:"decision"`
	Policies   []string         `json:"policies,omitempty"`
	Touches    []string         `json:"touches,omitempty"`
	// Status is how it ended: ok, error, refused, unknown; empty where it has not, or the index does not know it.
	Status string `json:"status,omitempty"`

	At record.Cursor `json:"-"` // the entry that it is recorded in
}

// Page is what a search found, newest first.
type Page struct {
	Hits []Hit `json:"requests"`
	// Next is where the next page begins; 0: there is none.
	Next int64 `json:"next,omitempty"`
}

const maxLimit = 10_000

// ErrQuery is a query that cannot be asked.
var ErrQuery = errors.New("search")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrQuery, fmt.Sprintf(format, args...))
}

// Search finds requests.
func (x *Index) Search(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit == 0 {
		limit = 50
	}
	if limit < 0 || limit > maxLimit {
		return Page{}, wrong("a page has 1 to %d requests, not %d", maxLimit, limit)
	}
	m, err := x.match(ctx, q)
	if err != nil || m.none {
		return Page{Hits: []Hit{}}, err
	}
	low, high, err := x.between(ctx, q)
	if err != nil {
		return Page{}, err
	}
	if q.Before > 0 {
		high = min(high, q.Before-1)
	}
	const columns = `SELECT r.id, s.name, r.number, r.at, p.body, s.connection, s.protocol, v.effect, v.policies, v.touches, coalesce(r.status, ''), r.segment, r.offset FROM `
	const joins = ` JOIN sessions s ON s.id = r.session JOIN principals p ON p.id = s.principal JOIN verdicts v ON v.id = r.verdict`
	since, until := bounds(q)
	from, where, args := "requests q", "q.id BETWEEN ? AND ?", []any{low, high}
	if m.words != "" {
		from, where, args = "words w CROSS JOIN requests q ON q.id = w.rowid", "words MATCH ? AND w.rowid BETWEEN ? AND ?", []any{m.words, low, high}
	}
	where, args = where+" AND q.at >= ? AND q.at < ?", append(args, since, until)
	for _, one := range m.marks {
		where, args = where+" AND EXISTS (SELECT 1 FROM marks WHERE mark = ? AND verdict = q.verdict)", append(args, one)
	}
	order := "q.id"
	if m.words != "" {
		order = "w.rowid"
	}
	text := columns + "(SELECT q.id FROM " + from + " WHERE " + where + " ORDER BY " + order + " DESC LIMIT ?) f CROSS JOIN requests r ON r.id = f.id" + joins + " ORDER BY r.id DESC"
	args = append(args, limit+1)
	rows, err := x.db.QueryContext(ctx, text, args...)
	if err != nil {
		return Page{}, err
	}
	defer rows.Close()
	page := Page{Hits: []Hit{}}
	var last int64
	for rows.Next() {
		var id, at int64
		var h Hit
		var who, policies, touches string
		if err := rows.Scan(&id, &h.Session, &h.Request, &at, &who, &h.Connection, &h.Protocol, &h.Effect, &policies, &touches, &h.Status, &h.At.Segment, &h.At.Offset); err != nil {
			return Page{}, err
		}
		if len(page.Hits) == limit {
			page.Next = last
			break
		}
		if err := errors.Join(json.Unmarshal([]byte(who), &h.Principal), json.Unmarshal([]byte(policies), &h.Policies), json.Unmarshal([]byte(touches), &h.Touches)); err != nil {
			return Page{}, err
		}
		h.ID, h.Time = fmt.Sprintf("%s.%d", h.Session, h.Request), time.UnixMicro(at).UTC()
		page.Hits = append(page.Hits, h)
		last = id
	}
	return page, rows.Err()
}

// between are the first and the last request of the index that can be within the times of a query. Requests are in the
// order in which they were recorded: their times are in it but for what the clock went back.
func (x *Index) between(ctx context.Context, q Query) (low, high int64, err error) {
	low, high = 0, 1<<62
	if !q.Since.IsZero() {
		if err := x.db.QueryRowContext(ctx, "SELECT coalesce((SELECT min(id) FROM (SELECT id FROM requests WHERE at >= ? ORDER BY at LIMIT 10000)), 1 << 62)", q.Since.UnixMicro()).Scan(&low); err != nil {
			return 0, 0, err
		}
	}
	if !q.Until.IsZero() {
		err = x.db.QueryRowContext(ctx, "SELECT coalesce((SELECT max(id) FROM (SELECT id FROM requests WHERE at < ? ORDER BY at DESC LIMIT 10000)), 0)", q.Until.UnixMicro()).Scan(&high)
	}
	return low, high, err
}

func bounds(q Query) (since, until int64) {
	since, until = -1<<62, 1<<62
	if !q.Since.IsZero() {
		since = q.Since.UnixMicro()
	}
	if !q.Until.IsZero() {
		until = q.Until.UnixMicro()
	}
	return since, until
}

// matching is what requests must match.
type matching struct {
	none  bool     // no request can
	words string   // an expression of FTS5; empty: all do
	marks [][]byte // of their verdicts
}

func (x *Index) match(ctx context.Context, q Query) (m matching, err error) {
	var terms []string
	if q.Text != "" {
		words, err := wordsOfText(q.Text)
		if err != nil {
			return m, err
		}
		terms = append(terms, "text : ("+words+")")
	}
	need := func(m string) { terms = append(terms, `marks : "`+m+`"`) }
	if q.Connection != "" {
		need(markOfConnection(q.Connection))
	}
	switch q.Effect {
	case "":
	case "permit", "hold", "refuse":
		need("e_" + q.Effect)
	default:
		return m, wrong("a decision is permit, hold or refuse, not %q", q.Effect)
	}
	var marks [][]byte
	if q.Policy != "" {
		marks = append(marks, mark('y', q.Policy))
	}
	switch object := strings.TrimSpace(q.Object); {
	case object != "" && q.Action != "":
		marks = append(marks, mark('t', q.Action+" "+object))
	case object != "":
		marks = append(marks, mark('o', object))
	case q.Action != "":
		marks = append(marks, mark('a', q.Action))
	}
	if len(marks) > 0 {
		some, many, err := x.verdictsOf(ctx, marks)
		if err != nil {
			return m, err
		}
		switch {
		case many:
			m.marks = marks
		case len(some) == 0:
			m.none = true
		default:
			terms = append(terms, "marks : ("+strings.Join(some, " OR ")+")")
		}
	}
	if q.Principal != "" {
		who, err := x.who(ctx, q.Principal)
		if err != nil {
			return m, err
		}
		m.none = m.none || len(who) == 0
		terms = append(terms, "marks : ("+strings.Join(who, " OR ")+")")
	}
	m.words = strings.Join(terms, " AND ")
	return m, nil
}

// maxVerdicts bounds how many verdicts are looked for one by one. What more have in common is common: the newest requests
// are looked at for it.
const maxVerdicts = 4000

// verdictsOf are the marks of the verdicts that have all of some marks; many where there are too many.
func (x *Index) verdictsOf(ctx context.Context, marks [][]byte) (some []string, many bool, err error) {
	text, args := "SELECT verdict FROM marks m WHERE mark = ?", []any{marks[0]}
	for _, m := range marks[1:] {
		text += " AND EXISTS (SELECT 1 FROM marks n WHERE n.mark = ? AND n.verdict = m.verdict)"
		args = append(args, m)
	}
	rows, err := x.db.QueryContext(ctx, text+" LIMIT ?", append(args, maxVerdicts+1)...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, false, err
		}
		some = append(some, markOfVerdict(id))
	}
	return some, len(some) > maxVerdicts, rows.Err()
}

// maxWho bounds how many principals a part of a name may mean.
const maxWho = 1000

// who are the marks of the principals that have some text in their id or name.
func (x *Index) who(ctx context.Context, part string) ([]string, error) {
	rows, err := x.db.QueryContext(ctx, "SELECT id FROM principals WHERE instr(text, ?) > 0 LIMIT ?", strings.ToLower(part), maxWho+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out = append(out, `"`+markOfPrincipal(id)+`"`)
	}
	if len(out) > maxWho {
		return nil, wrong("%q is a part of more than %d principals: say more of it", part, maxWho)
	}
	return out, rows.Err()
}

// wordsOfText writes a search's words as an expression of FTS5.
func wordsOfText(text string) (string, error) {
	if len(text) > 4096 {
		return "", wrong("the text has %d bytes: search for less than 4096", len(text))
	}
	var out []string
	for rest := text; ; {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		if rest == "" {
			break
		}
		var phrase string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			var closed bool
			if phrase, rest, closed = strings.Cut(quoted, `"`); !closed {
				return "", wrong("a quote is not closed")
			}
		} else if end := strings.IndexFunc(rest, unicode.IsSpace); end >= 0 {
			phrase, rest = rest[:end], rest[end:]
		} else {
			phrase, rest = rest, ""
		}
		prefix := ""
		if strings.HasSuffix(phrase, "*") {
			phrase, prefix = strings.TrimSuffix(phrase, "*"), "*"
		}
		if !strings.ContainsFunc(phrase, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }) {
			continue // nothing of it is a word
		}
		out = append(out, `"`+strings.ReplaceAll(phrase, `"`, " ")+`"`+prefix)
	}
	if len(out) == 0 {
		return "", wrong("%q has no word to search for", text)
	}
	return strings.Join(out, " AND "), nil
}
