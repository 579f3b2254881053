package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"gatehouse/internal/config"
)

// configFlag names the configuration.
type configFlag struct {
	Config string `short:"c" default:"${config}" env:"GATEHOUSE_CONFIG" help:"The configuration." placeholder:"FILE"`
}

func (f configFlag) load() (*config.Config, error) { return config.Load(f.Config, connectors()) }

type serveCommand struct {
	configFlag
	LogLevel string `default:"info" enum:"debug,info,warn,error" help:"What is logged to standard error: debug, info, warn or error."`
}

func (serveCommand) Help() string {
	return `Serves until SIGTERM or Ctrl-C; sessions then end with an error that drivers reconnect on. SIGHUP reads the policies again.

Examples:
  gatehouse config validate && gatehouse serve
  gatehouse serve --config /etc/gatehouse/gatehouse.yaml --log-level warn`
}

func (c serveCommand) Run(ctx context.Context, s streams) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: level}))
	conf, err := c.load()
	if err != nil {
		return err
	}
	g, err := open(ctx, conf, log)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // the heap is small: collecting it less often costs little memory
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(512 << 20) // not a bound: from here on it is collected as often as it takes
	}
	defer onHangup(func() { g.versions.Reload(ctx) })()
	looking, stop := context.WithCancel(ctx)
	looked := make(chan struct{})
	go func() { g.warn(looking); close(looked) }()
	defer func() { stop(); <-looked }()
	return g.serve(ctx)
}

// onHangup calls do at every SIGHUP, until stop is called.
func onHangup(do func()) (stop func()) {
	hangup, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangup:
				do()
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(hangup); close(done) }
}

type configCommands struct {
	Validate validateCommand `cmd:"" help:"Say whether the configuration and its policies are valid."`
}

type validateCommand struct{ configFlag }

func (validateCommand) Help() string {
	return `Reads the configuration, the policies and the secrets that it names; opens and changes nothing else. What connections lead to is looked at by ` + "`gatehouse connections check NAME`" + `.

Examples:
  gatehouse config validate
  gatehouse config validate --config /etc/gatehouse/gatehouse.yaml`
}

func (c validateCommand) Run(s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	set, err := compilePolicies(conf)
	if err != nil {
		return err
	}
	for _, w := range set.Warnings() {
		fmt.Fprintln(s.err, "warning:", w)
	}
	if missing := missingSecrets(conf); len(missing) > 0 {
		return fmt.Errorf("%s is valid, but a secret that it names is not there:\n%s", c.Config, strings.Join(missing, "\n"))
	}
	fmt.Fprintf(s.out, "%s is valid: %s, policies %s\n", c.Config, count(len(conf.Connections), "connection"), set.Version())
	return nil
}
