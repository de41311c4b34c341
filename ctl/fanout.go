package ctl

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// Bounds of asking many hosts at once. A connection with mutual TLS takes some 100
// KiB, and answers wait in memory for those of hosts before them.
const (
	inFlight  = 128              // hosts that are asked
	ahead     = 1024             // hosts that are asked or whose answers wait
	hostLimit = 10 * time.Second // for all that one host is asked
)

// reply is what came of asking one host.
type reply[T any] struct {
	host   inventory.Host
	answer T
	err    error
}

// fanOut asks every host, some at once, and hands their replies to each in the order of
// the hosts, as soon as those before have come. Every host is replied for, also after
// ctx ended. An error of each ends it; fanOut returns that when nobody asks any more.
func fanOut[T any](ctx context.Context, hosts []inventory.Host, ask func(context.Context, inventory.Host) (T, error), each func(reply[T]) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	order := make(chan chan reply[T], ahead)
	go func() {
		defer close(order)
		slots := make(chan struct{}, inFlight)
		for _, host := range hosts {
			slots <- struct{}{}
			answer := make(chan reply[T], 1)
			go func() {
				a, err := ask(ctx, host)
				<-slots
				answer <- reply[T]{host, a, err}
			}()
			order <- answer
		}
	}()
	var failed error
	for answer := range order {
		r := <-answer
		if failed != nil {
			continue
		}
		if failed = each(r); failed != nil {
			cancel()
		}
	}
	return failed
}

// unreachable is why nobody could be asked.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

var errSkipped = errors.New("the command ended before the host answered")

// sweep asks every host, hands the replies to each in the order of the hosts, calls end
// when there are no more, and ends the command with the code for all of them.
func sweep[T any](ctx context.Context, s *session, hosts []inventory.Host, ask func(context.Context, *client) (T, error), each func(reply[T]) error, end func() error) error {
	if err := s.dialable(hosts); err != nil {
		return err
	}
	var t tally
	err := fanOut(ctx, hosts,
		func(ctx context.Context, host inventory.Host) (T, error) { return visit(ctx, s, host, ask) },
		func(r reply[T]) error {
			t.add(r.host.Name, r.outcome())
			return each(r)
		})
	if err == nil {
		err = end()
	}
	if err != nil {
		return err
	}
	return s.account(ctx, t)
}

// visit asks one host for a limited time.
func visit[T any](ctx context.Context, s *session, host inventory.Host, ask func(context.Context, *client) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	answer, err := meet(limited, s, host, ask)
	if err != nil && ctx.Err() != nil {
		err = errSkipped
	}
	return answer, err
}

// meet asks one host by a connection of its own, which it closes.
func meet[T any](ctx context.Context, s *session, host inventory.Host, ask func(context.Context, *client) (T, error)) (answer T, err error) {
	if ctx.Err() != nil {
		return answer, errSkipped
	}
	c, err := s.reach(ctx, host)
	if err != nil {
		return answer, unreachable{err}
	}
	defer c.conn.Close()
	return ask(ctx, c)
}

// dialable returns what is wrong with every connection over the network, so that it is
// said once: a certificate that is missing is no fault of any host.
func (s *session) dialable(hosts []inventory.Host) error {
	for _, host := range hosts {
		if local(host) {
			continue
		}
		conn, err := s.dial(host)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return nil
}

// outcome is what came of it in a report's words.
func (r reply[T]) outcome() string {
	code := status.Code(r.err)
	switch {
	case r.err == nil:
		return "unchanged"
	case errors.Is(r.err, errSkipped):
		return "skipped"
	case errors.As(r.err, &unreachable{}), code == codes.Unavailable, code == codes.DeadlineExceeded:
		return "unreachable"
	}
	return "failed"
}

// object is the host's part of a report: to it comes what was asked for.
func (r reply[T]) object() object {
	o := object{{"host", r.host.Name}, {"outcome", r.outcome()}}
	if r.err != nil {
		o = append(o, member{"error", words(r.err)})
	}
	return o
}
