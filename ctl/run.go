package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

// Stdio is what a run reads and writes. In, Out and Err are looked at for
// being terminals when they are files.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
	// Getenv reads the environment, as os.Getenv.
	Getenv func(string) string
	// Version of the build; empty means what Go recorded in the binary.
	Version string
}

// Run runs gracectl with the arguments after the program's name and returns
// its exit code. When ctx is cancelled it detaches: what the agent was asked
// for goes on.
func Run(ctx context.Context, args []string, stdio Stdio) int {
	s := &session{stdio: stdio}
	defer s.close()
	root := newRoot(s)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	if !s.started {
		err = &exitError{ExitUsage, err}
	}
	code := exitCode(ctx, err)
	s.explain(err)
	if code == ExitUsage {
		fmt.Fprintf(stdio.Err, "hint: %s --help\n", cmd.CommandPath())
	}
	s.recordError(code, err)
	return code
}

// explain says on stderr what went wrong, unless that was said.
func (s *session) explain(err error) {
	var e *exitError
	if errors.As(err, &e) && e.cause == nil {
		return
	}
	var mistakes strict.Errors
	if errors.As(err, &mistakes) {
		// As compilers write them: each line begins with the place.
		fmt.Fprintln(s.stdio.Err, mistakes)
		return
	}
	fmt.Fprintln(s.stdio.Err, s.red("gracectl: ")+words(err))
	refusal := api.FromStatus(err)
	if refusal == nil {
		return
	}
	for _, v := range refusal.Violations {
		fmt.Fprintf(s.stdio.Err, "  %s: %s\n", v.Field, v.Reason)
	}
}

// words is an error without gRPC's own.
func words(err error) string {
	if st, ok := status.FromError(err); ok && st.Code() != codes.OK {
		if st.Code() == codes.DeadlineExceeded {
			return "the agent gave no answer: is it busy or stopped?"
		}
		if turnedAway(err) {
			return turnedAwayWords + st.Message()
		}
		return st.Message()
	}
	return err.Error()
}
