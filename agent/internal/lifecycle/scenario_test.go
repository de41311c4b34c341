package lifecycle

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what happens into the scenario files")

// TestScenarios plays testdata/*.txt. A line "> event" is told to the machine;
// what follows it, up to an empty line, is the state then: each generation with
// its share of new connections, the upgrade, what is under way, and what was
// refused. Other lines are comments.
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
			got := play(t, string(want))
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

// player holds the machine and the clock of one scenario.
type player struct {
	state State
	at    Time
	plan  Plan
	rules Policy
}

func play(t *testing.T, script string) string {
	t.Helper()
	p := &player{at: 1, rules: Policy{
		ReadyTimeout: 30 * time.Second, DrainTimeout: 20 * time.Second, RollbackWindow: 10 * time.Minute, MaxGenerations: 16,
		Restart: Restart{Always: true, Backoff: 200 * time.Millisecond, MaxBackoff: 10 * time.Second, Hold: 5 * time.Second},
	}}
	var out strings.Builder
	skip := false
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		event, isEvent := strings.CutPrefix(line, "> ")
		switch {
		case isEvent:
			out.WriteString(line + "\n")
			out.WriteString(p.tell(t, event))
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

// tell says one event and describes what became of it.
func (p *player) tell(t *testing.T, text string) string {
	t.Helper()
	words := strings.Fields(text)
	if words[0] == "given" {
		p.given(t, words[1:])
		return ""
	}
	e := p.event(t, words)
	if e.At == 0 {
		e.At = p.at
	}
	p.at = e.At
	next, err := Step(p.state, e)
	p.state = next
	if err != nil {
		return "  refused: " + err.Error() + "\n"
	}
	return p.describe()
}

// given changes the policy or the plan for what begins after it.
func (p *player) given(t *testing.T, words []string) {
	t.Helper()
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "patient":
			p.rules.PatientDrain = true
		case "patience":
			p.rules.Patience = duration(t, value)
		case "alone":
			p.rules.Alone, p.rules.OverlapLimit = true, duration(t, value)
		case "never-restart":
			p.rules.Restart = Restart{}
		case "max":
			p.rules.MaxGenerations = number(t, value)
		case "soak":
			p.plan.Soak = duration(t, value)
		case "hold-soak":
			p.plan.HoldSoak = true
		case "hold":
			p.plan.Hold = duration(t, value)
		case "min":
			p.plan.MinConnections, p.plan.StepTimeout = number(t, value), time.Minute
		case "steps":
			for _, s := range strings.Split(value, ",") {
				share, manual := strings.CutSuffix(s, "manual")
				p.plan.Steps = append(p.plan.Steps, CanaryStep{Weight: 100 * number(t, strings.TrimSuffix(share, "%")), Manual: manual})
			}
		default:
			t.Fatalf("given %q?", w)
		}
	}
}

var eventNames = map[string]EventType{
	"let-go": LetGo, "halt-own": HaltOwn, "promote": Promote, "step": PromoteStep, "abort": Abort, "halt": Halt, "halt-now": HaltNow, "resume": Resume,
	"hold-soak": HoldSoak, "free-soak": FreeSoak, "end-oldest": EndOldest, "booted": Booted, "started": Started, "start-failed": StartFailed, "ready": BecameReady,
	"exited": Exited, "saw": Saw, "quiesced": Quiesced, "idle": Idle, "stranded": Stranded, "released": Released, "fault": Fault,
}

func (p *player) event(t *testing.T, words []string) Event {
	t.Helper()
	switch words[0] {
	case "create", "upgrade", "rollback", "adopt":
		return p.begin(t, words)
	case "after":
		return Event{Type: Tick, At: p.at.After(duration(t, words[1]))}
	}
	e := Event{Type: eventNames[words[0]], ID: "x", Policy: p.rules, Message: "as told"}
	if e.Type == 0 {
		t.Fatalf("event %q?", words[0])
	}
	if len(words) < 2 {
		return e
	}
	e.Generation = number(t, words[1])
	if g := p.state.Generation(e.Generation); g != nil {
		e.Instance = g.Instance
	}
	for _, w := range words[2:] {
		switch {
		case w == "cleanly":
			e.Clean = true
		case e.Type == Saw:
			e.Count, e.Instance = number(t, w), p.state.Upgrade.Step
		default:
			e.Reason = Reason(w)
		}
	}
	return e
}

func (p *player) begin(t *testing.T, words []string) Event {
	t.Helper()
	e := Event{Type: Begin, ID: words[0], Kind: KindUpgrade, Plan: p.plan, Policy: p.rules}
	switch words[0] {
	case "create":
		e.Kind, e.Plan = KindCreate, Plan{}
	case "adopt":
		e.Kind, e.Plan = KindAdopt, Plan{}
	case "rollback":
		e.Kind, e.Plan, e.Target = KindRollback, Plan{}, number(t, words[1])
	}
	return e
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// describe is the state in words.
func (p *player) describe() string {
	var out strings.Builder
	weights := p.state.Weights()
	for _, g := range p.state.Generations {
		fmt.Fprintf(&out, "  generation %d on slot %d: %v%s %d%%", g.Number, g.Slot, g.State, phaseName(g.Phase), weights[g.Slot]/100)
		if g.External {
			out.WriteString(", external")
		}
		if g.Program != g.Number {
			fmt.Fprintf(&out, ", runs the program of %d", g.Program)
		}
		if !g.Running && !g.State.Ended() {
			out.WriteString(", not running")
		} else if !g.Ready && !g.State.Ended() {
			out.WriteString(", not ready")
		}
		if g.Refusing {
			out.WriteString(", refusing")
		}
		if g.Reason != "" {
			fmt.Fprintf(&out, ", %s", g.Reason)
		}
		out.WriteString("\n")
	}
	if u := p.state.Upgrade; u != nil {
		fmt.Fprintf(&out, "  upgrade %d to %d: %v", u.From, u.To, u.State)
		if u.State == UpgradeCanary {
			fmt.Fprintf(&out, " step %d", u.Step)
		}
		if u.Reason != "" {
			fmt.Fprintf(&out, ", %s", u.Reason)
		}
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "  under way: %s\n", underWay(p.state.Effects()))
	return out.String()
}

func phaseName(p Phase) string {
	return [...]string{"", " (quiescing)", " (patient)", " (signalled)", " (killed)"}[p]
}

func underWay(effects []Effect) string {
	names := map[EffectKind]string{
		Run: "run", AwaitReady: "await ready", Watch: "watch", Oversee: "oversee", Quiesce: "quiesce", HoldOff: "hold off", Refuse: "refuse", AwaitFull: "await full",
		Count: "count", Signal: "signal", Kill: "kill", Release: "release", Boot: "boot",
	}
	var out []string
	for _, e := range effects {
		name := names[e.Kind]
		if e.Force {
			name = "force " + name
		}
		out = append(out, fmt.Sprintf("%s %d", name, e.Generation))
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}
