package gracefleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The causes with which Context ends.
var (
	// ErrDrained: all work has ended; Wait returns nil.
	ErrDrained = errors.New("drained")
	// ErrDeadline: the drain lasted DrainTimeout.
	ErrDeadline = errors.New("drain deadline reached")
	// ErrInterrupted: a second signal ended the drain.
	ErrInterrupted = errors.New("drain interrupted by a second signal")
)

// statusInterval bounds how often the parent hears of counts.
const statusInterval = time.Second

// watchSignals starts the drain at the first signal and ends it at the second.
// After that the signals have their usual effect again: a program that hangs in
// its own clean-up can still be ended from the keyboard.
func (s *Service) watchSignals() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM)
	if s.parent.kind == standalone {
		signal.Notify(signals, syscall.SIGINT)
	}
	s.owned.Go(func() {
		defer signal.Stop(signals)
		for range 2 {
			select {
			case <-signals:
			case <-s.ctx.Done():
				return
			}
			if s.isDraining() {
				s.end(ErrInterrupted)
				return
			}
			s.Drain()
		}
	})
}

// Drain begins the drain, as SIGTERM does. It returns at once; calling it again
// does nothing.
func (s *Service) Drain() {
	s.drain.Do(func() {
		s.opts.Logf("gracefleet: draining: %s left, deadline in %v", s.work, s.opts.DrainTimeout)
		s.deadline = time.AfterFunc(s.opts.DrainTimeout, func() { s.end(ErrDeadline) })
		close(s.draining)
		s.mu.Lock()
		for _, l := range s.listeners {
			l.wake()
		}
		s.mu.Unlock()
		s.owned.Go(s.reportStatus)
	})
}

// reportStatus tells the parent how the drain goes, at change.
func (s *Service) reportStatus() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	fields := []string{"STOPPING=1"}
	last := ""
	for {
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			return
		}
		if left := s.work.String(); left != last {
			last = left
			if err := s.notify.send(append(fields, "STATUS=draining: "+left)...); err != nil {
				s.opts.Logf("gracefleet: %v", err)
			}
			fields = nil
		}
		select {
		case <-s.work.changed:
		case <-s.ctx.Done():
			return
		}
		pause.Reset(statusInterval)
	}
}

// end closes the Context, the first time only.
func (s *Service) end(cause error) {
	s.finish.Do(func() {
		s.left = s.work.String()
		s.cancel(cause)
	})
}

// Wait returns nil once a drain has begun and all work has ended: every queue
// served, every HTTP server drained, every Track done. Otherwise the error says
// what was left: at the deadline (ErrDeadline), at a second signal
// (ErrInterrupted), or when ServeHTTP failed. The program should exit then.
func (s *Service) Wait() error {
	select {
	case <-s.draining:
		select {
		case <-s.work.drained():
			s.end(ErrDrained)
		case <-s.ctx.Done():
		}
	case <-s.ctx.Done():
	}
	<-s.ctx.Done()
	s.drain.Do(func() { close(s.draining) })
	if s.deadline != nil {
		s.deadline.Stop()
	}
	s.owned.Wait()
	s.pauseUnused()
	cause := context.Cause(s.ctx)
	if errors.Is(cause, ErrDrained) {
		return nil
	}
	err := fmt.Errorf("%w: cut off %s", cause, s.left)
	if nerr := s.notify.send("STATUS=" + err.Error()); nerr != nil {
		s.opts.Logf("gracefleet: %v", nerr)
	}
	return err
}

// pauseUnused lets go of the listeners that nobody ever accepted from.
func (s *Service) pauseUnused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.accepting.Do(l.pause)
	}
}
