package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/internal/search"
)

// searches indexes the fortnight of simulations and searches it.
func searches(ctx context.Context, dir string) error {
	if *keep != "" {
		dir = *keep
	}
	recordings := filepath.Join(dir, "recordings")
	if _, err := os.Stat(recordings); err != nil {
		if _, _, err := recordFortnight(ctx, recordings, *requests); err != nil {
			return err
		}
	}
	begun, cpu := time.Now(), cpuOf(os.Getpid())
	x, err := search.Open(ctx, recordings, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.CatchUp(ctx, nil); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(recordings, "search.db"))
	if err != nil {
		return err
	}
	fmt.Printf("indexed %d requests in %.1f s (%.1f s of processor time), %d MiB\n", *requests, time.Since(begun).Seconds(), (cpuOf(os.Getpid()) - cpu).Seconds(), info.Size()>>20)
	queries := func() search.Query {
		c, s, n := rand.IntN(fortnightConnections), rand.IntN(10), rand.IntN(fortnightTables)
		table := fmt.Sprintf("s%d.t%d", s, n/10*10+s)
		since := time.Now().Add(-time.Duration(rand.IntN(14*24)) * time.Hour)
		all := []search.Query{
			{},
			{Principal: fmt.Sprintf("agent-%d", rand.IntN(fortnightPrincipals))},
			{Principal: fmt.Sprintf("agent-%d", rand.IntN(fortnightPrincipals)), Effect: "refuse"},
			{Connection: fmt.Sprintf("c%d", c), Effect: "hold", Since: since},
			{Policy: fmt.Sprintf("read-%d", rand.IntN(fortnightTables/3))},
			{Object: table, Action: "update"},
			{Object: fmt.Sprintf("c%d/%s.column_3", c, table), Principal: fmt.Sprintf("agent-%d", rand.IntN(fortnightPrincipals))},
			{Text: fmt.Sprintf("column_%d t%d", rand.IntN(10), n)},
			{Text: "select from where", Effect: "refuse", Since: since, Until: since.Add(time.Hour)},
			{Text: "nothingsaysthis select"},
			{Text: `"from x"`, Connection: fmt.Sprintf("c%d", c)},
			{Since: since, Until: since.Add(24 * time.Hour)},
		}
		return all[rand.IntN(len(all))]
	}
	var took []time.Duration
	slow, slowest := time.Duration(0), search.Query{}
	found := 0
	for range 2000 {
		q := queries()
		begun := time.Now()
		page, err := x.Search(ctx, q)
		if err != nil {
			return err
		}
		d := time.Since(begun)
		took, found = append(took, d), found+len(page.Hits)
		if d > slow {
			slow, slowest = d, q
		}
	}
	slices.Sort(took)
	at := func(p float64) time.Duration { return took[int(p*float64(len(took)-1))].Round(10 * time.Microsecond) }
	fmt.Printf("2000 searches, %d requests found: p50 %s, p95 %s, p99 %s, longest %s (%+v)\n", found, at(.5), at(.95), at(.99), slow.Round(time.Millisecond), slowest)
	return nil
}
