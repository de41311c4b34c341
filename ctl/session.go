package ctl

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/api"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// session is one run: its flags, its streams and its connection.
type session struct {
	stdio   Stdio
	flags   targetFlags
	output  string
	noColor bool
	yes     bool
	timeout time.Duration
	// deltaFrom is the file of an artifact that the agent may hold.
	deltaFrom string

	started  bool // arguments were understood
	stream   bool // the output is records, the last of them the result
	finished bool // that result was written
	to       *destination
	known    *inventory.Inventory
	chosen   []inventory.Host
	sets     map[string][]string // of hosts, as @failed:ROLLOUT
	stock    stock
	client   *client
	host     string
	remote   *api.Dialer // of agents on the network, since the first was asked
	dialled  sync.Once
}

var errTimeout = errors.New("--timeout passed")

// oneAgent is what a command does with the one agent that is meant, manyHosts what it
// does with hosts of an inventory.
type (
	oneAgent  func(ctx context.Context, c *client, args []string) error
	manyHosts func(ctx context.Context, hosts []inventory.Host, args []string) error
)

// withAgent makes a command's function from one that wants a connection.
func (s *session) withAgent(run oneAgent) func(*cobra.Command, []string) error {
	return s.bounded(func(ctx context.Context, args []string) error { return s.ask(ctx, run, args) })
}

// ask has a command's function ask the one agent that is meant.
func (s *session) ask(ctx context.Context, run oneAgent, args []string) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	err = run(ctx, c, args)
	if err != nil && ctx.Err() != nil {
		return detached(ctx, err)
	}
	return err
}

// withHosts makes a command's function from one that wants a connection, and one that
// asks the hosts of an inventory.
func (s *session) withHosts(one oneAgent, many manyHosts) func(*cobra.Command, []string) error {
	return s.either(s.listed, one, many)
}

// withEach makes a command's function from one that wants a connection, and one for
// several hosts.
func (s *session) withEach(one oneAgent, many manyHosts) func(*cobra.Command, []string) error {
	return s.either(s.several, one, many)
}

// withRollout is withEach for a command that is a rollout over hosts, also over one when
// a flag of rollouts is given.
func (s *session) withRollout(r *rolloutFlags, one oneAgent, many manyHosts) func(*cobra.Command, []string) error {
	return s.either(func(ctx context.Context) (bool, error) { return s.asked(ctx, r) }, one, many)
}

// either makes a command's function from one for the one agent that is meant, and one
// for the chosen hosts, if these are to be asked.
func (s *session) either(chosen func(context.Context) (bool, error), one oneAgent, many manyHosts) func(*cobra.Command, []string) error {
	return s.bounded(func(ctx context.Context, args []string) error {
		yes, err := chosen(ctx)
		switch {
		case err != nil:
			return err
		case !yes:
			return s.ask(ctx, one, args)
		}
		return many(ctx, s.chosen, args)
	})
}

// withFleet makes a command's function from one that asks the hosts of the inventory,
// all of them unless some are chosen; without an inventory the one agent's.
func (s *session) withFleet(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return s.bounded(func(ctx context.Context, args []string) (err error) {
		if err := s.resolve(); err != nil {
			return err
		}
		if !s.alone() && len(s.flags.hosts) == 0 {
			s.flags.all = true
		}
		if s.chosen, err = s.chosenOrOne(ctx); err != nil {
			return err
		}
		if err := s.dialable(s.chosen); err != nil {
			return err
		}
		return run(ctx, args)
	})
}

// bounded makes a command's function from one whose wait --timeout bounds.
func (s *session) bounded(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, end := s.wait(cmd.Context())
		defer end()
		return run(ctx, args)
	}
}

// wait bounds a wait by --timeout.
func (s *session) wait(ctx context.Context) (context.Context, func()) {
	if s.timeout <= 0 {
		return ctx, func() {}
	}
	// No deadline: gRPC would tell the agent, whose answer to it could
	// come first and look like the agent's own failure.
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(s.timeout, func() { cancel(errTimeout) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// withRecords gives a command, whose structured output is records, a function
// that wants a connection.
func (s *session) withRecords(cmd *cobra.Command, run oneAgent) {
	s.records(cmd)
	cmd.RunE = s.withAgent(run)
}

// records makes the structured output of a command records.
func (s *session) records(cmd *cobra.Command) {
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		s.stream = true
		if check == nil {
			return nil
		}
		return check(cmd, args)
	}
}

// detached words an error that an ended wait caused.
func detached(ctx context.Context, err error) error {
	var e *exitError
	if errors.As(err, &e) {
		return err
	}
	return &exitError{ExitDetached, errors.New(whyEnded(ctx) + ": the agent goes on with what it had begun, see gracectl status")}
}

// whyEnded words what ended a wait.
func whyEnded(ctx context.Context) string {
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		return cause.Error()
	}
	return "interrupted"
}

func (s *session) close() {
	if s.client != nil {
		s.client.conn.Close()
	}
	s.stock.close()
}
