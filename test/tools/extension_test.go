package tools

import "testing"

// TestExtensions: types, operators and functions of extensions mean through the gateway what they mean without.
func TestExtensions(t *testing.T) {
	onlyAll(t)
	compare(t, bedOf(t, ""), "extensions", "testdata/extensions.sql")
}

// TestPostGIS: so do PostGIS's.
func TestPostGIS(t *testing.T) {
	onlyAll(t)
	compare(t, bedOf(t, ""), "postgis", "testdata/postgis.sql")
}

// onlyAll leaves a test to `make test-all`, which installs what it needs.
func onlyAll(t *testing.T) {
	t.Helper()
	if !testAll {
		t.Skip("it needs what `make test-all` installs")
	}
}
