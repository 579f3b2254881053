package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/notify"
)

type notificationCommands struct {
	Test notificationsTestCommand `cmd:"" help:"Send a test to the places that are told of held requests."`
}

func (notificationCommands) Help() string {
	return `Examples:
  gatehouse notifications test
  gatehouse notifications test ops --config /etc/gatehouse/gatehouse.yaml`
}

type notificationsTestCommand struct {
	configFlag
	Name string `arg:"" optional:"" help:"Only this one of approvals.notify."`
}

func (notificationsTestCommand) Help() string {
	return `Sends one test message, with the secrets of this environment, and says what each place answered. Nothing else is told.

Examples:
  gatehouse notifications test
  gatehouse notifications test ops`
}

func (c notificationsTestCommand) Run(ctx context.Context, s streams) error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	sent, failed := 0, 0
	for _, t := range conf.Approvals.Notify {
		if c.Name != "" && t.Name != c.Name {
			continue
		}
		sent++
		e := notify.Event{Kind: notify.Test, At: time.Now().UTC(), URL: conf.BaseURL()}
		if err := notify.Deliver(ctx, t, e, time.Now); err != nil {
			failed++
			fmt.Fprintf(s.out, "%s (%s): not delivered: %v\n", t.Name, t.Kind, err)
			continue
		}
		fmt.Fprintf(s.out, "%s (%s): delivered\n", t.Name, t.Kind)
	}
	switch {
	case sent == 0 && c.Name != "":
		return fmt.Errorf("%s has no approvals.notify named %q", c.Config, c.Name)
	case sent == 0:
		return fmt.Errorf("%s notifies nobody: add approvals.notify, as docs/approvals.md shows", c.Config)
	case failed > 0:
		return errors.New("not everyone was reached")
	}
	return nil
}
