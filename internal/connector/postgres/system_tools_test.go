package postgres

import (
	"context"
	"os"
	"strings"
	"testing"
)

// toolDiffers are the queries of testdata/catalog-tools.sql that are not answered as directly, and why.
var toolDiffers = map[string]string{
	"search path":        "the client's search path has no $user",
	"datagrip functions": "an array of types begins at 1, and shows their schemas",
}

// TestTools: what tools ask of the catalogs gives a principal that sees everything what it gives the role itself,
// and one that sees part nothing that is hidden from it.
func TestTools(t *testing.T) {
	ctx := context.Background()
	b, err := os.ReadFile("testdata/catalog-tools.sql")
	if err != nil {
		t.Fatal(err)
	}
	name := systemDatabase(t)
	direct := connect(t, testServer.URL("gw", "p", name))
	all := connect(t, serveSystem(t, name, everythingPolicy))
	part := connect(t, serveSystem(t, name, partly()))
	for _, entry := range strings.Split(string(b), "\n-- @")[1:] {
		title, query, _ := strings.Cut(entry, "\n")
		want, err := table(ctx, direct, query)
		if err != nil {
			t.Errorf("%s directly: %v", title, err)
			continue
		}
		got, err := table(ctx, all, query)
		switch {
		case err != nil:
			t.Errorf("%s: %v", title, err)
			continue
		case got != want && toolDiffers[title] == "":
			t.Errorf("%s differs:\n%.2000s", title, lineDiff(want, got))
		}
		hidden, err := table(ctx, part, query)
		if err != nil || strings.Contains(hidden, "hidden") {
			t.Errorf("%s for a part: %v\n%.2000s", title, err, lineDiff(want, hidden))
		}
	}
}
