package socket

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Close closes the sockets and returns once the kernel has. That may be later than
// close(2): a child of this process that is between fork and exec has a copy of every
// descriptor, and a call that is under way on one holds it, too. Until then the socket
// is in its group, at its index. Only ctx bounds the wait; its error says who is left.
func Close(ctx context.Context, targets []Target) error {
	left := map[uint64]service.Address{}
	var errs []error
	for _, t := range targets {
		if t.Address.Network != service.Unix {
			c, err := listen.Cookie(t.File)
			errs = append(errs, err)
			left[c] = t.Address
		}
		t.File.Close()
	}
	err := poll(ctx, func() (bool, error) {
		for c, a := range left {
			listeners, err := Listeners(ctx, a)
			if err != nil {
				return false, err
			}
			if !slices.ContainsFunc(listeners, func(l Listener) bool { return l.Cookie == c }) {
				delete(left, c)
			}
		}
		return len(left) == 0, nil
	})
	for _, a := range left {
		errs = append(errs, fmt.Errorf("the closed socket on %s is still open somewhere", a))
	}
	return errors.Join(append(errs, err)...)
}
