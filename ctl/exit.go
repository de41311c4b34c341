package ctl

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes of gracectl; scripts depend on them.
const (
	ExitDone        = 0 // done
	ExitError       = 1 // error
	ExitUsage       = 2 // wrong use
	ExitWouldChange = 3 // --dry-run: it would change something
	ExitRolledBack  = 4 // failed, the previous generation serves
	ExitMixed       = 5 // failed, hosts differ
	ExitUnreachable = 6 // some hosts unreachable, the rest done
	ExitHeld        = 7 // somebody else is at it
	ExitDetached    = 8 // still going: timed out or interrupted
)

// exitError ends a command with a code. Without a cause everything has been
// said already.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

func usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// misuse makes a mistake in what was typed an error of use, unless it has a code.
func misuse(err error) error {
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return &exitError{ExitUsage, err}
}

// exitCode is the code that an error ends with.
func exitCode(ctx context.Context, err error) int {
	var e *exitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &e):
		return e.code
	case ctx.Err() != nil:
		return ExitDetached
	}
	if heldElsewhere(err) {
		return ExitHeld
	}
	return ExitError
}
