package probe

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// ErrNotAProbe is returned for the kinds that are not an attempt: notify
// and alive_for are facts about a process that only its supervisor knows.
var ErrNotAProbe = errors.New("not a probe that can be run: notify and alive_for are observed, not asked")

// Target is the generation to ask.
type Target struct {
	// Dial connects to the generation's socket of that name.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
	// Accepted waits until the program has accepted conn: the kernel completes
	// connections of a listening socket that nobody serves. nil skips this.
	Accepted func(ctx context.Context, socket string, conn net.Conn) error
	// Env, Dir and Credential are those of an exec probe's command. A nil
	// Credential keeps the agent's own user.
	Env        []string
	Dir        string
	Credential *syscall.Credential
}

// Run makes one attempt, which lasts until ctx ends at most. The error is a
// cause of one line, such as "GET /healthz answered 500".
func Run(ctx context.Context, p service.Probe, t Target) error {
	switch {
	case p.HTTP != nil:
		return runHTTP(ctx, *p.HTTP, t)
	case p.GRPC != nil:
		return runGRPC(ctx, *p.GRPC, t)
	case p.TCP != nil:
		return runTCP(ctx, *p.TCP, t)
	case p.Exec != nil:
		return runExec(ctx, *p.Exec, t)
	}
	return ErrNotAProbe
}
