package rollout

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what happens into the scenario files")

// TestScenarios plays testdata/*.txt. A line "> event" is told to the machine;
// what follows it, up to an empty line, is the state then: the phase, the hosts by
// their progress, what is under way, and what was refused. Other lines are comments.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s tells another story now; go test -update, and read the difference:\n%s", file, got)
			}
		})
	}
}

func playScript(t *testing.T, script string) string {
	t.Helper()
	p := &player{t: t, at: 1}
	var out strings.Builder
	skip := false
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		event, isEvent := strings.CutPrefix(line, "> ")
		switch {
		case isEvent:
			out.WriteString(line + "\n")
			out.WriteString(p.tell(strings.Fields(event)))
			skip = true
		case line == "":
			out.WriteString("\n")
			skip = false
		case !skip:
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// player holds the machine and the clock of one scenario.
type player struct {
	t        *testing.T
	at       Time
	state    State
	revision int64
}

// tell says one event, of several hosts where they are named, and describes what
// became of it.
func (p *player) tell(words []string) string {
	switch words[0] {
	case "given":
		p.state = New(p.given(words[1:]))
		return p.describe()
	case "driver": // another one, that knows nothing
		p.state = New(p.state.Spec)
		return p.describe()
	}
	for _, e := range p.events(words) {
		next, err := Step(p.state, e)
		if err != nil {
			return "  refused: " + err.Error() + "\n"
		}
		p.state = next
	}
	return p.describe()
}

func (p *player) given(words []string) Spec {
	p.t.Helper()
	policy := DefaultPolicy()
	var hosts []Host
	var shape Shape
	var gates []string
	var err error
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "hosts":
			for h := range strings.SplitSeq(value, ",") {
				name, zone, _ := strings.Cut(h, "@")
				hosts = append(hosts, Host{Name: name, Labels: map[string]string{"zone": zone}})
				gates = append(gates, name)
			}
		case "gates":
			gates = append(gates, strings.Split(value, ",")...)
		case "canary":
			shape.Canary.Amount, err = ParseAmount(value)
		case "waves":
			shape.Waves, err = ParseWaves(value)
		case "spread":
			shape.Spread = value
		case "in-flight":
			policy.MaxInFlight, err = ParseMaxInFlight(value)
		case "failures":
			policy.MaxFailures, err = ParseAmount(value)
		case "wave-failures":
			policy.MaxWaveFailures, err = ParseAmount(value)
		case "unreachable":
			policy.MaxUnreachable, err = ParseAmount(value)
		case "pause":
			policy.Pause, policy.Manual, err = ParsePause(value)
		case "on-failure":
			policy.OnFailure, err = ParseOnFailure(value)
		default:
			p.t.Fatalf("given %q?", w)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	plan, err := Arrange(hosts, shape)
	if err != nil {
		p.t.Fatal(err)
	}
	return specOf(p.t, plan, policy, gates)
}

func specOf(t testing.TB, plan Plan, policy Policy, gates []string) Spec {
	t.Helper()
	s, err := NewSpec(Spec{
		Service: "web", Action: ActionUpgrade, Releases: []Release{{Artifact: digestA}}, Plan: plan, Policy: policy, Gates: gates, Request: Request{ID: "build-7", Actor: "alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var commandNames = map[string]EventType{"promote": Promote, "pause": Pause, "resume": Resume, "abort": Abort}

var factNames = map[string]EventType{
	"held": Held, "declined": Declined, "forgotten": Forgotten, "unreachable": Unreachable, "fetch-failed": FetchFailed, "fetch-delayed": FetchDelayed, "denied": Denied,
	"released": Released, "overtaken": Overtaken,
}

// events reads "promote", "after 30s", or hosts and what happens to them: "web1 web2
// failed READY_TIMEOUT". all means every host.
func (p *player) events(words []string) []Event {
	p.t.Helper()
	if c := commandNames[words[0]]; c != 0 {
		return []Event{{Type: c, At: p.at}}
	}
	if words[0] == "after" {
		d, err := time.ParseDuration(words[1])
		if err != nil {
			p.t.Fatal(err)
		}
		p.at = p.at.After(d)
		return []Event{{Type: Tick, At: p.at}}
	}
	var hosts []string
	for p.state.Host(words[0]) != nil || words[0] == "all" {
		hosts = append(hosts, words[0])
		words = words[1:]
	}
	if slices.Contains(hosts, "all") {
		hosts = nil
		for _, h := range p.state.targets() {
			hosts = append(hosts, h.Name)
		}
	}
	p.revision++
	e := Event{Type: factNames[words[0]], At: p.at, Revision: p.revision}
	for progress := Waiting; progress <= Skipped; progress++ {
		if progress.String() == words[0] {
			e.Type, e.Progress = Reported, progress
		}
	}
	if e.Type == 0 || len(hosts) == 0 {
		p.t.Fatalf("event %q?", words)
	}
	for _, w := range words[1:] {
		switch {
		case words[0] != w && wordOf(w) != nil:
			e.Control = *wordOf(w)
			e.Control.Revision = p.revision
		case w == "late":
			e.Revision = 0
		case e.Type == Reported || e.Type == Declined || e.Type == Denied:
			e.Reason = w
		default:
			e.Message = w
		}
	}
	var out []Event
	for _, h := range hosts {
		e.Host = h
		out = append(out, e)
	}
	return out
}

// wordOf reads what an operator left on a claim.
func wordOf(w string) *Control {
	switch w {
	case "paused":
		return &Control{Paused: true}
	case "resumed":
		return &Control{}
	case "aborted":
		return &Control{Abort: true}
	case "promoted-2":
		return &Control{PromotedWave: 2}
	}
	return nil
}

// describe is the state in words.
func (p *player) describe() string {
	s := &p.state
	var out strings.Builder
	fmt.Fprintf(&out, "  %v", s.Phase)
	if s.Phase == Rolling || s.Phase == Pausing {
		fmt.Fprintf(&out, " wave %d of %d", s.Wave+1, len(s.Spec.Plan.Waves))
	}
	if s.Ending != Open {
		fmt.Fprintf(&out, " %v", s.Ending)
	}
	if s.Why != "" {
		fmt.Fprintf(&out, ", %s", s.Why)
	}
	if s.Holder != "" {
		fmt.Fprintf(&out, " (%s)", s.Holder)
	}
	if s.Phase > Claiming && s.Phase < Closing && s.Hold() != Free {
		fmt.Fprintf(&out, "; held up: %v", s.Hold())
	}
	if t := s.Timer(); t != 0 {
		fmt.Fprintf(&out, "; next in %v", time.Duration(t-p.at))
	}
	fmt.Fprintf(&out, "; exit code %d\n", s.Verdict())
	for progress := Waiting; progress <= Skipped; progress++ {
		p.group(&out, progress.String(), func(h HostState) bool { return h.Progress == progress })
	}
	p.group(&out, "lost", func(h HostState) bool { return h.Lost })
	for kind := Claim; kind <= GiveUp; kind++ {
		var names, listening []string
		for _, e := range s.Effects() {
			switch {
			case e.Kind == kind && e.Listens:
				listening = append(listening, e.Host)
			case e.Kind == kind:
				names = append(names, e.Host)
			}
		}
		if len(listening) > 0 {
			fmt.Fprintf(&out, "  > %v, listening %s\n", kind, strings.Join(listening, " "))
		}
		if len(names) > 0 {
			fmt.Fprintf(&out, "  > %v %s\n", kind, strings.Join(names, " "))
		}
	}
	if s.Phase == Ended {
		for _, r := range s.Results() {
			fmt.Fprintf(&out, "  = %s: %s, serves %s", r.Host, r.Outcome, r.Serves)
			if r.Reason != "" {
				fmt.Fprintf(&out, ", %s", r.Reason)
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

func (p *player) group(out *strings.Builder, title string, in func(HostState) bool) {
	var names []string
	for _, h := range p.state.Hosts {
		if in(h) {
			names = append(names, h.Name)
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(out, "  %s: %s\n", title, strings.Join(names, " "))
	}
}
