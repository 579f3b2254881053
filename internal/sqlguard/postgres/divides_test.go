package postgres

import "testing"

func TestDivides(t *testing.T) {
	for text, want := range map[string]bool{
		"COMMIT": true, "commit work": true, "END": true, " \t\n-- x\r\n;; /* /* */ x */ROLLBACK TO s": true, "abort;": true, "Rollback": true,
		"PREPARE TRANSACTION 'x'": true, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE": true, "set local transaction read only": true,
		"BEGIN ISOLATION LEVEL SERIALIZABLE": true, "START TRANSACTION READ ONLY": true, "begin work read only": true,
		"BEGIN": false, "begin;": false, "BEGIN WORK": false, "START TRANSACTION": false, "begin -- x": false, "": false, "-- commit": false, "/* commit": false,
		"SELECT 1": false, "PREPARE p AS SELECT 1": false, "SET x = 1": false, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": false,
		"committed": false, "ended": false, "\"commit\"": false, "RELEASE s": false, "SAVEPOINT s": false, "EXPLAIN SELECT 1": false,
	} {
		if got := Divides(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
