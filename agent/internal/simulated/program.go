package simulated

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// program is one run of a pretended program. It is safe for concurrent use.
type program struct {
	number, generation, pid int
	startedAt               time.Time
	ready, ended            chan struct{}

	mu     sync.Mutex
	timers []*time.Timer
	exit   supervisor.Exit // once ended is closed
}

func start(h *Host, l supervisor.Launch) *program {
	p := &program{
		number: l.Instance, generation: l.Generation, pid: h.pid(), startedAt: time.Now(),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	switch h.conduct.Fate(l.Spec.Artifact) {
	case Serves:
		p.after(h.conduct.Ready, func() { close(p.ready) })
	case Fails:
		p.after(h.conduct.Ready, func() { p.end(supervisor.Exit{Code: 1}) })
	case Hangs:
	}
	return p
}

// after does something later, unless the program has ended then.
func (p *program) after(d time.Duration, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return
	}
	p.timers = append(p.timers, time.AfterFunc(d, do))
}

// end ends it, once.
func (p *program) end(x supervisor.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return
	}
	for _, t := range p.timers {
		t.Stop()
	}
	x.Time = time.Now()
	p.exit = x
	close(p.ended)
}

func (p *program) kill() { p.end(supervisor.Exit{Signal: int(syscall.SIGKILL)}) }

func (p *program) alive() bool { return !closed(p.ended) }

// await returns when it has ended.
func (p *program) await(ctx context.Context) (supervisor.Exit, error) {
	select {
	case <-p.ended:
		return p.exit, nil
	case <-ctx.Done():
		return supervisor.Exit{}, context.Cause(ctx)
	}
}

// awaitReady returns when it is ready.
func (p *program) awaitReady(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// probe says whether it answers.
func (p *program) probe() error {
	if p.alive() && closed(p.ready) {
		return nil
	}
	return fmt.Errorf("the simulated program %d does not answer", p.pid)
}

func (p *program) instance() supervisor.Instance {
	i := supervisor.Instance{Number: p.number, Generation: p.generation, PID: p.pid, Alive: p.alive(), Ready: closed(p.ready), StartedAt: p.startedAt}
	if !i.Alive {
		i.Exit = p.exit
	}
	return i
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
