package shim

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// Sentinels for callers that branch.
var (
	// ErrGone: nobody answers at the control path; the shim is not running.
	ErrGone = errors.New("no shim is running there")
	// ErrRunning: a shim runs in that directory already.
	ErrRunning = errors.New("a shim is running there already")
	// ErrAlive: the program lives, which the request does not allow.
	ErrAlive = errors.New("the program is alive")
	// ErrNotRunning: there is no live program to do that to.
	ErrNotRunning = errors.New("the program is not running")
	// ErrStale: the request speaks of an instance that is not the current one.
	ErrStale = errors.New("not the current instance")
	// ErrUnknownOp: an older shim does not know the operation.
	ErrUnknownOp = errors.New("the shim does not know the operation")
	// ErrUnknownSocket: the slot has no socket of that name.
	ErrUnknownSocket = errors.New("no such socket in the slot")
	// ErrForbidden: only root and the shim's own user may command it.
	ErrForbidden = errors.New("not allowed to command this shim")
	// ErrClosed: the connection to the shim has ended.
	ErrClosed = errors.New("the connection to the shim is closed")
)

var sentinels = map[string]error{
	"alive":          ErrAlive,
	"not_running":    ErrNotRunning,
	"stale":          ErrStale,
	"unknown_op":     ErrUnknownOp,
	"unknown_socket": ErrUnknownSocket,
	"forbidden":      ErrForbidden,
}

// RemoteError is a refusal by the shim. It unwraps to a sentinel, a
// *listen.Error or an *ExecError where it is one.
type RemoteError struct {
	Code    string        `json:"code,omitempty"`
	Message string        `json:"message"`
	Errno   syscall.Errno `json:"errno,omitempty"`
	Listen  *listen.Error `json:"listen,omitempty"`
	Exec    *ExecError    `json:"exec,omitempty"`
}

func (e *RemoteError) Error() string { return e.Message }

func (e *RemoteError) Unwrap() error {
	switch {
	case e.Exec != nil:
		return e.Exec
	case e.Listen != nil:
		return e.Listen
	case e.Errno != 0:
		return e.Errno
	}
	return sentinels[e.Code]
}

// remote makes an error fit to travel.
func remote(err error) *RemoteError {
	r := &RemoteError{Message: err.Error()}
	errors.As(err, &r.Exec)
	errors.As(err, &r.Listen)
	errors.As(err, &r.Errno)
	for code, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			r.Code = code
		}
	}
	return r
}

// ExecError says why a program could not be run. It unwraps to the errno.
type ExecError struct {
	// Stage is what was being done: "chdir", "setuid", "execve", ...
	Stage string `json:"stage"`
	// Path is the file or directory concerned, if any.
	Path  string        `json:"path,omitempty"`
	Errno syscall.Errno `json:"errno"`
	// Detail is what a look at the file explained.
	Detail string `json:"detail,omitempty"`
}

func (e *ExecError) Error() string {
	s := e.Stage
	if e.Path != "" {
		s += " " + e.Path
	}
	s = fmt.Sprintf("%s: %v", s, e.Errno)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func (e *ExecError) Unwrap() error { return e.Errno }
