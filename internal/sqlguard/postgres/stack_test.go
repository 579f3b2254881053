package postgres

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// testAll is set where the tests have their full length.
var testAll = os.Getenv("GATEHOUSE_TEST_ALL") != ""

// TestStack: however small the limit is that the process was started with, the deepest statements that are let
// through to the parser do not end it.
func TestStack(t *testing.T) {
	if os.Getenv("STACK_TEST") != "" {
		deepest(t)
		return
	}
	limits := []string{"1024", "unlimited"}
	if testAll {
		limits = append(limits, "2048", "8192")
	}
	for _, limit := range limits {
		cmd := exec.Command("sh", "-c", `ulimit -S -s "$0" && exec "$@"`, limit, os.Args[0], "-test.run=^TestStack$", "-test.v")
		cmd.Env = append(os.Environ(), "STACK_TEST=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestStack") {
			t.Errorf("a stack limit of %s: %v\n%.600s", limit, err, out)
		}
	}
}

func deepest(t *testing.T) {
	g, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"SELECT " + strings.Repeat("NOT ", 7990) + "true",
		"SELECT " + strings.Repeat("~ ", 7990) + "1",
		"SELECT 1" + strings.Repeat(" ISNULL", 7990),
		"SELECT ARRAY" + strings.Repeat("[", 7900) + "1" + strings.Repeat("]", 7900),
		"SELECT " + strings.Repeat("a[", 3990) + "1" + strings.Repeat("]", 3990),
		"SELECT " + strings.Repeat("json_array(", 3900) + "1" + strings.Repeat(")", 3900),
		"SELECT ORDER BY " + strings.Repeat("(SELECT ORDER BY ", 1990) + "1" + strings.Repeat(")", 1990),
		strings.Repeat("VALUES((", 2600) + "VALUES(1)" + strings.Repeat("))", 2600),
	} {
		done := make(chan error)
		go func() {
			_, err := g.Analyze(shop(), text)
			done <- err
		}()
		if err := <-done; err == nil {
			t.Errorf("%.40s…: it was understood", text)
		}
	}
}
