// Command gatehouse is the gateway and everything that is done with it on a command line.
//
// A file holds one command. gateway.go wires the rooms together; connectors.go is the list of connectors.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"gatehouse/internal/config"
)

// version is set by the build.
var version = ""

// commands are all that gatehouse can be told to do.
type commands struct {
	Demo          demoCommand          `cmd:"" help:"Try it: a private PostgreSQL with a shop in it, an issuer, a gateway, and a tour."`
	Serve         serveCommand         `cmd:"" help:"Run the gateway."`
	Config        configCommands       `cmd:"" help:"Look at the configuration."`
	Connections   connectionCommands   `cmd:"" help:"Look at connections: how they are configured, what is risky, what rights they need."`
	Policy        policyCommands       `cmd:"" help:"Look at policies."`
	Login         loginCommand         `cmd:"" help:"Sign in, as a person or as an agent, and keep the token."`
	Logout        logoutCommand        `cmd:"" help:"Forget the tokens of a profile."`
	Token         tokenCommand         `cmd:"" help:"Print a fresh access token."`
	Approvals     approvalCommands     `cmd:"" help:"See and answer requests that wait for a person."`
	Access        accessCommands       `cmd:"" help:"Get access for a short time, and look at who did."`
	Notifications notificationCommands `cmd:"" help:"Try whether the places that are told of held requests are reached."`
	Sessions      sessionCommands      `cmd:"" help:"See, replay and verify recorded sessions."`
	Recordings    recordingsCommands   `cmd:"" help:"See how far recordings were shipped and streamed, how long they are kept, who looked at them."`
	Version       versionCommand       `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

// streams are where a command reads and writes.
type streams struct {
	in       *os.File
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run is the whole program: 0 done, 1 it failed, 2 it was called wrongly.
func run(ctx context.Context, args []string, s streams) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("gatehouse"),
		kong.Description("The one road between AI agents and infrastructure: every request identified, decided, masked, approved where a person must, and recorded.\n\nStart with `gatehouse demo`."),
		kong.UsageOnError(),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exited = code }),
		kong.Vars{"config": config.Default, "version": "gatehouse " + versionText()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	)
	if err != nil {
		fmt.Fprintln(s.err, "gatehouse:", err)
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help was printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.err, "gatehouse: %s\nRun `%s`, which has examples.\n", misuse(err), helpFor(err))
		return 2
	}
	switch err := k.Run(); {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 130
	default:
		fmt.Fprintln(s.err, "gatehouse:", err)
		return 1
	}
}

type versionCommand struct{}

func (versionCommand) Help() string {
	return `Examples:
  gatehouse version`
}

func (versionCommand) Run(s streams) error {
	fmt.Fprintln(s.out, "gatehouse", versionText())
	return nil
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "development"
}
