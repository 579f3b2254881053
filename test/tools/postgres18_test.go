package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// postgres18 is the folder of the programs of a PostgreSQL 18: the one that GATEHOUSE_POSTGRES18 names, else the
// one that npm brought (make deps-all).
func postgres18(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("GATEHOUSE_POSTGRES18"); dir != "" {
		return dir
	}
	found, _ := filepath.Glob(filepath.Join(nodePath, "@embedded-postgres", "*", "native"))
	if len(found) == 0 {
		t.Fatal("PostgreSQL 18 is missing: make deps-all installs it, or GATEHOUSE_POSTGRES18 names the folder of its programs")
	}
	// The user that the server runs as may not enter the folder of the sources.
	to := filepath.Join(scratch, "postgres18")
	if _, err := os.Stat(to); err != nil {
		if out, err := exec.Command("cp", "-a", found[0], to).CombinedOutput(); err != nil {
			t.Fatalf("copy PostgreSQL 18: %v\n%s", err, out)
		}
	}
	return filepath.Join(to, "bin")
}

// TestPostgres18: PostgreSQL 18 means what the machine's own server means: honest statements, extensions, TPC-H.
func TestPostgres18(t *testing.T) {
	onlyAll(t)
	b := bedOf(t, postgres18(t))
	if got := column(t, b.AdminURL("shop"), "SHOW server_version_num"); got[0] < "180000" || got[0] >= "190000" {
		t.Fatalf("the server is %s", got[0])
	}
	for file, database := range map[string]string{"honest": "shop", "honest-more": "shop", "extensions": "extensions", "tpch": "tpch"} {
		t.Run(file, func(t *testing.T) { compare(t, b, database, "testdata/"+file+".sql") })
	}
	// What the rooms prove of the machine's own server holds for it too.
	for room, tests := range map[string]string{
		"connector": "^(TestEvasions|TestCatalog|TestViewLabels|TestRows|TestTextsOfSeveralStatements|TestBatchesWithTransactions|TestAttachedTables|TestGroundBehindTheEndOfATransaction)$",
		"sqlguard":  "^(TestFunctionsOfTheServer|TestMaskedOnTheServer)$",
	} {
		t.Run(room, func(t *testing.T) {
			cmd := exec.Command("go", "test", "-count=1", "-v", "-run", tests, "./internal/"+room+"/postgres")
			cmd.Dir = filepath.Join("..", "..")
			cmd.Env = append(os.Environ(), "GATEHOUSE_POSTGRES_PROGRAMS="+postgres18(t))
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: Test") {
				t.Errorf("%v\n%s", err, lastLines(string(out), 60))
			}
		})
	}
	t.Run("newer", func(t *testing.T) { compare(t, b, "shop", "testdata/newer.sql") })
}
