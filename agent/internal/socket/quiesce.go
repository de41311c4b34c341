package socket

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// Target is one socket of a slot at weight 0.
type Target struct {
	File    *os.File
	Address service.Address
}

// settle is how long a SYN may still be under way with the answer of the program
// that was attached before.
const settle = 10 * time.Millisecond

// Quiesce waits until nothing can land on the targets any more and all that did
// has been accepted or read: the handshakes under way on their ports when it was
// called have ended, then every queue is empty. The slot must have weight 0 and
// its program must still accept. Only ctx bounds it; with nothing under way it
// takes 10 ms.
func Quiesce(ctx context.Context, targets []Target) error {
	since, err := Handshakes(ctx, targets)
	if err != nil {
		return err
	}
	return quiesceKnown(ctx, targets, since)
}

// quiesceKnown waits for some handshakes, then for empty queues.
func quiesceKnown(ctx context.Context, targets []Target, since map[uint64]bool) error {
	left := maps.Clone(since)
	err := poll(ctx, func() (bool, error) {
		if len(left) == 0 {
			return true, nil
		}
		now, err := requestSockets(targets)
		maps.DeleteFunc(left, func(c uint64, _ bool) bool { return !now[c] })
		return len(left) == 0, err
	})
	if err != nil {
		return fmt.Errorf("quiesce: %d handshakes did not end: %w", len(left), err)
	}
	for _, t := range targets {
		if err := emptied(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func emptied(ctx context.Context, t Target) error {
	queued := 0
	err := poll(ctx, func() (done bool, err error) {
		queued, _, err = Queue(t.File)
		return queued == 0, err
	})
	if err != nil {
		return fmt.Errorf("quiesce %s: %d still queued: %w", t.Address, queued, err)
	}
	return nil
}

// Handshakes returns the cookies of the request sockets on the targets' tcp ports.
// They are listed after 10 ms, since a SYN may have run the program that was
// attached before; what ended its handshake by then is in a queue. Waiting for an
// empty list instead would never end under load: other slots share the port.
func Handshakes(ctx context.Context, targets []Target) (map[uint64]bool, error) {
	if err := pause.For(ctx, settle); err != nil {
		return nil, err
	}
	return requestSockets(targets)
}

// Pending returns how many connections (for udp: bytes) wait on the targets,
// plus how many handshakes may still end there: those of since that are still
// under way, or with nil all of the targets' ports. A slot is dismissed at 0.
func Pending(ctx context.Context, targets []Target, since map[uint64]bool) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n := 0
	now, err := requestSockets(targets)
	if err != nil {
		return 0, err
	}
	for c := range now {
		if since == nil || since[c] {
			n++
		}
	}
	// Queues last: what ends its handshake meanwhile shows up there.
	for _, t := range targets {
		queued, _, err := Queue(t.File)
		if err != nil {
			return 0, err
		}
		n += queued
	}
	return n, nil
}

// requestSockets lists handshakes; the kernel does not tell whose listener's.
func requestSockets(targets []Target) (map[uint64]bool, error) {
	found := map[uint64]bool{}
	for _, r := range requests(targets) {
		if err := inetDump(r, func(s *inetSock) { found[s.cookie] = true }); err != nil {
			return nil, fmt.Errorf("list the handshakes on port %d: %w", r.port, err)
		}
	}
	return found, nil
}

func requests(targets []Target) []inetRequest {
	var out []inetRequest
	seen := map[inetRequest]bool{}
	for _, t := range targets {
		if t.Address.Network != service.TCP {
			continue
		}
		r := inetRequest{family: family(t.Address), proto: unix.IPPROTO_TCP, states: requestStates, port: t.Address.Port}
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

// family of the sockets that an address has, and of those accepted from them:
// a dual-stack listener's are AF_INET6, also for IPv4 clients.
func family(a service.Address) uint8 {
	if a.IP.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// The kernel has no event for what poll awaits: it asks again, ever less often.
const (
	pollFirst = 200 * time.Microsecond
	pollMost  = 50 * time.Millisecond
)

func poll(ctx context.Context, done func() (bool, error)) error {
	for wait := pollFirst; ; wait = min(wait*2, pollMost) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}
