package socket

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// WatchQueue calls found when something waits on the socket: once at the start
// if it does already, then whenever more arrives. It costs nothing meanwhile. It
// returns when ctx ends, with its error; f must stay open until then.
func WatchQueue(ctx context.Context, f *os.File, found func()) error {
	return eachEvent(ctx, f, unix.EPOLLIN, func(events uint32) {
		if events&unix.EPOLLIN != 0 {
			found()
		}
	})
}

// WatchListener calls lost when the listening socket is shut down, which the
// kernel reports as a hang-up, or at once if it was. It returns when ctx ends,
// with its error; f must stay open until then.
func WatchListener(ctx context.Context, f *os.File, lost func()) error {
	return eachEvent(ctx, f, unix.EPOLLRDHUP, func(events uint32) {
		if events&(unix.EPOLLHUP|unix.EPOLLRDHUP) != 0 {
			lost()
		}
	})
}

// eachEvent calls fn with what the kernel tells of the socket until ctx ends.
func eachEvent(ctx context.Context, f *os.File, events uint32, fn func(events uint32)) error {
	ep, err := epollOn(f, events)
	if err != nil {
		return fmt.Errorf("watch %s: %w", f.Name(), err)
	}
	defer ep.Close()
	return eachReadable(ctx, ep, func(fd int) (bool, error) {
		var ev [1]unix.EpollEvent
		n, err := unix.EpollWait(fd, ev[:], 0)
		if err == unix.EINTR || (err == nil && n == 0) {
			return false, nil
		}
		if err == nil {
			fn(ev[0].Events)
		}
		return err == nil, err
	})
}

// epollOn watches f edge-triggered, so that a queue nobody empties does not spin.
// The runtime's poller waits on the epoll descriptor: no thread is kept busy.
func epollOn(f *os.File, events uint32) (*os.File, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	err = listen.Control(f, func(target int) error {
		ev := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(target)}
		return unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, target, &ev)
	})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "epoll"), nil
}

// eachReadable calls read whenever f may be readable until ctx ends; read says
// whether there may be more.
func eachReadable(ctx context.Context, f *os.File, read func(fd int) (bool, error)) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var inner error
	err = c.Read(func(fd uintptr) bool {
		for more := true; more && inner == nil && ctx.Err() == nil; {
			more, inner = read(int(fd))
		}
		return inner != nil || ctx.Err() != nil
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case inner != nil:
		return inner
	}
	return err
}
