package canary

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tally counts what became of scripts.
type tally struct {
	total    map[string]int
	executed map[string]int
	reasons  map[string]int
	examples map[string]string
	late     int // ran into the time limit, which is no answer
}

func newTally() *tally {
	return &tally{total: map[string]int{}, executed: map[string]int{}, reasons: map[string]int{}, examples: map[string]string{}}
}

var quoted = regexp.MustCompile(`"[^"]*"|\([^)]*\)|\b(shop/)?(public|hr)\.[A-Za-z0-9_.]+|\ba\d+\b|\d+`)

// note files the answers of a script: executed where no step of it failed.
func (y *tally) note(s script, answers []answer) {
	y.total[s.what]++
	for i, a := range answers {
		if m, failed := a.failed(); failed {
			f := m.fields()
			word := "error " + f['C'] + " "
			if strings.HasPrefix(f['D'], "code: ") {
				word = "refused " + f['C'] + " "
			}
			key := word + quoted.ReplaceAllString(f['M'], "…")
			y.reasons[key]++
			if len(y.examples[key]) == 0 || len(s.steps[i].inline()) < len(y.examples[key]) {
				y.examples[key] = s.steps[i].inline()
			}
			return
		}
	}
	y.executed[s.what]++
}

// report says what share was permitted and executed. A fuzz in which everything is refused proves nothing.
func (y *tally) report(t testing.TB, least int) {
	t.Helper()
	all, done := 0, 0
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(y.total)) {
		fmt.Fprintf(&b, "  %-14s %d of %d\n", what, y.executed[what], y.total[what])
		all += y.total[what]
		done += y.executed[what]
	}
	t.Logf("permitted and executed without an error: %d of %d (%d %%); past the time limit: %d\n%s", done, all, 100*done/max(all, 1), y.late, b.String())
	if *only < 0 && done*100 < all*least {
		t.Errorf("less than %d %% were executed: this proves little", least)
	}
	if *refusals {
		keys := slices.SortedFunc(maps.Keys(y.reasons), func(a, b string) int { return y.reasons[b] - y.reasons[a] })
		b.Reset()
		for _, k := range keys {
			fmt.Fprintf(&b, "%5d %s\n        %.300s\n", y.reasons[k], k, y.examples[k])
		}
		t.Logf("what was refused or failed:\n%s", b.String())
	}
}

// varying is what differs in the errors of two sessions: the id of a request, the name of a schema of temporary tables.
var varying = regexp.MustCompile(`s-[0-9A-Za-z]+\.\d+|\bspg_temp_\d+\b`)

// timedOut says whether the server gave up on a step, whose time is not the statement's doing, or the gateway on a row
// that is too large.
func timedOut(answers []answer) bool {
	return slices.ContainsFunc(answers, func(a answer) bool {
		m, failed := a.failed()
		return failed && (m.fields()['C'] == "57014" || m.fields()['S'] == "FATAL" && m.fields()['C'] == "54000")
	})
}

// difference names the first message in which two answers differ; the only thing that may is the id of a
// refused request.
func difference(x, y []answer) string {
	for i := range x {
		if i >= len(y) {
			return "one ends"
		}
		for k, m := range x[i].messages {
			if k >= len(y[i].messages) {
				return fmt.Sprintf("step %d has %d messages and %d", i, len(x[i].messages), len(y[i].messages))
			}
			n := y[i].messages[k]
			a, b := m.body, n.body
			if m.typ == 'T' { // temporary tables have other numbers in each database
				a, b = withoutOrigins(a), withoutOrigins(b)
			}
			if m.typ == 'E' {
				a, b = varying.ReplaceAll(a, []byte("-")), varying.ReplaceAll(b, []byte("-"))
			}
			if m.typ != n.typ || !bytes.Equal(a, b) {
				return fmt.Sprintf("step %d, message %d:\n  %c %.600q\n  %c %.600q", i, k, m.typ, a, n.typ, b)
			}
		}
		if len(x[i].messages) != len(y[i].messages) {
			return fmt.Sprintf("step %d has %d messages and %d", i, len(x[i].messages), len(y[i].messages))
		}
	}
	return ""
}

// withoutOrigins is a RowDescription without the tables that its columns come from.
func withoutOrigins(body []byte) []byte {
	out := bytes.Clone(body)
	for i := 2; i < len(out); {
		end := bytes.IndexByte(out[i:], 0)
		if end < 0 || i+end+19 > len(out) {
			return body
		}
		clear(out[i+end+1 : i+end+5])
		i += end + 19 // name, table, number, type, length, modifier, format (protocol documentation, RowDescription)
	}
	return out
}

func (s script) String() string {
	var b strings.Builder
	for _, one := range s.steps {
		b.WriteString("  " + one.inline() + ";\n")
	}
	return b.String()
}

// session is a client and the gateway that it goes through.
type session struct {
	*client
	g *gateway
}

// run runs a script. A session that ends or gets no answer is a failure of the gateway, which says on its log what
// it was doing.
func (c session) run(s script) ([]answer, error) {
	out, err := c.script(s.form, s.steps)
	if err != nil {
		c.g.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		err = fmt.Errorf("%w\n%s", err, c.g.said())
	}
	return out, err
}

// TestCanaries runs every statement on both databases through gateways of their own. No byte that comes back
// may hold a piece of a canary, and what comes back must be the same for both: rows, their number, errors.
func TestCanaries(t *testing.T) {
	t.Parallel()
	compare(t, masked, first, second, nil, 60)
}

// compare runs statements as a principal on both of two databases. One session of each does all, so that both servers
// place rows alike. least is how many of a hundred statements must be permitted and run.
func compare(t *testing.T, who string, one, other *twin, seldom map[string]bool, least int) {
	g, h := start(t, one.name), start(t, other.name)
	a, b := session{dial(t, g.url(who)), g}, session{dial(t, h.url(who)), h}
	seen := []*finder{newFinder(one.planted), newFinder(other.planted)}
	y := newTally()
	each(t, manner{known: one.planted, seldom: seldom}, []string{one.name, other.name}, func(s script) error {
		x, z, err := both(a, b, s, s)
		if err != nil {
			return err
		}
		if *only >= 0 {
			t.Logf("%s\n%s", s, show(x))
		}
		if timedOut(x) || timedOut(z) {
			y.late++
			return nil
		}
		y.note(s, x)
		if d := difference(x, z); d != "" {
			return fmt.Errorf("the databases can be told apart: %s", d)
		}
		for i, answers := range [][]answer{x, z} {
			if err := seen[i].search(s, answers); err != nil {
				return err
			}
		}
		return nil
	})
	y.report(t, least)
}

// both runs a script on each of two sessions at the same time.
func both(a, b session, s, t script) (x, z []answer, err error) {
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() { z, failed = b.run(t) })
	x, err = a.run(s)
	wg.Wait()
	return x, z, errors.Join(err, failed)
}

// search says where a canary is in answers.
func (f *finder) search(s script, answers []answer) error {
	for _, one := range answers {
		if column, found := f.find(one.bytes()); column != "" && !s.probe {
			return fmt.Errorf("the value of %s shows: %q in %.2000q", column, found, one.bytes())
		}
	}
	return nil
}

// each runs a function for each script that is generated, and reports its errors so that they can be repeated.
func each(t *testing.T, how manner, databases []string, do func(script) error) {
	if *only >= 0 {
		s := generate(*seed, *only, how)
		if err := do(s); err != nil {
			t.Errorf("%v\n%s", err, s)
		}
		return
	}
	all(t, func(yield func(script) bool) {
		for n := range *statements {
			if !yield(generate(*seed, n, how)) {
				return
			}
		}
	}, databases, do)
}

// all runs a function for each script. The databases are tidied up from time to time. The tenth failure ends it.
func all(t *testing.T, scripts iter.Seq[script], databases []string, do func(script) error) {
	began, n, failures := time.Now(), 0, 0
	for s := range scripts {
		if failures >= 10 || *duration > 0 && time.Since(began) > *duration {
			break
		}
		if n++; n%100 == 0 {
			if err := tidy(databases...); err != nil {
				t.Fatal(err)
			}
		}
		if err := do(s); err != nil {
			failures++
			t.Errorf("-seed %d -only %d (%s, %s): %v\n%s", *seed, n-1, s.what, s.form, err, s)
		}
	}
	t.Logf("seed %d, %d statements", *seed, n)
}

func show(answers []answer) string {
	var b strings.Builder
	for _, a := range answers {
		for _, m := range a.messages {
			fmt.Fprintf(&b, "%c %.300q\n", m.typ, m.body)
		}
	}
	return b.String()
}
