package ctl

import (
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// rolloutView is what is seen of a rollout while it goes on. One goroutine calls it.
type rolloutView interface {
	// change shows what has changed; the scene has it already.
	change(sc *scene, c runner.Change)
	// tick comes several times a second.
	tick(sc *scene, now time.Time)
	// note says something beside it.
	note(text string)
	// clear ends the view and leaves nothing half drawn.
	clear()
}

// show has a goroutine that owns a scene, its view and who is told of it.
type show struct {
	s       *session
	changes chan runner.Change
	notes   chan string
	done    chan struct{}
	notify  *notifier
}

// showQueue is how many changes may wait: the driver goes on meanwhile.
const showQueue = 1024

func (s *session) startShow(sc *scene, urls []string) *show {
	w := &show{s: s, changes: make(chan runner.Change, showQueue), notes: make(chan string, showQueue), done: make(chan struct{})}
	w.notify = startNotifier(urls, sc, w.tell)
	go w.run(sc, s.rolloutView())
	return w
}

func (s *session) rolloutView() rolloutView {
	if s.structured() {
		return &rolloutRecords{s: s}
	}
	if f, ok := s.animated(s.stdio.Err); ok {
		return &rolloutLive{block: block{file: f}, colors: s.colored(f)}
	}
	return &rolloutLines{w: s.stdio.Err}
}

func (w *show) run(sc *scene, v rolloutView) {
	defer close(w.done)
	defer v.clear()
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case c, ok := <-w.changes:
			if !ok {
				return
			}
			sc.take(c)
			v.change(sc, c)
			w.notify.change(sc, c)
		case text := <-w.notes:
			v.note(text)
		case now := <-tick.C:
			v.tick(sc, now)
		}
	}
}

// tell says something beside the rollout. It never blocks.
func (w *show) tell(text string) {
	select {
	case w.notes <- text:
	default: // one of very many
	}
}

// observe is told by the driver.
func (w *show) observe(c runner.Change) { w.changes <- c }

// end ends it; the scene is the caller's then. State is how the rollout ended, nil when
// it never began.
func (w *show) end(state *rollout.State) {
	close(w.changes)
	<-w.done
	w.notify.end(state)
	for len(w.notes) > 0 {
		w.s.note("%s", <-w.notes)
	}
}
