package load

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Loss is a way in which a request is lost.
type Loss string

// The losses.
const (
	// Refused: nobody listened, or a unix socket's queue was full.
	Refused Loss = "refused"
	// Reset: the connection was reset before the answer was complete.
	Reset Loss = "reset"
	// EOF: the connection was closed in good order without any answer.
	EOF Loss = "eof"
	// Truncated: closed or reset in the middle of an answer.
	Truncated Loss = "truncated"
	// Timeout: no complete answer in time.
	Timeout Loss = "timeout"
	// BadStatus: an answer other than 2xx or 3xx, or none that is HTTP.
	BadStatus Loss = "bad_status"
	// Local: this program failed, by lack of ports or descriptors.
	Local Loss = "local"
)

// errStatus is an answer that is no good.
var errStatus = errors.New("bad answer")

// classify names the loss; began says whether part of an answer had arrived.
func classify(err error, began bool) Loss {
	var timeout net.Error
	switch {
	case errors.Is(err, errStatus):
		return BadStatus
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return Refused
	// EAGAIN before Timeout: as a syscall.Errno it claims to be one.
	case errors.Is(err, syscall.EAGAIN):
		return Refused
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case began && (isReset(err) || isEOF(err)):
		return Truncated
	case isReset(err):
		return Reset
	case isEOF(err):
		return EOF
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return Local
	case began:
		return BadStatus
	}
	return Local
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
