package gracefleet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stolenWait bounds an Accept that lost its connection to another process: a
// socket held by systemd is shared by all generations.
const stolenWait = 20 * time.Millisecond

// deadliner is what the listeners of the net package have in common.
type deadliner interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// listener serves its queue to the end when the drain begins, and then pauses.
// The inherited socket is neither closed nor shut down, since it is the
// parent's; one the program bound itself is closed, so that clients are refused
// and try elsewhere.
type listener struct {
	deadliner
	svc   *Service
	owned bool

	accepting sync.Once
	pausing   sync.Once
	closing   sync.Once
	paused    chan struct{}
	closed    chan struct{}
	release   func()
}

func (s *Service) addListener(ln net.Listener, owned bool) (net.Listener, error) {
	d, ok := ln.(deadliner)
	if !ok {
		ln.Close()
		return nil, fmt.Errorf("%s listener %s cannot be paused: use a tcp or unix stream socket", ln.Addr().Network(), ln.Addr())
	}
	l := &listener{
		deadliner: d, svc: s, owned: owned, release: func() {},
		paused: make(chan struct{}), closed: make(chan struct{}),
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	return l, nil
}

// Accept waits for a connection, in a drain only for those already queued. A
// parent that shut the socket wants no more of them: the drain begins.
func (l *listener) Accept() (net.Conn, error) {
	l.begin()
	for !l.svc.isDraining() {
		c, err := l.deadliner.Accept()
		switch {
		case isShut(err):
			l.svc.opts.Logf("gracefleet: %s was shut down", l.Addr())
			l.svc.Drain()
		case err == nil || !errors.Is(err, os.ErrDeadlineExceeded):
			return c, err
		}
	}
	return l.acceptQueued()
}

// begin makes the drain wait until the queue was seen empty.
func (l *listener) begin() {
	l.accepting.Do(func() { l.release = l.svc.work.hold() })
}

func (l *listener) acceptQueued() (net.Conn, error) {
	for !l.isPaused() && l.queued() {
		// Bounds the wait, and undoes the deadline that woke Accept.
		if err := l.SetDeadline(time.Now().Add(stolenWait)); err != nil {
			return nil, err
		}
		c, err := l.deadliner.Accept()
		if isShut(err) || (err != nil && l.shut()) {
			break
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
	l.pause()
	select {
	case <-l.closed:
	case <-l.svc.ctx.Done():
	}
	return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
}

// isShut recognises the answer of accept(2) on a socket that no longer listens.
func isShut(err error) bool { return errors.Is(err, syscall.EINVAL) }

// queued says whether a connection waits to be accepted.
func (l *listener) queued() bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	err = raw.Control(func(fd uintptr) {
		n, _ = pollIn(fd)
	})
	return err == nil && n > 0
}

// shut says whether the parent has shut the socket: one of unix stays readable
// then, although accept finds nothing (unix_poll, RCV_SHUTDOWN).
func (l *listener) shut() bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return true
	}
	is := false
	err = raw.Control(func(fd uintptr) { is = readShut(fd) })
	return err != nil || is
}

// pollIn returns 1 when the descriptor is readable (for a listener: when its
// queue is not empty), without waiting.
func pollIn(fd uintptr) (int, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (l *listener) pause() {
	l.pausing.Do(func() {
		if l.owned {
			l.deadliner.Close()
		}
		close(l.paused)
		l.release()
	})
}

func (l *listener) isPaused() bool {
	select {
	case <-l.paused:
		return true
	default:
		return false
	}
}

// wake makes a blocked Accept look at the drain.
func (l *listener) wake() { l.SetDeadline(time.Unix(1, 0)) }

// Close ends Accept. The parent's socket goes on listening.
func (l *listener) Close() error {
	err := net.ErrClosed
	l.closing.Do(func() {
		err = l.deadliner.Close()
		close(l.closed)
		// Accept may never run again; the drain must not wait for it.
		l.accepting.Do(func() {})
		l.pausing.Do(func() {
			close(l.paused)
			l.release()
		})
		if l.owned && errors.Is(err, net.ErrClosed) {
			err = nil // paused before
		}
	})
	return err
}
