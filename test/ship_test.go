package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/test/s3server"
)

// TestShip ships what a real psql did to a folder and to a bucket, and proves it there without the gateway.
func TestShip(t *testing.T) {
	t.Parallel()
	server := s3server.New(t)
	var g *gateway
	ship := func(config string) string {
		return strings.Replace(config, "recordings: file:recordings", fmt.Sprintf(`recordings:
  keep: file:recordings
  segment_age: 200ms
  ship:
    - {name: archive, to: file:archive}
    - name: bucket
      to: s3://recordings/gateways/one
      endpoint: %s
      region: us-east-1
      access_key: {file: ship.access}
      secret_key: {file: ship.secret}`, server.Endpoint()), 1)
	}
	g = start(t, options{change: ship})
	g.refuses("", []string{"recordings.ship \"bucket\"", "ship.access", "make it"}, "config", "validate")
	g.psql("SELECT id, email FROM customers ORDER BY id LIMIT 2;\n")
	public := g.path("gateway.pub")
	g.write("gateway.pub", g.ok("", nil, "sessions", "key"))

	// The folder goes on by itself while the bucket's key is not there.
	shipped := func(name string) func() bool {
		all := regexp.MustCompile(`(?m)^` + name + ` .* [1-9][0-9]* files?, .* none .*\bok$`)
		return func() bool { return all.MatchString(g.ok("", nil, "recordings", "status")) }
	}
	archive := filepath.Join(g.dir, "archive")
	proves := func(dir string) func() bool {
		return func() bool {
			r := g.cli("", "sessions", "verify", "--from", dir, "--key", public)
			if r.code != 0 && !strings.Contains(r.err, "no such file") {
				t.Errorf("%s%s", r.out, r.err)
			}
			return strings.Contains(r.out, "verified: 1 session (0 open)") && strings.Contains(r.out, "signed: it comes to")
		}
	}
	eventually(t, "the folder has everything", shipped("archive"))
	eventually(t, "the folder proves it", proves(archive))
	g.ok("", []string{"bucket", "failing since", "which should hold a secret"}, "recordings", "status")
	g.logs(`recordings cannot be shipped; they stay here.*target=bucket.*backlog="?[1-9]`)
	g.write("ship.access", server.Access)
	g.write("ship.secret", server.Secret)
	g.ok("", []string{"is valid"}, "config", "validate")
	eventually(t, "the bucket has everything", shipped("bucket"))
	n := 0
	eventually(t, "the bucket proves it", func() bool {
		n++
		dir := g.path(fmt.Sprintf("copy-%d", n))
		g.ok("", []string{"fetched from s3://recordings/gateways/one"}, "recordings", "fetch", "bucket", dir)
		g.refuses("", []string{"is not empty"}, "recordings", "fetch", "bucket", dir)
		return proves(dir)()
	})
	g.refuses("", []string{"recordings.ship has no \"elsewhere\": there are archive, bucket"}, "recordings", "fetch", "elsewhere", g.path("x"))

	// A copy shows nothing, until it has the keys.
	dir := g.path(fmt.Sprintf("copy-%d", n))
	g.refuses("", []string{"the keys of these recordings are not here"}, "sessions", "list", "--recordings", dir)
	b, err := os.ReadFile(filepath.Join(g.recordings(), "keys.ghk"))
	if err != nil {
		t.Fatal(err)
	}
	g.write(filepath.Base(dir)+"/keys.ghk", string(b))
	id := sessionID.FindString(g.ok("", nil, "sessions", "list", "--recordings", dir))
	g.ok("", []string{"FROM public.customers", "***@"}, "sessions", "replay", id, "--recordings", dir)

	// Something taken away shows.
	if err := os.Remove(filepath.Join(archive, "journal-00000001.ghj")); err != nil {
		t.Fatal(err)
	}
	r := g.cli("", "sessions", "verify", "--from", archive, "--key", public)
	if r.code != 1 || !strings.Contains(r.out, "PROBLEM") {
		t.Errorf("%d %s%s", r.code, r.out, r.err)
	}
	for _, hidden := range []string{server.Secret, server.Access} {
		if strings.Contains(g.log.String()+g.said.String(), hidden) {
			t.Error("a secret is in the log, or was said")
		}
	}
}
