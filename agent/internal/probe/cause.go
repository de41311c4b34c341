package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// cause says in one line why what failed: addresses and call names of the
// network stack are left out, since the probe's are the same every time.
func cause(ctx context.Context, what string, err error) error {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno) && !errno.Timeout() && errno != syscall.ECANCELED:
		err = errno
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	case isTimeout(err):
		err = fmt.Errorf("no answer in time: %w", os.ErrDeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("connection closed without an answer: %w", err)
	}
	return &failure{what: what, err: err}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// failure is an error that prints as one line, whatever it wraps.
type failure struct {
	what string
	err  error
}

func (f *failure) Error() string {
	return f.what + ": " + strings.Join(strings.Fields(f.err.Error()), " ")
}

func (f *failure) Unwrap() error { return f.err }
