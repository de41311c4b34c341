package ctl

import (
	"strings"
	"testing"
)

// On a terminal a rollout is a tree that is redrawn, and what stays is the report.
func TestLiveRollout(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	held := f.agents["web-2"].rollouts
	held.slow = make(chan struct{})
	s := newScreen(t, 100)
	done := make(chan int)
	go func() {
		done <- Run(t.Context(), []string{"upgrade", "web", artifact, "--hosts", "web-*", "--waves", "1,3"}, Stdio{In: s.tty, Out: s.tty, Err: s.tty, Getenv: func(k string) string {
			return map[string]string{"GRACECTL_INVENTORY": f.file, "TERM": "xterm"}[k]
		}})
	}()
	s.await(t, "generation 8, 10%")
	held.mu.Lock()
	held.settle(held.claims[0])
	held.mu.Unlock()
	if code := <-done; code != ExitDone {
		t.Errorf("exit %d", code)
	}
	s.await(t, "completed: of 3 hosts upgraded 3")
	text := s.text()
	for _, want := range []string{"  wave 1 of 2             1 host  \x1b[32mupgraded 1\x1b[0m", "\x1b[33mupgrading 1\x1b[0m", "A\r\x1b[J"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	last := text[strings.LastIndex(text, "\x1b[J")+len("\x1b[J"):]
	if !strings.HasPrefix(plain(last), "HOST   WAVE  OUTCOME") {
		t.Errorf("left on the screen: %q", last)
	}
}
