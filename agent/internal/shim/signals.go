package shim

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// maxRemembered bounds the signals and pids that an instance's record keeps.
const maxRemembered = 16

// absorb takes the signals that programs send to their parents; none of them ends
// the shim then. Those left out do nothing to a Go program that did not ask for
// them (os/signal), and asking costs two switches between threads for each, which
// a start would wait for. Who sent one is not known: that would take a signalfd,
// hence blocked signals, and Go's runtime keeps these unblocked.
func absorb() <-chan os.Signal {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
	ch := make(chan os.Signal, 64)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM)
	return ch
}

// receiveSignals turns signals into facts.
func (s *server) receiveSignals(signals <-chan os.Signal) {
	for sig := range signals {
		if number, ok := sig.(syscall.Signal); ok {
			s.received(int(number))
		}
	}
}

func (s *server) received(sig int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if c := s.state.Current; c != nil && len(c.Signals) < maxRemembered {
		c.Signals = append(c.Signals, ReceivedSignal{Signal: sig, Time: now})
	}
	s.emit(Event{Kind: EventSignal, Signal: sig, Time: now})
}
