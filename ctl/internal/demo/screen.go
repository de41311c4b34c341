package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// screen shows the story, and on a terminal below it a line that counts.
type screen struct {
	out      io.Writer
	animated bool

	mu   sync.Mutex
	live string // services as they stand
	load *load.Load
	end  chan struct{}
	done chan struct{}
}

const (
	redraw = 100 * time.Millisecond
	erase  = "\r\x1b[2K"
)

func newScreen(o Options) *screen { return &screen{out: o.Out, animated: o.Animated} }

func (s *screen) title(format string, args ...any) {
	s.print("\n" + fmt.Sprintf(format, args...))
}

// act begins a chapter and shows the command that does the same.
func (s *screen) act(name, command string) {
	s.print("\n" + name + "\n   $ " + command)
}

func (s *screen) say(format string, args ...any) {
	s.print("   " + fmt.Sprintf(format, args...))
}

// result shows what the load saw.
func (s *screen) result(r Report, lost []string) {
	s.title("%d requests sent, %d answered, %d lost", r.Sent, r.Answered, r.Lost)
	s.say("longest time without an answer: %s", short(r.LongestGap))
	for _, e := range lost {
		s.say("lost: %s", e)
	}
}

func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.animated {
		fmt.Fprint(s.out, erase)
	}
	fmt.Fprintln(s.out, text)
}

// state remembers who takes new connections.
func (s *screen) state(st *pb.ServiceStatus) {
	var parts []string
	for _, g := range st.GetGenerations() {
		if g.GetState() < pb.Generation_STATE_STOPPED {
			name := strings.ToLower(strings.TrimPrefix(g.GetState().String(), "STATE_"))
			parts = append(parts, fmt.Sprintf("generation %d (%s) %s %d%%", g.GetNumber(), g.GetVersion(), name, g.GetWeight()/100))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = strings.Join(parts, ", ")
}

// follow shows a load's counts until stop.
func (s *screen) follow(l *load.Load) {
	s.mu.Lock()
	s.load = l
	s.end, s.done = make(chan struct{}), make(chan struct{})
	s.mu.Unlock()
	if !s.animated {
		close(s.done)
		return
	}
	go s.animate()
}

func (s *screen) animate() {
	defer close(s.done)
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			now := s.load.Snapshot()
			s.mu.Lock()
			fmt.Fprintf(s.out, "%s   %d answered, %d lost | %s", erase, now.Answered(), now.Lost(), s.live)
			s.mu.Unlock()
		case <-s.end:
			s.mu.Lock()
			fmt.Fprint(s.out, erase)
			s.mu.Unlock()
			return
		}
	}
}

// stop ends the counting line; stopping twice is no error.
func (s *screen) stop() {
	s.mu.Lock()
	end, done := s.end, s.done
	s.end = nil
	s.mu.Unlock()
	if end == nil {
		return
	}
	close(end)
	<-done
}

func short(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
