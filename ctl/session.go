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

// withAgent makes a command's function from one that wants a connection.
func (s *session) withAgent(run func(ctx context.Context, c *client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, end := s.wait(cmd.Context())
		defer end()
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
}

// withHosts makes a command's function from one that wants a connection, and one that
// asks the hosts of an inventory.
func (s *session) withHosts(one func(ctx context.Context, c *client, args []string) error, many func(ctx context.Context, hosts []inventory.Host, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := s.resolve(); err != nil {
			return err
		}
		if s.to.inventory == "" && !s.flags.choose() {
			return s.withAgent(one)(cmd, args)
		}
		ctx, end := s.wait(cmd.Context())
		defer end()
		hosts, err := s.hosts(ctx)
		if err != nil {
			return err
		}
		return many(ctx, hosts, args)
	}
}

// withEach makes a command's function from one that wants a connection, and one for
// several hosts.
func (s *session) withEach(one func(ctx context.Context, c *client, args []string) error, many func(ctx context.Context, hosts []inventory.Host, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, end := s.wait(cmd.Context())
		defer end()
		yes, err := s.several(ctx)
		switch {
		case err != nil:
			return err
		case !yes:
			return s.withAgent(one)(cmd, args)
		}
		return many(ctx, s.chosen, args)
	}
}

// withRollout is withEach for a command that is a rollout over hosts, also over one when
// a flag of rollouts is given.
func (s *session) withRollout(r *rolloutFlags, one func(ctx context.Context, c *client, args []string) error, many func(ctx context.Context, hosts []inventory.Host, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, end := s.wait(cmd.Context())
		defer end()
		yes, err := s.asked(ctx, r)
		switch {
		case err != nil:
			return err
		case !yes:
			return s.withAgent(one)(cmd, args)
		}
		return many(ctx, s.chosen, args)
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
func (s *session) withRecords(cmd *cobra.Command, run func(ctx context.Context, c *client, args []string) error) {
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
