package rollout

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestTwoOperators begin different rollouts of a service at the same moment, each
// with targets of its own choice: one goes on, the other hears who does, and nothing
// is touched by two.
func TestTwoOperators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "hosts")
		var gates []string
		for i := range n {
			gates = append(gates, fmt.Sprintf("web%d", i))
		}
		holders := map[string]string{}
		operators := map[string]*State{}
		for _, name := range []string{"alice", "bob"} {
			s := New(drawLimited(t, gates, name))
			operators[name] = &s
		}
		for range 2000 {
			name := rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "operator")
			s := operators[name]
			effects := s.Effects()
			if len(effects) == 0 {
				continue
			}
			e := rapid.SampledFrom(effects).Draw(t, "effect")
			other := operators[map[string]string{"alice": "bob", "bob": "alice"}[name]]
			next, _ := Step(*s, answerOperator(holders, name, s, e))
			*s = next
			if s.touched() && s.Phase != Ended && other.touched() && other.Phase != Ended {
				t.Fatalf("both are at it:\n%+v\n%+v", s, other)
			}
			if s.Phase == Ended && other.Phase == Ended {
				break
			}
		}
		won := 0
		for name, s := range operators {
			switch v := s.Verdict(); {
			case v == Done:
				won++
			case v != HeldBySomeone || s.Holder == "" || s.Holder == name || s.touched():
				t.Fatalf("%s: %d, %+v", name, v, s)
			}
		}
		if won == 0 {
			t.Fatal("nobody won")
		}
	})
}

// drawLimited is a rollout to some of the hosts.
func drawLimited(t *rapid.T, gates []string, name string) Spec {
	var hosts []Host
	for _, g := range gates {
		if rapid.Bool().Draw(t, name+" "+g) {
			hosts = append(hosts, Host{Name: g})
		}
	}
	if len(hosts) == 0 {
		hosts = append(hosts, Host{Name: gates[len(gates)-1]})
	}
	plan, err := Arrange(hosts, Shape{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSpec(Spec{
		Service: "web", Action: ActionUpgrade, Releases: []Release{{Artifact: digestA}}, Plan: plan, Policy: DefaultPolicy(), Gates: gates, Request: Request{ID: name, Actor: name},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func answerOperator(holders map[string]string, name string, s *State, e Effect) Event {
	progress := s.Host(e.Host).Progress
	switch {
	case e.Kind == Claim && holders[e.Host] != "" && holders[e.Host] != name:
		return Event{Type: Held, At: 1, Host: e.Host, Message: holders[e.Host]}
	case e.Kind == Claim:
		holders[e.Host] = name
		progress = Pushed
	case e.Kind == Upgrade:
		progress = Upgraded
	case e.Kind == GiveUp:
		if holders[e.Host] == name {
			holders[e.Host] = ""
		}
		return Event{Type: Released, At: 1, Host: e.Host, Progress: progress, Ending: e.Ending}
	}
	return Event{Type: Reported, At: 1, Host: e.Host, Progress: progress}
}

// TestWhoAborted: hosts and the report are told whose word an abort is, in as much as
// hosts take.
func TestWhoAborted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		by := rapid.StringN(0, -1, 2*maxWhy).Draw(t, "by")
		host := f.spec.Plan.Targets[0].Name
		s, err := Step(New(f.spec), Event{Type: Reported, Host: host, Progress: Claimed, Revision: 1, Control: Control{Revision: 1, Abort: true, By: by}})
		if err != nil {
			t.Fatal(err)
		}
		want := "aborted by " + by
		if by == "" {
			want = "aborted by an operator"
		}
		if !s.Aborting || len(s.Why) > maxWhy || !utf8.ValidString(s.Why) || !strings.HasPrefix(want, s.Why) || len(want) < maxWhy && s.Why != want {
			t.Fatalf("%q: want %q", s.Why, want)
		}
	})
}
