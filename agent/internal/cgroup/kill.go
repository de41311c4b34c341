package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// killRounds bounds the signal loop against a program that forks faster.
const killRounds = 100

// Kill sends SIGKILL to every process in the cgroup and below, as one act where
// the kernel has cgroup.kill (5.14), else in rounds. It does not wait.
func (d Dir) Kill() error {
	err := os.WriteFile(d.file("cgroup.kill"), []byte("1"), 0)
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("kill cgroup %s: %w", d, err)
	}
	return d.killEach()
}

// killEach signals until a round meets no process it has not signalled before.
func (d Dir) killEach() error {
	done := map[int]bool{}
	for range killRounds {
		pids, err := d.Pids()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			if done[pid] {
				continue
			}
			done[pid], fresh = true, true
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("kill process %d of cgroup %s: %w", pid, d, err)
			}
		}
		if !fresh {
			return nil
		}
	}
	return fmt.Errorf("kill cgroup %s: it forks faster than it is killed", d)
}

// Await returns when no process is left in the cgroup or below. The kernel says
// so by POLLPRI on cgroup.events; nothing is polled in between.
func (d Dir) Await(ctx context.Context) error {
	if err := d.await(ctx); err != nil {
		return fmt.Errorf("wait for cgroup %s to empty: %w", d, err)
	}
	return nil
}

func (d Dir) await(ctx context.Context) error {
	events, err := os.Open(d.file("cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer events.Close()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // it must not write to a descriptor that was closed and reused
		}
	}()
	b := make([]byte, 256)
	for {
		n, err := events.ReadAt(b, 0)
		if n == 0 && errors.Is(err, unix.ENODEV) {
			return nil // removed
		}
		if n > 0 && !populated(b[:n]) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fds := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return err
		}
	}
}
