package postgres

import (
	"strings"
	"testing"
)

// after runs texts one after the other, as if each succeeded, and gives what they leave behind.
func after(t *testing.T, env Environment, texts ...string) *State {
	t.Helper()
	for _, text := range texts {
		p, err := (&Guard{}).Analyze(env, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, st := range p.Statements {
			env.State = env.State.After(st)
		}
	}
	return env.State
}

// state is the SQLSTATE that a text is refused with; "" where it is not.
func state(t *testing.T, env Environment, text string) string {
	t.Helper()
	_, err := (&Guard{}).Analyze(env, text)
	if err == nil {
		return ""
	}
	e, ok := err.(*Error)
	if !ok {
		t.Fatal(err)
	}
	return e.SQLState
}

// TestNamesStandForWhatWasJudged: what was prepared or declared under other policies, or means something else under
// another search path, is not used.
func TestNamesStandForWhatWasJudged(t *testing.T) {
	generous, strict := shop(), shop()
	generous.Sight = eyes{}
	made := after(t, generous, "PREPARE p AS SELECT email FROM customers", "PREPARE q AS SELECT id FROM orders", "DECLARE k CURSOR WITH HOLD FOR SELECT email FROM customers", "DECLARE l CURSOR WITH HOLD FOR SELECT id FROM orders")
	strict.State = made
	for text, want := range map[string]string{
		"EXECUTE p": "0A000", "FETCH k": "0A000", "MOVE k": "0A000", "EXECUTE q": "", "FETCH l": "",
		"DEALLOCATE p": "", "CLOSE k": "", "DEALLOCATE p; PREPARE p AS SELECT email FROM customers; EXECUTE p": "",
	} {
		if got := state(t, strict, text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	one, err := (&Guard{}).Analyze(generous, "PREPARE p AS SELECT email FROM customers")
	if err != nil {
		t.Fatal(err)
	}
	other, err := (&Guard{}).Analyze(shop(), "PREPARE p AS SELECT email FROM customers")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := one.Statements[0].Named.Server, other.Statements[0].Named.Server; a == b || !Reserved(a) || !Reserved(b) || ClientNames(`"`+a+`"`) != `"p"` {
		t.Errorf("two statements are called %s and %s", a, b)
	}
}

// TestState: what outlives a transaction, a savepoint, an error.
func TestState(t *testing.T) {
	env := shop()
	names := func(s *State) string {
		var out []string
		for _, n := range []string{"a", "b", "c"} {
			if s.Cursor(n) != nil {
				out = append(out, n)
			}
			if s.Prepared(n) != nil {
				out = append(out, n+"!")
			}
		}
		if p := s.Path(); p != nil {
			out = append(out, p.Spelled)
		}
		return strings.Join(out, " ")
	}
	const a, b, hold = "DECLARE a CURSOR FOR SELECT 1", "DECLARE b CURSOR FOR SELECT 1", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"
	for _, tt := range []struct {
		texts  string
		failed bool
		idle   string // after the transaction
		now    string
	}{
		{"BEGIN|" + a + "|" + hold + "|SET search_path = x", false, "c x", "a c x"},
		{"BEGIN|" + a + "|" + hold + "|SET search_path = x|PREPARE b AS SELECT 1", true, "b!", "a b! c x"},
		{"BEGIN|" + a + "|SAVEPOINT s|" + b + "|SET LOCAL search_path = x|RELEASE s", false, "", "a b x"},
		{"BEGIN|" + a + "|SAVEPOINT s|" + b + "|SET search_path = x|ROLLBACK TO s", false, "", "a"},
		{"BEGIN|" + a + "|SAVEPOINT s|CLOSE a|ROLLBACK TO s", false, "", ""},
		{"BEGIN|SAVEPOINT s|" + a + "|SAVEPOINT s|" + b + "|ROLLBACK TO s|RELEASE s|ROLLBACK TO s", false, "", ""},
		{hold + "|COMMIT|BEGIN|CLOSE c|ROLLBACK", false, "", ""},
		{"SET search_path = x|COMMIT|BEGIN|SET LOCAL search_path = y|SET search_path = z|ROLLBACK", false, "x", "x"},
		{"SET search_path = x|PREPARE a AS SELECT 1|DISCARD ALL", false, "", ""},
		{"SET search_path = x|COMMIT|BEGIN|SET LOCAL search_path TO DEFAULT", false, "x", "public"},
	} {
		s := after(t, env, strings.Split(tt.texts, "|")...)
		if got := names(s); got != tt.now {
			t.Errorf("%s: %q, want %q", tt.texts, got, tt.now)
		}
		if tt.failed {
			s = s.Failed()
		}
		if got := names(s.Idle()); got != tt.idle {
			t.Errorf("%s, and then nothing: %q, want %q", tt.texts, got, tt.idle)
		}
	}
}

// TestPaths: a search path is taken apart as PostgreSQL does it.
func TestPaths(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " a , B,\"C d\", \"e\"\"f\" ": `a|b|C d|e"f`, `""`: "|", "a,": "-", "a b": "-", `"a`: "-", ",a": "-", `"a"b`: "-",
	} {
		names, ok := splitPath(text)
		got := strings.Join(names, "|")
		if !ok {
			got = "-"
		} else if len(names) == 1 && names[0] == "" {
			got = "|"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add(`a, "B"`)
	f.Fuzz(func(t *testing.T, s string) {
		if names, ok := splitPath(s); ok {
			chosen(names)
		}
		Startup("search_path", s)
		Startup("work_mem", s)
		if Reserved(s) && len(s) < 25 {
			t.Fatal("too short to be a name of the gateway's")
		}
	})
}

// TestStartup: what a client may give when it signs in.
func TestStartup(t *testing.T) {
	for name, want := range map[string]bool{"work_mem=1MB": true, "work_mem=1GB": false, "row_security=off": false, "Bytea_Output=hex": true, "gatehouse.key=x": false, "role=x": false, "jit=off": true, "search_path=a b": false} {
		k, v, _ := strings.Cut(name, "=")
		if _, _, err := Startup(k, v); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
