package postgres

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// psqlCommands are psql's commands that read the catalogs.
var psqlCommands = strings.Split(strings.TrimSpace(`
\d
\d+
\dt
\dt+
\di
\di+
\dv
\dv+
\dm
\dm+
\ds
\ds+
\dE
\dP
\dPi
\dtv other.*
\dt *.*
\d customers
\d+ customers
\d orders
\d+ orders
\d archive
\d+ archive
\d parts
\d+ parts
\d+ parts_eu
\d order_list
\d+ order_list
\d+ monthly
\d other.things
\d+ other.things
\d other.customers
\d customers_pkey
\d+ customers_lower
\d customers_id_seq
\d counter
\d pair
\d cust*
\d nothing_like_it
\dS
\df
\df+
\df add
\dfa
\dfp
\dft
\df *.*
\dn
\dn+
\du
\du+
\dg
\dp
\dp other.*
\z
\dT
\dT+
\dT other.*
\l
\l+
\dx
\dx+
\dD
\dD+
\dC
\dC+
\dd
\ddp
\dF
\dF+
\dFd
\dFp
\dFp+
\dFt
\do
\do ===
\dO
\dO+
\dA
\dA+
\dAc
\dAf
\dAo
\dAp
\db
\db+
\drds
\dRp
\dRp+
\dRs
\dX
\dy
\dL
\dL+
\dc
\da
\dew
\des
\det
\dl
\sf add
\sf+ add
\sv order_list
\sv+ totals
\encoding
\sf nothing
\dconfig
\dconfig work_mem
`), "\n")

// notAsDirect are the commands whose output differs, each with its reason.
var notAsDirect = map[string]string{
	`\dconfig`: "a list of harmless settings", `\dconfig work_mem`: "",
	`\dRs`: "direct access to pg_subscription is for superusers alone",
	`\l`:   "other databases of the server are not shown", `\l+`: "other databases of the server are not shown",
}

func psql(t *testing.T, url, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "psql", "-X", "-P", "pager=off", "-d", url, "-c", command)
	cmd.Env = append(os.Environ(), "PGCLIENTENCODING=UTF8")
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Errorf("%s: %v", command, err)
	}
	return string(out)
}

// TestPsql: psql's commands show a principal that sees everything what they show the role itself, and one that
// sees part nothing that is hidden from it.
func TestPsql(t *testing.T) {
	if _, err := exec.LookPath("psql"); err != nil {
		t.Fatal("psql was not found, and this test needs it: install the package postgresql-client")
	}
	name := systemDatabase(t)
	direct := testServer.URL("gw", "p", name)
	all, part := serveSystem(t, name, everythingPolicy), serveSystem(t, name, partly())
	for _, command := range psqlCommands {
		want, got := psql(t, direct, command), psql(t, all, command)
		if _, differs := notAsDirect[command]; want != got && !differs {
			t.Errorf("%s differs:\n%.3000s", command, lineDiff(want, got))
		}
		hidden := psql(t, part, command)
		if strings.Contains(hidden, "hidden") || strings.Contains(hidden, "ERROR") && !strings.Contains(want, "ERROR") {
			t.Errorf("%s shows what is hidden, or fails:\n%.3000s", command, lineDiff(want, hidden))
		}
	}
}
