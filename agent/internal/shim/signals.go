package shim

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// maxRemembered bounds the signals and pids that an instance's record keeps.
const maxRemembered = 16

// absorb takes every signal a program might send to its parent; none of them
// ends the shim then. Who sent one is not known: that would take a signalfd,
// hence blocked signals, and Go's runtime keeps these unblocked.
func absorb() <-chan os.Signal {
	list := []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGTERM, syscall.SIGTSTP, syscall.SIGTTIN,
		syscall.SIGTTOU, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGVTALRM, syscall.SIGWINCH,
		syscall.SIGIO, syscall.SIGPWR,
	}
	for sig := syscall.Signal(35); sig <= 64; sig++ { // realtime; 32 to 34 are libc's
		list = append(list, sig)
	}
	ch := make(chan os.Signal, 64)
	signal.Notify(ch, list...)
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
