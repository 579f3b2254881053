package canary

import (
	"context"
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/internal/demo/shop"
)

// smith has sqlsmith (Debian's package) make statements. It reads the catalogs through the gateway as the agent; where
// run is set it sends them there too.
func smith(t *testing.T, g *gateway, who string, n int, run bool) []string {
	t.Helper()
	program, err := exec.LookPath("sqlsmith")
	if err != nil {
		if os.Getenv("GATEHOUSE_TEST_ALL") != "" {
			t.Fatal("sqlsmith is missing: scripts/deps all installs it")
		}
		t.Skip("sqlsmith is not installed (scripts/deps all)")
	}
	host, port, err := net.SplitHostPort(g.address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(n)*time.Second)
	defer cancel()
	args := []string{"--seed=" + fmt.Sprint(*seed%1_000_000), "--max-queries=" + fmt.Sprint(n), "--exclude-catalog",
		"--target=host=" + host + " port=" + port + " dbname=shop user=agent sslmode=disable"}
	if !run {
		args = append(args, "--dry-run")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+g.tokens[who])
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sqlsmith: %v\n%.2000s", err, said.String())
	}
	var texts []string
	for _, one := range strings.Split(string(out), ";\n") {
		if one = strings.TrimSpace(one); one != "" {
			texts = append(texts, one)
		}
	}
	return texts
}

// sample is a random part of a table, which a seed makes the same in both databases.
var sample = regexp.MustCompile(`tablesample (bernoulli|system) \([0-9.]+\)`)

// named are the types of which values show as names.
var named = regexp.MustCompile(`\breg(class|type|proc|procedure|oper|operator|namespace|role|config|dictionary|collation)\b`)

// forge makes more of the statements ones that a server understands: no value has a type such as anyrange. And the
// columns that are hidden are there to be written, so that sqlsmith reads them too.
var forge = strings.NewReplacer("anymultirange", "int4multirange", "anyrange", "int4range", "anyarray", "_text", "anyenum", "public.grade", "anyelement", "text", "anynonarray", "text",
	".remark", ".who", ".note", ".nick", ".pin", ".rank", ".reviewer", ".body", "select remark from", "select who from", "select note from", "select nick from", "select pin from", "select rank from", "select reviewer from", "select body from")

// constant is a call without arguments: most of these tell about the server, are refused, and stand in most of what
// sqlsmith makes.
var constant = regexp.MustCompile(`pg_catalog\.(\w+)\(\)`)

// constants are the types of what such functions give.
func constants(t *testing.T) map[string]string {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), server.AdminURL("tenth"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), "SELECT proname, prorettype::regtype::text FROM pg_proc WHERE pronargs = 0 AND NOT proretset AND prokind = 'f' AND prorettype <> 'void'::regtype AND proname NOT IN ('pi', 'tsmultirange')")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	var name, typ string
	if _, err := pgx.ForEachRow(rows, []any{&name, &typ}, func() error { types[name] = typ; return nil }); err != nil {
		t.Fatal(err)
	}
	return types
}

// forged are statements of sqlsmith as scripts, which leave nothing behind.
func forged(t *testing.T, texts []string) iter.Seq[script] {
	types := constants(t)
	var out []script
	for n, text := range texts {
		text = constant.ReplaceAllStringFunc(text, func(call string) string {
			if typ := types[constant.FindStringSubmatch(call)[1]]; typ != "" {
				return "cast(null as " + typ + ")"
			}
			return call
		})
		if strings.Contains(text, "to_reg") {
			continue
		}
		text = named.ReplaceAllString(text, "oid") // a name given back is text (docs/postgres-catalogs.md)
		text = forge.Replace(sample.ReplaceAllString(text, "$0 repeatable (4)"))
		out = append(out, script{what: "sqlsmith", steps: []step{{text: "BEGIN"}, {text: text}, {text: "ROLLBACK"}}, form: form(n % int(forms))})
	}
	return slices.Values(out)
}

// TestSmith does with what sqlsmith makes of the schema what TestCanaries and TestDifferential do with statements of
// their own, and then lets it send some by itself. Most of its functions are not on the gateway's list.
func TestSmith(t *testing.T) {
	t.Parallel()
	g, h := start(t, tenth.name), start(t, eleventh.name)
	count := min(*statements, 10_000) // sqlsmith makes all of them before the first is sent
	t.Run("canaries", func(t *testing.T) {
		a, b := session{dial(t, g.url(masked)), g}, session{dial(t, h.url(masked)), h}
		seen := []*finder{newFinder(tenth.planted), newFinder(eleventh.planted)}
		y := newTally()
		all(t, forged(t, smith(t, g, masked, count, false)), []string{tenth.name, eleventh.name}, func(s script) error {
			x, z, err := both(a, b, s, s)
			if err != nil {
				return err
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
		y.report(t, 15)
	})
	t.Run("differential", func(t *testing.T) {
		through, direct := session{dial(t, g.url(trusted)), g}, dial(t, server.URL(shop.Role, password, twelfth.name)+"&search_path=public")
		y := newTally()
		all(t, forged(t, smith(t, g, trusted, count, false)), []string{tenth.name, twelfth.name}, func(s script) error {
			x, err := through.run(s)
			if err != nil {
				return err
			}
			z, err := direct.script(s.form, s.steps[:permitted(x)])
			if err != nil {
				return err
			}
			if timedOut(x) || timedOut(z) {
				y.late++
				return nil
			}
			y.note(s, x)
			if d := departure(x, z); d != "" {
				return fmt.Errorf("the gateway's answer is another than the database's: %s", d)
			}
			return nil
		})
		y.report(t, 15)
	})
	t.Run("by itself", func(t *testing.T) { smith(t, g, masked, min(count, 1000), true) })
}
