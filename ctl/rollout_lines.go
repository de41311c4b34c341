package ctl

import (
	"fmt"
	"io"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// rolloutLines writes one line per change, for pipes and logs.
type rolloutLines struct {
	w       io.Writer
	weights map[string]int32 // that were told, by host
}

func (l *rolloutLines) change(sc *scene, c runner.Change) {
	if c.Host != "" && c.Event.Type != 0 {
		l.host(sc, c)
	}
	for _, line := range wholeChanges(sc, c) {
		fmt.Fprintf(l.w, "%s: %s\n", sc.spec.Service, line)
	}
}

func (l *rolloutLines) host(sc *scene, c runner.Change) {
	if line := hostChange(sc, c); line != "" {
		fmt.Fprintf(l.w, "%s: %s\n", c.Host, line)
	}
	l.weight(c)
}

// weight tells how a canary goes on within a host.
func (l *rolloutLines) weight(c runner.Change) {
	r := c.Report
	if r.GetProgress() != pb.RolloutReport_PROGRESS_UPGRADING || r.GetWeight() == 0 || r.GetWeight() == l.weights[c.Host] {
		return
	}
	if l.weights == nil {
		l.weights = map[string]int32{}
	}
	l.weights[c.Host] = r.GetWeight()
	fmt.Fprintf(l.w, "%s: generation %d: %s of new connections\n", c.Host, r.GetGeneration(), percent(r.GetWeight()))
}

func (l *rolloutLines) tick(*scene, time.Time) {}
func (l *rolloutLines) note(text string)       { fmt.Fprintln(l.w, text) }
func (l *rolloutLines) clear()                 {}

// wholeChanges words what is new about a rollout as a whole.
func wholeChanges(sc *scene, c runner.Change) []string {
	now, before := c.State, c.Before
	var out []string
	if sc.first || now.Phase != before.Phase || now.Phase == rollout.Rolling && now.Wave != before.Wave {
		if text := phaseText(sc, now); text != "" {
			out = append(out, text)
		}
	}
	switch {
	case c.Event.Type == 0 || sc.hold == sc.was || now.Phase < rollout.Fetching || now.Phase >= rollout.Closing:
	case sc.hold == rollout.Free:
		out = append(out, "goes on")
	default:
		out = append(out, "held up: "+sc.hold.String())
	}
	return out
}

// phaseText is what a rollout is at; "" where that says nothing.
func phaseText(sc *scene, s *rollout.State) string {
	switch s.Phase {
	case rollout.Gating:
		return "rollout " + sc.id + " of " + count(len(sc.spec.Plan.Targets), "host")
	case rollout.Claiming:
		return "claiming " + count(len(sc.spec.Plan.Targets), "host")
	case rollout.Fetching:
		n := 0
		for _, h := range s.Hosts[:len(sc.spec.Plan.Targets)] {
			if h.Progress == rollout.Claimed && !h.Lost {
				n++
			}
		}
		if n == 0 {
			return ""
		}
		return "sending what is new to " + count(n, "host")
	case rollout.Rolling:
		return fmt.Sprintf("%s: %s", waveName(sc.spec, s.Wave), count(sc.spec.Plan.Waves[s.Wave], "host"))
	case rollout.Pausing:
		if sc.spec.Policy.Manual {
			return fmt.Sprintf("%s is through; the next waits for: gracectl rollout promote %s", waveName(sc.spec, s.Wave), sc.id)
		}
		return fmt.Sprintf("%s is through; the next begins in %s", waveName(sc.spec, s.Wave), sc.spec.Policy.Pause)
	case rollout.Undoing:
		return "going back: " + visible(s.Why)
	}
	return ""
}

// waveName is such as "wave 1 of 4 (canary)".
func waveName(spec rollout.Spec, wave int) string {
	text := fmt.Sprintf("wave %d of %d", wave+1, len(spec.Plan.Waves))
	if wave == 0 && spec.Plan.Canary {
		text += " (canary)"
	}
	return text
}

// hostChange words what is new about the host of a change; "" when that is nothing to
// tell.
func hostChange(sc *scene, c runner.Change) string {
	now, before := sc.now(c), sc.before(c)
	if c.Event.Type == rollout.FetchDelayed && now.Message != before.Message {
		return "still waits for what it lacks" + because(now.Message, "")
	}
	if progressWord(now) == progressWord(before) {
		return ""
	}
	switch now.Progress {
	case rollout.Waiting, rollout.Claimed, rollout.Pushed, rollout.Starting:
		if !now.Lost {
			return "" // as many as there are hosts, and soon over
		}
	}
	return hostText(now, sc.hosts[c.Host])
}

// hostText is where a host is, in one line.
func hostText(h rollout.HostState, a *player) string {
	text := progressWord(h)
	r := a.report
	switch h.Progress {
	case rollout.Upgrading, rollout.Soaking, rollout.Upgraded:
		text += fmt.Sprintf(": generation %d", r.GetGeneration())
		if r.GetPredecessor() != 0 {
			text += fmt.Sprintf(" (was %d)", r.GetPredecessor())
		}
		if r != nil && r.ConnectionsLeft != nil && h.Progress != rollout.Upgrading {
			text += ", " + count(r.GetConnectionsLeft(), "connection") + " left"
		}
	case rollout.RolledBack:
		if r.GetPredecessor() != 0 {
			text += fmt.Sprintf(": generation %d", r.GetPredecessor())
		}
	}
	return text + because(h.Message, h.Reason)
}

// because is why, if that is known.
func because(message, reason string) string {
	text := ""
	if message != "" {
		text = ": " + visible(message)
	}
	if reason != "" && reason != "ROLLED_BACK" && reason != "HELD" { // which is what is said anyway
		text += " (" + visible(reason) + ")"
	}
	return text
}
