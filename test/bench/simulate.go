package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatehouse/internal/gate"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/record"
	"gatehouse/internal/record/faultfs"
)

// simulations records a fortnight of requests through the gate and the journal, as a gateway would, and measures
// what `policy simulate` takes for them: the built binary, in a process of its own.
func simulations(ctx context.Context, dir string) error {
	begun := time.Now()
	if *keep != "" {
		dir = *keep
	}
	recordings, bytes, err := recordFortnight(ctx, filepath.Join(dir, "recordings"), *requests)
	if err != nil {
		return err
	}
	fmt.Printf("recorded %d requests (%d MiB) in %s\n", *requests, bytes>>20, time.Since(begun).Round(time.Second))
	config := `listen: {https: "127.0.0.1:1", postgres: "127.0.0.1:2"}
issuers: [{name: bench, kind: oidc, issuer: "http://127.0.0.1:3", audiences: [bench]}]
store: sqlite:gatehouse.db
recordings: file:recordings
policies: [draft/bench.cedar]
connections:
`
	for c := range fortnightConnections {
		config += fmt.Sprintf("  - {name: c%d, kind: postgres, tags: [env:prod], url: \"postgres://g@127.0.0.1:4/c\", password: {file: password}, groups: [bench]}\n", c)
	}
	files := map[string]string{"gatehouse.yaml": config, "draft/bench.cedar": fortnightDraft()}
	if err := os.MkdirAll(filepath.Join(dir, "draft"), 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"policy", "simulate", "--policies", filepath.Join(dir, "draft")},
	} {
		cmd := exec.CommandContext(ctx, *gatehouse, append(args, "--config", filepath.Join(dir, "gatehouse.yaml"), "--recordings", recordings, "--since", "20d")...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		begun := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out.String())
		}
		used := cmd.ProcessState
		fmt.Printf("%-16s %6.1f s, %.1f s of processor time, %s\n", strings.Join(args[:2], " "), time.Since(begun).Seconds(), (used.UserTime() + used.SystemTime()).Seconds(), memoryOf(used))
		fmt.Print(first(out.String(), 14))
	}
	return nil
}

func first(text string, lines int) string {
	all := slices.Collect(strings.Lines(text))
	return "    " + strings.Join(all[:min(lines, len(all))], "    ")
}

const (
	fortnightConnections = 3
	fortnightPrincipals  = 40
	fortnightTables      = 120
)

// fortnightPolicies are sixty, as a middle-sized place has them.
func fortnightPolicies(change func(id, text string) string) string {
	var b strings.Builder
	add := func(id, text string) { b.WriteString(change(id, fmt.Sprintf("@id(%q)\n%s\n", id, text))) }
	add("connect", `permit (principal, action == Action::"connect", resource);`)
	add("write", `@approval("dba") permit (principal, action in Action::"write", resource);`)
	add("no-secrets", `forbid (principal, action == Action::"read", resource is Column) when { resource.labels.contains("secret") };`)
	add("read", `permit (principal in Group::"bench", action == Action::"read", resource) unless { resource in Schema::"c0/s9" || resource in Schema::"c1/s9" || resource in Schema::"c2/s9" };`)
	for t := range fortnightTables / 3 {
		add(fmt.Sprintf("read-%d", t), fmt.Sprintf(`permit (principal in Group::"team%d", action == Action::"read", resource in Schema::"c%d/s%d");`, t%8, t%3, 9-t%10))
	}
	for t := range 17 {
		add(fmt.Sprintf("eu-%d", t), fmt.Sprintf(`@rows("region = 'eu'") forbid (principal in Group::"team%d", action == Action::"read", resource in Table::"c%d/s%d.t%d");`, t%8, t%3, t%10, t))
	}
	return b.String()
}

// fortnightDraft changes a handful of them.
func fortnightDraft() string {
	return fortnightPolicies(func(id, text string) string {
		switch id {
		case "read-3", "eu-5":
			return ""
		case "read":
			return strings.Replace(text, "c1/s9", "c1/s7", 1)
		case "write":
			return strings.Replace(text, `"dba"`, `"dba,2"`, 1)
		}
		return text
	}) + `@id("partly") @mask("partial") forbid (principal in Group::"team1", action == Action::"read", resource is Column) when { resource.labels.contains("pii.email") };
`
}

// fortnightTouches are what some statement on a connection touches.
func fortnightTouches(c int) []policy.Touch {
	connection := []policy.Entity{{Type: "Connection", ID: fmt.Sprintf("c%d", c)}, {Type: "Tag", ID: "env:prod"}}
	var out []policy.Touch
	for range 1 + rand.IntN(3) {
		n := rand.IntN(fortnightTables)
		if n%10 == 9 && rand.IntN(4) > 0 {
			n-- // most of what is done is permitted
		}
		schema := policy.Entity{Type: "Schema", ID: fmt.Sprintf("c%d/s%d", c, n%10)}
		table := policy.Entity{Type: "Table", ID: fmt.Sprintf("%s.t%d", schema.ID, n)}
		action := "read"
		if rand.IntN(20) == 0 {
			action = "update"
		}
		out = append(out, policy.Touch{Action: action, Resource: policy.Resource{Entity: table, Parents: append([]policy.Entity{schema}, connection...)}})
		for k := range 2 + rand.IntN(8) {
			r := policy.Resource{Entity: policy.Entity{Type: "Column", ID: fmt.Sprintf("%s.column_%d", table.ID, k)}, Parents: append([]policy.Entity{table, schema}, connection...)}
			if k == 3 {
				r.Labels = []string{"pii.email"}
			}
			out = append(out, policy.Touch{Action: action, Resource: r})
		}
	}
	return out
}

// query is a request of the generator.
type query struct {
	text    string
	touches []policy.Touch
	value   string
}

func (q *query) Touches(context.Context) ([]policy.Touch, error) { return q.touches, nil }
func (q *query) Intent() gate.Intent {
	return gate.Intent{Received: q.text, Text: q.text + " /* printed */", Parameters: []gate.Parameter{{Type: 23, Format: "text", Value: []byte(q.value)}}, Position: "idle"}
}
func (q *query) Bound(context.Context) (gate.Intent, error)    { return q.Intent(), nil }
func (q *query) Preview(context.Context) (gate.Preview, error) { return gate.Preview{}, nil }
func (q *query) Recheck(context.Context) error                 { return nil }

// approver approves everything at once.
type approver struct{}

func (approver) Open(context.Context, gate.Hold) (gate.Ticket, error) {
	return gate.Ticket{ID: "ap-bench"}, nil
}
func (approver) Wait(context.Context, string) (gate.Answer, error) {
	return gate.Answer{State: "approved", By: []string{"ada"}}, nil
}
func (approver) Start(context.Context, string, string) error        { return nil }
func (approver) Finish(context.Context, string, gate.Outcome) error { return nil }
func (approver) Void(context.Context, string, string) error         { return nil }
func (approver) Leave(string)                                       {}

// unsynced is a disk that does not wait: the measurement is about reading.
type unsynced struct{ faultfs.OS }

type unsyncedFile struct{ faultfs.File }

func (unsyncedFile) Sync() error { return nil }

func (u unsynced) Create(path string) (faultfs.File, error) {
	f, err := u.OS.Create(path)
	return unsyncedFile{f}, err
}

// recordFortnight records n requests: of 40 agents on three connections with 600 statements, of which each agent uses
// 150, with results; some are refused, some held and approved.
func recordFortnight(ctx context.Context, dir string, n int) (string, int64, error) {
	schema, err := os.ReadFile("internal/connector/postgres/schema.cedarschema")
	if err != nil {
		return "", 0, fmt.Errorf("run it from the folder of the module: %w", err)
	}
	set, err := policy.Compile(policy.Input{Rows: func(string) error { return nil },
		Schemas:  []policy.Source{{Name: "postgres", Text: schema}},
		Policies: []policy.Source{{Name: "bench.cedar", Text: []byte(fortnightPolicies(func(_, text string) string { return text }))}},
	})
	if err != nil {
		return "", 0, err
	}
	clock := time.Now().Add(-14 * 24 * time.Hour)
	step := 14 * 24 * time.Hour / time.Duration(3*n)
	now := func() time.Time { clock = clock.Add(step); return clock } // one goroutine records
	journal, err := record.Open(record.Options{Dir: dir, Now: now, FS: unsynced{}})
	if err != nil {
		return "", 0, err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	g, err := gate.New(gate.Config{Policies: func() *policy.Set { return set }, Recorder: journal, Approvals: approver{}, Log: log, Now: func() time.Time { return clock }})
	if err != nil {
		return "", 0, err
	}
	known := make([][]*query, fortnightConnections)
	for c := range known {
		for range 600 {
			touches := fortnightTouches(c)
			text := "SELECT"
			for _, t := range touches {
				text += " " + t.Resource.ID + ","
			}
			known[c] = append(known[c], &query{text: strings.TrimSuffix(text, ",") + " FROM x WHERE id = $1", touches: touches})
		}
	}
	row := make([]byte, 2000)
	for done := 0; done < n; {
		who := rand.IntN(fortnightPrincipals)
		groups := []string{"bench"}
		for team := range 8 {
			if (who+team)%2 == 0 || team == who%8 {
				groups = append(groups, fmt.Sprintf("team%d", team))
			}
		}
		c := rand.IntN(fortnightConnections)
		s, err := g.Open(ctx, gate.Opening{
			Identity:   identity.Identity{Principal: policy.Principal{Kind: policy.Agent, ID: fmt.Sprintf("bench:agent-%d", who), Name: fmt.Sprintf("agent-%d", who), Issuer: "bench", Groups: groups}, Expires: clock.Add(time.Hour)},
			Connection: gate.Connection{Name: fmt.Sprintf("c%d", c), Kind: "postgres", Tags: []string{"env:prod"}}, Protocol: "postgres", Client: "127.0.0.1:9",
		})
		if err != nil {
			return "", 0, err
		}
		for range min(300, n-done) {
			done++
			q := known[c][(who*37+rand.IntN(150))%len(known[c])] // what one agent does is a part of what is done
			q.value = fmt.Sprint(rand.IntN(1 << 30))
			entries, err := g.Admit(ctx, s, []gate.Request{q})
			if _, refused := gate.AsRefusal(err); refused {
				continue
			}
			if err != nil {
				return "", 0, err
			}
			size := rand.IntN(len(row))
			err = entries[0].Close(gate.Outcome{Status: "ok", Summary: "SELECT 1", Rows: 1, Bytes: uint64(size)}, gate.Event{Kind: gate.ResultSchema, Data: row[:60]}, gate.Event{Kind: gate.ResultRows, Data: row[:size]})
			if err != nil {
				return "", 0, err
			}
		}
		if err := s.Close("client", ""); err != nil {
			return "", 0, err
		}
	}
	if err := journal.Close(); err != nil {
		return "", 0, err
	}
	var bytes int64
	segments, err := filepath.Glob(filepath.Join(dir, "*.ghj"))
	for _, f := range segments {
		if i, e := os.Stat(f); e == nil {
			bytes += i.Size()
		} else {
			err = errors.Join(err, e)
		}
	}
	return dir, bytes, err
}

// memoryOf is the most that a process had in memory.
func memoryOf(s *os.ProcessState) string {
	if u, ok := s.SysUsage().(*syscall.Rusage); ok {
		return fmt.Sprintf("%d MiB at most", u.Maxrss>>10)
	}
	return ""
}
