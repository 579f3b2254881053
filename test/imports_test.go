package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "gatehouse/"

// column is one step of the direction in which rooms import each other. A room imports the columns to its
// left, and in its own column only itself and what beside allows.
type column struct {
	rooms   []string
	because string
}

var columns = []column{
	{[]string{"internal/config/strict", "internal/secret", "internal/credential", "internal/selfsigned", "internal/notify", "internal/pump", "deploy"},
		"these are tools: whoever needs one must get it without the rest of the gateway"},
	{[]string{"internal/policy"},
		"policy has the words that every room speaks in and the decision: it must be testable as a function"},
	{[]string{"internal/sqlguard", "internal/httpguard", "internal/grpcguard", "internal/mask", "internal/identity"},
		"understanding a request and knowing who asks come before the path of a request, and do not know it"},
	{[]string{"internal/gate"},
		"the gate says what it needs from recordings, approvals and connectors as interfaces: if it knew them, a way around it could be built into it"},
	{[]string{"internal/connector", "internal/approval", "internal/record", "internal/ship", "internal/stream", "internal/ocsf", "internal/search", "internal/store", "internal/versions", "internal/breakglass", "internal/grant", "internal/api", "internal/config", "internal/login"},
		"these are independent of each other: cmd/gatehouse wires them, and each can be replaced or left out"},
	{[]string{"internal/demo"},
		"the demo shows the product from outside; the product must not need it"},
	{[]string{"cmd", "test"},
		"commands and tests use everything and nothing uses them"},
}

// beside are the imports within a column that are wanted.
var beside = map[string][]string{
	"internal/approval":   {"internal/store"},
	"internal/versions":   {"internal/approval", "internal/store"},
	"internal/breakglass": {"internal/approval", "internal/store"},
	"internal/grant":      {"internal/approval", "internal/store"},
	"internal/api":        {"internal/approval", "internal/store", "internal/versions", "internal/breakglass", "internal/grant"},
	"internal/search":     {"internal/record"},
	"internal/ship":       {"internal/record"},
	"internal/stream":     {"internal/record"},
	"internal/ocsf":       {"internal/record"},
	"internal/config":     {"internal/ship", "internal/stream"}, // what a place needs to be said of it
	"internal/secret":     {"internal/config/strict"},           // where a secret is named is said in YAML
	"internal/notify":     {"internal/secret"},
	"internal/grpcguard":  {"internal/mask"}, // a message is masked where it is walked
	"internal/credential": {"internal/config/strict", "internal/secret"},
}

// never are imports that a room must not have, ours or others', with everything below them.
var never = []struct {
	rooms, paths, except []string
	because              string
}{
	{
		rooms: []string{"internal/policy", "internal/sqlguard", "internal/httpguard", "internal/grpcguard"},
		paths: []string{"net", "os", "io/fs", "io/ioutil", "time", "database", "log", "syscall", "plugin", "math/rand", "crypto/rand",
			"internal/config/strict", "internal/secret", "internal/credential", "internal/selfsigned",
			"github.com/jackc/pgx", "modernc.org/sqlite", "github.com/pressly/goose"},
		because: "analysis is pure: the same text and catalog must give the same answer, so that it can be fuzzed, cached and shown to an approver; a network, a file, a clock or a database would end that",
	},
	{
		rooms:   []string{"internal/connector"},
		paths:   []string{"database", "modernc.org/sqlite", "internal/record", "internal/ship", "internal/stream", "internal/search", "internal/store", "internal/approval", "internal/api"},
		because: "a connector reaches recordings, approvals and the store through the gate only: then none can forget the order in which they happen",
	},
	{
		rooms:   []string{"internal/gate"},
		paths:   []string{"internal/sqlguard", "os", "database", "net/http"},
		because: "the gate serves every protocol and knows none; it writes nothing itself",
	},
	{
		rooms:   []string{"internal", "deploy"},
		paths:   []string{"testing"},
		except:  []string{"internal/record/recordtest", "internal/demo/cluster/clustertest", "internal/store/storetest"},
		because: "what only tests need must not be in the binary",
	},
}

// connectorList is the only file outside a connector that imports it.
const connectorList = "cmd/gatehouse/connectors.go"

// under says whether a path is a folder or below it.
func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func anyUnder(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return under(path, f) })
}

// place finds the column and the room of a path: the longest that fits. -1 where there is none.
func place(path string) (col int, room string) {
	col = -1
	for i, c := range columns {
		for _, r := range c.rooms {
			if under(path, r) && len(r) > len(room) {
				col, room = i, r
			}
		}
	}
	return col, room
}

// connectorOf is the connector's folder that a path is in; "" where it is in none.
func connectorOf(path string) string {
	const all = "internal/connector/"
	rest, ok := strings.CutPrefix(path, all)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return all + name
}

// wrong says why a file of the product (not a test) must not import a path; "" where it may. File and path
// are relative to the module where they are in it.
func wrong(file, path string) string {
	folder := filepath.ToSlash(filepath.Dir(file))
	path, ours := strings.CutPrefix(path, module)
	col, room := place(folder)
	if folder != "." && col < 0 {
		return "no column has this room: say in test/imports_test.go, and in docs/ARCHITECTURE.md, where it belongs"
	}
	for _, n := range never {
		if anyUnder(folder, n.rooms) && !anyUnder(folder, n.except) && anyUnder(path, n.paths) {
			return n.because
		}
	}
	if !ours {
		return ""
	}
	if c := connectorOf(path); c != "" && !under(folder, c) && file != connectorList && !under(folder, "test") {
		return "a connector is one folder and one line in " + connectorList + ": it must be possible to add or remove one without touching anything else"
	}
	to, other := place(path)
	switch {
	case to < 0:
		return "no column has the imported room: say in test/imports_test.go, and in docs/ARCHITECTURE.md, where it belongs"
	case to < col || other == room || slices.Contains(beside[room], other):
		return ""
	case to == col:
		return columns[col].because
	}
	return columns[max(col, 0)].because + "; and of what it imports: " + columns[to].because
}

// TestImports looks at every file of the module that is not a test, for any system.
func TestImports(t *testing.T) {
	root := ".."
	files, seen := 0, map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (name[0] == '.' || name[0] == '_' || name == "testdata" || name == "node_modules") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != root && err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		_, room := place(filepath.ToSlash(filepath.Dir(rel)))
		seen[room] = true
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if because := wrong(rel, imported); because != "" {
				t.Errorf("%s:%d imports %s: %s", rel, set.Position(i.Pos()).Line, imported, because)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{"internal/policy", "internal/sqlguard", "internal/gate", "internal/connector"} {
		if !seen[room] {
			t.Errorf("no file of %s was looked at, among %d: did the room move?", room, files)
		}
	}
}

// TestImportRules holds the rules themselves to what they are for.
func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		file, path string
		want       string // a part of the reason; "" where it is right
	}{
		{"internal/policy/a.go", "time", "pure"},
		{"internal/policy/a.go", "net/http", "pure"},
		{"internal/policy/a.go", "log/slog", "pure"},
		{"internal/policy/a.go", "gatehouse/internal/gate", "testable as a function"},
		{"internal/policy/a.go", "gatehouse/internal/secret", "pure"},
		{"internal/policy/a.go", "github.com/cedar-policy/cedar-go", ""},
		{"internal/sqlguard/postgres/a.go", "database/sql", "pure"},
		{"internal/sqlguard/postgres/a.go", "os", "pure"},
		{"internal/sqlguard/postgres/a.go", "gatehouse/internal/identity", "come before"},
		{"internal/sqlguard/postgres/a.go", "gatehouse/internal/store", "come before"},
		{"internal/sqlguard/postgres/a.go", "gatehouse/internal/policy", ""},
		{"internal/gate/a.go", "gatehouse/internal/sqlguard/postgres", "knows none"},
		{"internal/gate/a.go", "gatehouse/internal/record", "interfaces"},
		{"internal/gate/a.go", "gatehouse/internal/connector/postgres", "one folder"},
		{"internal/gate/a.go", "gatehouse/internal/identity", ""},
		{"internal/connector/mysql/a.go", "gatehouse/internal/connector/postgres", "one folder"},
		{"internal/connector/mysql/a.go", "gatehouse/internal/connector/mysql/wire", ""},
		{"internal/connector/mysql/wire/a.go", "gatehouse/internal/connector/mysql", ""},
		{"internal/connector/postgres/a.go", "gatehouse/internal/approval", "through the gate"},
		{"internal/connector/postgres/a.go", "gatehouse/internal/record/faultfs", "through the gate"},
		{"internal/connector/postgres/a.go", "gatehouse/internal/config", "independent"},
		{"internal/connector/postgres/a.go", "gatehouse/internal/config/strict", ""},
		{"internal/record/a.go", "gatehouse/internal/store", "independent"},
		{"internal/approval/a.go", "gatehouse/internal/store", ""},
		{"internal/store/a.go", "gatehouse/internal/approval", "independent"},
		{"internal/api/client/a.go", "gatehouse/internal/demo/shop", "must not need it"},
		{"internal/store/storetest/a.go", "testing", ""},
		{"internal/store/a.go", "testing", "in the binary"},
		{"internal/config/a.go", "gatehouse/internal/connector/postgres", "one folder"},
		{"internal/config/strict/a.go", "gatehouse/internal/config", "tools"},
		{"internal/demo/a.go", "gatehouse/internal/connector/postgres", "one folder"},
		{"internal/new/a.go", "fmt", "where it belongs"},
		{"internal/gate/a.go", "gatehouse/internal/new", "where it belongs"},
		{"cmd/gatehouse/serve.go", "gatehouse/internal/connector/postgres", "one folder"},
		{"cmd/gatehouse/connectors.go", "gatehouse/internal/connector/postgres", ""},
		{"cmd/gatehouse/demo.go", "gatehouse/internal/demo/shop", ""},
		{"test/bench/main.go", "gatehouse/internal/demo/cluster", ""},
		{"deps.go", "github.com/alecthomas/kong", ""},
	} {
		got := wrong(c.file, c.path)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: got %q, want %q", c.file, c.path, got, c.want)
		}
	}
}
