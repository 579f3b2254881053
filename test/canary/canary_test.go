package canary

import (
	"bytes"
	"errors"
	"fmt"
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

var requestID = regexp.MustCompile(`s-[0-9A-Za-z]+\.\d+`)

// timedOut says whether the server gave up on a step: when it does is not the statement's doing.
func timedOut(answers []answer) bool {
	return slices.ContainsFunc(answers, func(a answer) bool {
		m, failed := a.failed()
		return failed && m.fields()['C'] == "57014"
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
			if m.typ == 'E' {
				a, b = requestID.ReplaceAll(a, []byte("s-.")), requestID.ReplaceAll(b, []byte("s-."))
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
//
// One session does all, so that both servers place rows alike.
func TestCanaries(t *testing.T) {
	t.Parallel()
	g, h := start(t, "first"), start(t, "second")
	a, b := session{dial(t, g.url(masked)), g}, session{dial(t, h.url(masked)), h}
	seen := []*finder{newFinder(first.planted), newFinder(second.planted)}
	y := newTally()
	each(t, func(s script) error {
		var x, z []answer
		var failed error
		var wg sync.WaitGroup
		wg.Go(func() { z, failed = b.run(s) })
		x, err := a.run(s)
		wg.Wait()
		if err := errors.Join(err, failed); err != nil {
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
			for _, one := range answers {
				if column, found := seen[i].find(one.bytes()); column != "" && !s.probe {
					return fmt.Errorf("the value of %s shows: %q in %.2000q", column, found, one.bytes())
				}
			}
		}
		return nil
	})
	y.report(t, 60)
}

// each runs a function for each script, and reports its errors so that they can be repeated.
func each(t *testing.T, do func(script) error) {
	from, to := 0, *statements
	if *only >= 0 {
		from, to = *only, *only+1
	}
	t.Logf("seed %d, %d statements", *seed, to-from)
	failures := 0
	for n := from; n < to && failures < 10; n++ {
		s := generate(*seed, n)
		if err := do(s); err != nil {
			failures++
			t.Errorf("-seed %d -only %d (%s, %s): %v\n%s", *seed, n, s.what, s.form, err, s)
		}
	}
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
