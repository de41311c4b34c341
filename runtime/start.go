package gracefleet

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// Defaults of the Options.
const (
	DefaultDrainTimeout = 30 * time.Second
	// DefaultLameDuck lets most clients hear of the end instead of meeting it:
	// of 2000 connections whose clients pause for up to 8 s, 62 % were told
	// within 5 s and 13 % within 1 s (over loopback none lost a request either
	// way).
	DefaultLameDuck = 5 * time.Second
)

// Options tune a Service; the zero value is right for most programs.
type Options struct {
	// DrainTimeout is how long a drain may last before Context ends and Wait
	// returns; 0 means DefaultDrainTimeout. Keep it below the parent's own
	// limit, or the parent kills before the program can say what was cut.
	DrainTimeout time.Duration
	// LameDuck is how long an idle HTTP connection of a draining program is left
	// for one more request, whose answer then announces the end; 0 means
	// DefaultLameDuck. Choose more than the pause between two requests of most
	// clients: what is still idle afterwards is closed, and a request that
	// crosses that close on the network is the client's to repeat.
	LameDuck time.Duration
	// Logf, when set, hears of what the program cannot be told otherwise: a
	// drain that begins, a parent that cannot be reached.
	Logf func(format string, args ...any)
}

// Service is the program's side of its supervision. All methods may be called
// from several goroutines.
type Service struct {
	opts   Options
	parent parent
	notify notifier

	ctx      context.Context
	cancel   context.CancelCauseFunc
	draining chan struct{}
	drain    sync.Once
	finish   sync.Once
	left     string // what was in flight when ctx ended; set before that
	deadline *time.Timer
	owned    sync.WaitGroup // the service's own goroutines
	work     *tracker

	mu        sync.Mutex
	inherited []*inheritedSocket
	listeners []*listener
	servers   map[*http.Server]*httpServer
}

// Start takes over what the parent left: listening sockets, the way to report
// to it, the generation's number. It removes LISTEN_* and NOTIFY_SOCKET from
// the environment and marks the descriptors close-on-exec, so that programs
// started by this one get neither. Call it once, before anything else opens
// files. From then on SIGTERM (and SIGINT when started from a shell) starts the
// drain, and a second one ends it at once.
//
// It fails when the parent announced descriptors that are not there or are not
// listening sockets.
func Start(opts Options) (*Service, error) {
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = DefaultDrainTimeout
	}
	if opts.LameDuck == 0 {
		opts.LameDuck = DefaultLameDuck
	}
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	env := takeEnvironment()
	names, err := env.descriptors(os.Getpid())
	if err != nil {
		return nil, err
	}
	sockets, err := inherit(names)
	if err != nil {
		return nil, err
	}
	p, err := env.parent(len(names) > 0)
	if err != nil {
		return nil, fmt.Errorf("environment left by graced: %w", err)
	}
	s := &Service{
		opts:      opts,
		parent:    p,
		notify:    notifier{path: env.notifySocket},
		draining:  make(chan struct{}),
		work:      newTracker(),
		inherited: sockets,
		servers:   make(map[*http.Server]*httpServer),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.watchSignals()
	return s, nil
}

// Context ends when the drain has ended, at the latest at its deadline.
// [context.Cause] says why: ErrDrained, ErrDeadline, ErrInterrupted, or the
// error that ended ServeHTTP. Give it to work that must not outlive the
// service.
func (s *Service) Context() context.Context { return s.ctx }

// Draining is closed when the drain begins.
func (s *Service) Draining() <-chan struct{} { return s.draining }

// Generation is the number graced gave to this deployment, 0 under any other
// parent.
func (s *Service) Generation() int { return s.parent.generation }

func (s *Service) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}
