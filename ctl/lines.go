package ctl

import (
	"fmt"
	"io"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// lines writes one line per change, for pipes and logs.
type lines struct {
	w      io.Writer
	errors io.Writer
	last   map[string]*pb.ServiceStatus
	// counted is when a generation's connections were last told, by name and
	// number: they may change many times a second.
	counted map[string]time.Time
}

func (l *lines) show(st *pb.ServiceStatus, now time.Time) {
	if l.last == nil {
		l.last, l.counted = map[string]*pb.ServiceStatus{}, map[string]time.Time{}
	}
	name := st.GetService().GetName()
	before := l.last[name]
	l.last[name] = st
	for _, line := range upgradeChanges(before.GetUpgrade(), st.GetUpgrade()) {
		fmt.Fprintf(l.w, "%s: %s\n", name, line)
	}
	for _, g := range st.GetGenerations() {
		old := generation(before, g.GetNumber())
		if before == nil && !alive(g) && g.GetNumber() != st.GetUpgrade().GetToGeneration() {
			continue // ended long ago
		}
		for _, line := range generationChanges(old, g) {
			fmt.Fprintf(l.w, "%s: generation %d: %s\n", name, g.GetNumber(), line)
		}
		l.connections(fmt.Sprintf("%s: generation %d", name, g.GetNumber()), g, now)
	}
}

// connections tells what is left of a draining generation, at most once a
// second.
func (l *lines) connections(name string, g *pb.Generation, now time.Time) {
	if g.GetState() != pb.Generation_STATE_DRAINING || g.OpenConnections == nil || now.Sub(l.counted[name]) < time.Second {
		return
	}
	l.counted[name] = now
	fmt.Fprintf(l.w, "%s: %s left%s\n", name, count(g.GetOpenConnections(), "connection"), deadline(g, now))
}

func (l *lines) drop(service string) { fmt.Fprintf(l.w, "%s: deleted\n", service) }
func (l *lines) tick(time.Time)      {}
func (l *lines) note(text string)    { fmt.Fprintln(l.errors, text) }
func (l *lines) clear()              {}

// upgradeChanges words what is new about an upgrade.
func upgradeChanges(old, up *pb.Upgrade) []string {
	if up == nil {
		return nil
	}
	if old.GetId() != up.GetId() {
		old = nil
	}
	var out []string
	if old.GetState() != up.GetState() {
		out = append(out, fmt.Sprintf("%s: %s", upgradeName(up), word(up.GetState())))
	}
	if old.GetStep() != up.GetStep() && up.GetState() == pb.Upgrade_STATE_CANARY {
		out = append(out, "step "+stepText(up))
	}
	if up.GetWaiting() && !old.GetWaiting() {
		out = append(out, fmt.Sprintf("waits for: gracectl promote %s --step", up.GetService()))
	}
	for _, w := range up.GetWarnings()[min(len(old.GetWarnings()), len(up.GetWarnings())):] {
		out = append(out, "warning: "+visible(w))
	}
	return out
}

// generationChanges words what is new about a generation.
func generationChanges(old, g *pb.Generation) []string {
	var out []string
	if old.GetState() != g.GetState() {
		text := word(g.GetState())
		if g.GetMessage() != "" {
			text += ": " + visible(g.GetMessage())
		}
		out = append(out, text)
	}
	if old.GetWeight() != g.GetWeight() {
		out = append(out, percent(g.GetWeight())+" of new connections")
	}
	if g.GetRestarts() > old.GetRestarts() && old != nil {
		out = append(out, fmt.Sprintf("restarted (%d)", g.GetRestarts()))
	}
	return out
}
