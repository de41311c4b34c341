package ctl

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// largeScene is a thousand hosts in the middle of a rollout.
func largeScene(t testing.TB) *scene {
	t.Helper()
	hosts := make([]rollout.Host, 1000)
	for i := range hosts {
		hosts[i].Name = fmt.Sprintf("web-%04d", i)
	}
	waves, err := rollout.ParseWaves("1,10%,20%,30%,40%,50%,60%,70%,80%,90%,100%")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := rollout.Arrange(hosts, rollout.Shape{Canary: rollout.Canary{Amount: rollout.Amount{N: 1}}, Waves: waves})
	if err != nil {
		t.Fatal(err)
	}
	policy := rollout.DefaultPolicy()
	policy.MaxFailures = rollout.Amount{N: 50}
	spec, err := rollout.NewSpec(rollout.Spec{
		Service: "web", Action: rollout.ActionRestart, Releases: []rollout.Release{{}}, Plan: plan, Policy: policy,
		Gates: []string{"web-0000"}, Request: rollout.Request{ID: "r", Actor: "alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	sc := newScene(spec)
	sc.begun = noon
	s := rollout.New(spec)
	s.Phase, s.Wave = rollout.Rolling, 5
	for i := range s.Hosts {
		h := &s.Hosts[i]
		switch {
		case h.Wave < 5:
			h.Progress = rollout.Upgraded
		case h.Wave == 5 && i%10 == 3:
			h.Progress, h.Message = rollout.Soaking, ""
			sc.hosts[h.Name].report = &pb.RolloutReport{Generation: 8, ConnectionsLeft: ptr(int32(12))}
		case h.Wave == 5:
			h.Progress = rollout.Upgrading
			sc.hosts[h.Name].report = &pb.RolloutReport{Generation: 8, Weight: 1000}
		default:
			h.Progress = rollout.Pushed
		}
	}
	s.Hosts[250].Progress, s.Hosts[250].Message, s.Hosts[250].Touched = rollout.Failed, "it exited\x1b[2J with status 3", true
	s.Hosts[450].Lost, s.Hosts[450].Message = true, "no route to host"
	sc.waves[0].begin = noon
	sc.take(runner.Change{At: noon, Event: rollout.Event{Type: rollout.Tick}, Before: &s, State: &s})
	return sc
}

// However many hosts there are, what is to be looked at is on the screen.
func TestTreeOfAThousandHosts(t *testing.T) {
	sc := largeScene(t)
	for most := 1; most <= 60; most++ {
		lines := rolloutTree(sc, noon.Add(time.Minute), most, false)
		if len(lines) > most {
			t.Errorf("%d lines, of at most %d", len(lines), most)
		}
		text := strings.Join(lines, "\n")
		whole := strings.Contains(text, "waves 1 to ") && strings.Contains(text, "wave 6 of 11 ") && strings.Contains(text, " to 11 ")
		if !whole && most >= 4 || most >= 10 && !strings.Contains(text, "waves 1 to 2 ") || strings.Contains(text, "\x1b") {
			t.Errorf("%d:\n%s", most, text)
		}
		if most == 24 {
			golden(t, "rollout-tree.txt", strings.ReplaceAll(text, sc.id, "r-ID")+"\n")
		}
	}
}

// BenchmarkTree draws a thousand hosts once.
func BenchmarkTree(b *testing.B) {
	sc := largeScene(b)
	for b.Loop() {
		rolloutTree(sc, noon, 24, true)
	}
}
