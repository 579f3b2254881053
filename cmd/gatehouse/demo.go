package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mattn/go-isatty"

	"gatehouse/internal/config"
	"gatehouse/internal/demo"
)

type demoCommand struct {
	Data string `default:"gatehouse-demo" help:"The demo's data folder." placeholder:"FOLDER"`
	Tour bool   `help:"End after the tour; the exit status says whether every step behaved. The default where standard input is not a terminal."`
}

func (demoCommand) Help() string {
	return `Needs PostgreSQL's server and client programs on this machine, and nothing else; it touches no database but its own. Stays up until Ctrl-C. SIGHUP reads its policies again.

Examples:
  gatehouse demo
  gatehouse demo --tour --data /tmp/demo`
}

func (c demoCommand) Run(ctx context.Context, s streams) error {
	tourOnly := c.Tour || !isatty.IsTerminal(s.in.Fd())
	return demo.Run(ctx, demo.Options{Dir: c.Data, TourOnly: tourOnly, Out: s.out, Serve: func(ctx context.Context, path string, ready func()) error { return serveDemo(ctx, s.in, path, ready) }})
}

// serveDemo is the gateway itself, with its log in a file beside the configuration.
func serveDemo(ctx context.Context, in *os.File, path string, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	terminal := isatty.IsTerminal(in.Fd())
	f, err := os.OpenFile(filepath.Join(filepath.Dir(path), "gatehouse.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	conf, err := config.Load(path, connectors())
	if err != nil {
		return err
	}
	g, err := open(ctx, conf, slog.New(slog.NewTextHandler(f, nil)))
	if err != nil {
		return err
	}
	defer onHangup(func() {
		if terminal && !isatty.IsTerminal(in.Fd()) { // it was closed
			cancel()
			return
		}
		g.versions.Reload(ctx)
	})()
	ready()
	return g.serve(ctx)
}
