package ctl

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/gracefleet/gracefleet/internal/handover"
	"golang.org/x/sys/unix"
)

func (s *session) explainDialects() error {
	if s.structured() {
		all := []object{}
		for _, d := range handover.Dialects() {
			all = append(all, object{
				{"name", d.Name},
				{"programs", d.Programs},
				{"tells", d.Tells},
				{"ready", dialectReady(d)},
				{"drainSignal", signalName(d.Drain)},
				{"comparesAddresses", d.Compares},
				{"trap", d.Trap},
			})
		}
		return s.print(object{{"dialects", all}, {"placeholders", placeholders()}})
	}
	t := &table{head: []string{"DIALECT", "PROGRAMS", "TELLS", "READY BY ITSELF", "DRAIN", "ADDRESSES"}}
	for _, d := range handover.Dialects() {
		compares := "-"
		if d.Compares {
			compares = "must match"
		}
		t.add(cell{d.Name, ""}, cell{d.Programs, ""}, cell{d.Tells, ""}, cell{orDash(dialectReady(d)), ""},
			cell{signalName(d.Drain), ""}, cell{compares, ""})
	}
	if err := s.printTable(t); err != nil {
		return err
	}
	s.say("")
	s.say("Sockets are descriptors from %d on, in the order of the service file. Traps:", handover.FirstFD)
	for _, d := range handover.Dialects() {
		if d.Trap != "" {
			s.say("  %s: %s", d.Name, d.Trap)
		}
	}
	s.say("")
	s.say("Placeholders in command, args, env and handover.env, in every dialect:")
	for _, p := range handover.Placeholders {
		s.say("  %-17s %s", p[0], p[1])
	}
	return nil
}

func placeholders() []object {
	all := []object{}
	for _, p := range handover.Placeholders {
		all = append(all, object{{"placeholder", p[0]}, {"meaning", p[1]}})
	}
	return all
}

// dialectReady is what its programs say by themselves, as a readiness key.
func dialectReady(d handover.Dialect) string {
	switch {
	case len(d.ParentSignals) > 0:
		return "parent_signal"
	case d.Speaks:
		return "notify"
	}
	return ""
}

func (s *session) explainPresets(args []string) error {
	presets := handover.Presets()
	if len(args) > 0 {
		presets = slices.DeleteFunc(presets, func(p handover.Preset) bool { return p.Name != args[0] })
		if len(presets) == 0 {
			return usage("there is no preset %q: there are %s", args[0], strings.Join(handover.PresetNames(), ", "))
		}
	}
	if s.structured() {
		all := []object{}
		for _, p := range presets {
			all = append(all, object{
				{"name", p.Name},
				{"programs", p.Programs},
				{"dialect", p.Dialect},
				{"command", list(p.Command)},
				{"ready", p.Ready},
				{"drainMode", drainMode(p)},
				{"drainSignal", signalName(p.Drain)},
				{"reloadSignal", signalName(p.Reload)},
				{"wrongSignal", signalName(p.Wrong)},
				{"notes", list(p.Notes)},
			})
		}
		return s.print(object{{"presets", all}})
	}
	t := &table{head: []string{"PRESET", "PROGRAMS", "DIALECT", "READY", "DRAIN", "RELOAD", "NEVER SEND"}}
	for _, p := range presets {
		t.add(cell{p.Name, ""}, cell{p.Programs, ""}, cell{p.Dialect, ""}, cell{p.Ready, ""},
			cell{drainMode(p) + " " + signalName(p.Drain), ""}, cell{orDash(signalName(p.Reload)), ""}, cell{orDash(signalName(p.Wrong)), ""})
	}
	if err := s.printTable(t); err != nil {
		return err
	}
	s.say("")
	for _, p := range presets {
		if len(p.Command) > 0 {
			s.say("%s: command: %s", p.Name, strings.Join(quoted(p.Command), " "))
		}
		for _, note := range p.Notes {
			s.say("%s: %s", p.Name, note)
		}
	}
	return nil
}

// list is a list also when it is empty.
func list(texts []string) []string { return append([]string{}, texts...) }

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = word
		if strings.ContainsAny(word, " ;") {
			out[i] = fmt.Sprintf("%q", word)
		}
	}
	return out
}

func drainMode(p handover.Preset) string {
	if p.Patient {
		return "patient"
	}
	return "signal"
}

// signalName is SIGTERM and the like; empty for none.
func signalName(sig syscall.Signal) string { return unix.SignalName(sig) }
