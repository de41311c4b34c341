package runner

import (
	"context"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// ahead is a connection that is made before it is needed.
const ahead rollout.EffectKind = 0

// How many hosts are dialled before it is their turn to decide who drives: a hundred
// that are down do not cost a hundred timeouts.
const (
	aheadAtFirst = rollout.MaxGates
	aheadLater   = 64 // once one of them is known to be down
)

// batch bounds the messages that are taken in before effects are looked at, and gather
// the time: with a thousand hosts each look costs as much as a call.
const (
	batch  = 256
	gather = 10 * time.Millisecond
)

// drive is one run. Its goroutine alone has the state, and starts and stops tasks.
type drive struct {
	*Runner
	began   time.Time
	state   rollout.State
	running map[rollout.Effect]*task
	tasks   sync.WaitGroup
	held    *HeldError // who else is at it
	patient time.Time  // until when to stay though the rollout is held up; zero when it is not
}

func newDrive(r *Runner) *drive {
	d := &drive{Runner: r, began: time.Now(), state: rollout.New(r.spec), running: make(map[rollout.Effect]*task)}
	for _, h := range d.state.Hosts {
		r.hosts[h.Name] = &host{}
	}
	return d
}

// now never goes back, and looks like the time of day.
func (d *drive) now() rollout.Time {
	return rollout.Time(d.began.UnixNano()).After(time.Since(d.began))
}

func (d *drive) run(ctx context.Context) error {
	first := d.state
	d.observe(Change{Before: &first})
	if d.o.Command != 0 {
		d.step(message{event: rollout.Event{Type: d.o.Command, Message: d.o.Why}})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.reconcile(ctx)
		if d.over() {
			return d.verdict()
		}
		if wait, ok := d.next(); ok {
			timer.Reset(wait)
		}
		select {
		case m := <-d.inbox:
			d.takeAll(m)
		case <-timer.C:
			d.step(message{event: rollout.Event{Type: rollout.Tick}})
		case <-ctx.Done():
			return ErrDetached
		}
	}
}

// takeAll takes in a message and those that come soon after it.
func (d *drive) takeAll(m message) {
	d.step(m)
	soon := time.NewTimer(gather)
	defer soon.Stop()
	for range batch {
		select {
		case m := <-d.inbox:
			d.step(m)
		case <-soon.C:
			return
		}
	}
}

// step tells the machine, and the observer.
func (d *drive) step(m message) {
	before := d.state
	if m.event.Type == 0 {
		d.observe(Change{Host: m.host, Before: &before, Sent: m.sent, Size: m.size})
		return
	}
	if m.outdated() {
		return
	}
	m.event.At = d.now()
	// Facts are not refused, and a command says only what holds already.
	d.state, _ = rollout.Step(before, m.event)
	if m.held != nil && (d.held == nil || m.event.Type == rollout.Overtaken) {
		d.held = m.held
	}
	if begunAnew(&before, &d.state, m.event.Host) {
		d.stop(rollout.Effect{Kind: rollout.Upgrade, Host: m.event.Host, Release: d.releases[m.event.Host]})
	}
	d.observe(Change{Host: m.event.Host, Event: m.event, Report: m.report, Before: &before})
}

// outdated says that a message answers what is not asked any more, and says nothing that
// is true by itself: the end of a watch, say, once the claim is given up.
func (m message) outdated() bool {
	if m.from == nil || !m.from.stopped {
		return false
	}
	switch m.event.Type {
	case rollout.Reported, rollout.Released, rollout.Overtaken:
		return false
	}
	return true
}

// begunAnew says that the agent took the upgrade back, and is told to begin once more.
func begunAnew(before, after *rollout.State, host string) bool {
	was, is := before.Host(host), after.Host(host)
	return was != nil && is.Progress == rollout.Starting && (was.Progress == rollout.Upgrading || was.Progress == rollout.Soaking)
}

func (d *drive) observe(c Change) {
	state := d.state
	c.At, c.State = time.Now(), &state
	d.current.Store(&state)
	d.o.Observe(c)
}

// reconcile has exactly the effects of the state under way.
func (d *drive) reconcile(ctx context.Context) {
	effects := append(d.state.Effects(), d.ahead()...)
	wanted := make(map[rollout.Effect]bool, len(effects))
	for _, e := range effects {
		wanted[e] = true
	}
	for e := range d.running {
		if !wanted[e] {
			d.stop(e)
		}
	}
	for _, e := range effects {
		if d.running[e] == nil {
			d.start(ctx, e)
		}
	}
}

func (d *drive) start(ctx context.Context, e rollout.Effect) {
	ctx, stop := context.WithCancel(ctx)
	t := &task{Runner: d.Runner, Effect: e, host: d.hosts[e.Host], first: d.state.Phase == rollout.Gating, why: d.state.Why, stop: stop}
	d.running[e] = t
	d.tasks.Go(func() { t.run(ctx) })
}

func (d *drive) stop(e rollout.Effect) {
	if t := d.running[e]; t != nil {
		t.stop()
		t.stopped = true
		delete(d.running, e)
	}
}

// ahead are the hosts whose turn to decide comes next.
func (d *drive) ahead() []rollout.Effect {
	if d.state.Phase != rollout.Gating {
		return nil
	}
	many := aheadAtFirst
	if d.state.Gate > 0 {
		many = aheadLater
	}
	next := d.state.Gates[d.state.Gate+1:]
	var out []rollout.Effect
	for _, i := range next[:min(many, len(next))] {
		out = append(out, rollout.Effect{Kind: ahead, Host: d.state.Hosts[i].Name})
	}
	return out
}

// over says that there is nothing to stay for.
func (d *drive) over() bool {
	if d.state.Phase == rollout.Ended {
		return true
	}
	if !d.state.HeldUp() {
		d.patient = time.Time{}
		return false
	}
	if d.state.Hold() != rollout.TooManyLost {
		return true
	}
	if d.patient.IsZero() {
		d.patient = time.Now().Add(d.o.Patience)
	}
	return !time.Now().Before(d.patient)
}

// next is in how long something is to be looked at although nobody says anything; false
// when nothing is. Setting the time of day does not change it.
func (d *drive) next() (wait time.Duration, ok bool) {
	if t := d.state.Timer(); t != 0 {
		wait, ok = time.Duration(t-d.now()), true
	}
	if patience := time.Until(d.patient); !d.patient.IsZero() && (!ok || patience < wait) {
		wait, ok = patience, true
	}
	return wait, ok
}

func (d *drive) verdict() error {
	if d.held != nil && (d.state.Ending == rollout.Refused || d.state.Ending == rollout.Fenced) {
		return d.held
	}
	return nil
}
