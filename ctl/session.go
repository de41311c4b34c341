package ctl

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/api"
)

// session is one run: its flags, its streams and its connection.
type session struct {
	stdio   Stdio
	agent   string
	tls     api.TLS
	output  string
	noColor bool
	yes     bool
	timeout time.Duration
	// deltaFrom is the file of an artifact that the agent may hold.
	deltaFrom string

	started  bool // arguments were understood
	stream   bool // the output is records, the last of them the result
	finished bool // that result was written
	client   *client
	host     string
}

var errTimeout = errors.New("--timeout passed")

// withAgent makes a command's function from one that wants a connection.
func (s *session) withAgent(run func(ctx context.Context, c *client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if s.timeout > 0 {
			// No deadline: gRPC would tell the agent, whose answer to it could
			// come first and look like the agent's own failure.
			var cancel context.CancelCauseFunc
			ctx, cancel = context.WithCancelCause(ctx)
			defer cancel(nil)
			defer time.AfterFunc(s.timeout, func() { cancel(errTimeout) }).Stop()
		}
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

// withRecords gives a command, whose structured output is records, a function
// that wants a connection.
func (s *session) withRecords(cmd *cobra.Command, run func(ctx context.Context, c *client, args []string) error) {
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		s.stream = true
		if check == nil {
			return nil
		}
		return check(cmd, args)
	}
	cmd.RunE = s.withAgent(run)
}

// detached words an error that an ended wait caused.
func detached(ctx context.Context, err error) error {
	var e *exitError
	if errors.As(err, &e) {
		return err
	}
	why := "interrupted"
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		why = cause.Error()
	}
	return &exitError{ExitDetached, errors.New(why + ": the agent goes on with what it had begun, see gracectl status")}
}

func (s *session) close() {
	if s.client != nil {
		s.client.conn.Close()
	}
}
