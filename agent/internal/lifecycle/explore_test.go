package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The walk below visits every state that any sequence of commands and facts can
// lead to, up to names: numbers, counters and times are reduced to what the
// machine can tell apart. It asks every state every question.

// now is the instant at which all events of the walk happen; deadlines lie at
// fixed distances after it, in an order that the configurations vary.
const now = Time(1)

type world struct {
	name   string
	policy Policy
	plan   Plan
	order  [5]Time // of Deadline, RestartAt, HoldUntil, PhaseEnd, StepLimit
}

func worlds() []world {
	early, late := [5]Time{3, 5, 9, 17, 33}, [5]Time{33, 17, 9, 5, 3}
	always := Restart{Always: true, Backoff: 1, MaxBackoff: 1, Hold: 1}
	base := Policy{ReadyTimeout: 1, DrainTimeout: 1, RollbackWindow: time.Hour, MaxGenerations: 3, Restart: always}
	steps := Plan{Steps: []CanaryStep{{Weight: 100}, {Weight: 5000, Manual: true}}, Hold: 1, MinConnections: 1, StepTimeout: 1, Soak: 1}
	out := []world{
		{"at once, signal, restarts", base, Plan{}, early},
		{"at once, patient, no restarts", base, Plan{}, late},
		{"soak, patient, restarts", base, Plan{Soak: 1}, late},
		{"held soak, signal, restarts", base, Plan{Soak: 1, HoldSoak: true}, late},
		{"steps, signal, restarts", base, steps, late},
		{"steps, patient, no restarts", base, steps, early},
		{"alone, patient, restarts", base, Plan{}, late},
		{"external, patient, restarts", base, Plan{Soak: 1}, late},
	}
	for i := range out {
		p := &out[i].policy
		p.PatientDrain = strings.Contains(out[i].name, "patient")
		p.Patience = 1
		if strings.Contains(out[i].name, "alone") {
			p.Alone, p.OverlapLimit = true, 1
		}
		if strings.Contains(out[i].name, "no restarts") {
			p.Restart = Restart{}
		}
	}
	return out
}

// canonical reduces a state to what matters for what can happen next.
func (w world) canonical(s State) State {
	s = s.Clone()
	numbers, slots := map[int]int{0: 0}, map[int]int{0: 0}
	for i := range s.Generations {
		g := &s.Generations[i]
		numbers[g.Number] = i + 1
		if g.Slot != 0 {
			slots[g.Slot] = i + 1
		}
	}
	const elsewhere = 90 // a number that is only history
	number := func(n int) int {
		if m, ok := numbers[n]; ok {
			return m
		}
		return elsewhere
	}
	for i := range s.Generations {
		g := &s.Generations[i]
		g.Program, g.Number, g.Slot = number(g.Program), number(g.Number), slots[g.Slot]
		g.Policy, g.Message, g.Reason = w.policy, "", ""
		g.Instance, g.Restarts, g.StartedAt = 1, 0, now
		// The first crash or rescue stands for all but the last.
		g.Crashes = min(g.Crashes, 1) * (crashLoop - 1)
		g.Rescues = min(g.Rescues, 1) * maxRescues
		careless(&s, g)
		place(&g.Deadline, w.order[0])
		place(&g.RestartAt, w.order[1])
		place(&g.HoldUntil, w.order[2])
		place(&g.WindowEnd, Time(time.Hour))
		place(&g.CutAt, w.order[0])
	}
	s.Promoted = number(s.Promoted)
	if s.Fallback != nil {
		s.Fallback = &Target{Number: number(s.Fallback.Number), Policy: w.policy, External: s.Fallback.External}
	}
	if s.Back != nil {
		s.Back = &Target{Number: number(s.Back.Number), Policy: w.policy}
	}
	s.LastNumber, s.LastSlot = 50, 50
	if u := s.Upgrade; u != nil && u.State.Ended() {
		s.Upgrade = nil // an ended upgrade changes nothing any more
	} else if u != nil {
		u.ID, u.Message, u.Warnings, u.Reason = "", "", nil, ""
		u.From, u.To, u.Target = number(u.From), number(u.To), number(u.Target)
		for i := range u.StepSaw {
			u.StepSaw[i] = min(u.StepSaw[i], 1)
		}
		place(&u.PhaseEnd, w.order[3])
		place(&u.StepLimit, w.order[4])
	}
	return s
}

// careless takes away what makes no difference any more.
func careless(s *State, g *Generation) {
	if g.State != Active || s.Fallback == nil {
		g.Crashes, g.WindowEnd = 0, 0
	}
	if g.State.Ended() {
		g.Program = g.Number
	}
	if g.State != Draining {
		g.Ending = 0
		return
	}
	g.HoldUntil, g.Refusing, g.Overdue = 0, false, false
	if g.Phase >= Signalled {
		g.Ready = false
	}
}

func place(t *Time, at Time) {
	if *t != 0 {
		*t = at
	}
}

// questions are all events that make sense to ask a state, wished or not.
func (w world) questions(s State) []Event {
	var out []Event
	begin := Event{Type: Begin, ID: "u", Kind: KindUpgrade, Plan: w.plan, Policy: w.policy}
	if s.Active() == nil {
		begin.Kind, begin.Plan = KindCreate, Plan{}
	}
	out = append(out, begin)
	if strings.Contains(w.name, "external") {
		begin.Kind, begin.Plan = KindAdopt, Plan{}
		out = append(out, begin, Event{Type: LetGo}, Event{Type: HaltOwn})
	}
	if w.plan.HoldSoak {
		out = append(out, Event{Type: HoldSoak}, Event{Type: FreeSoak})
	}
	for _, g := range s.Generations {
		back := begin
		back.Kind, back.Plan, back.Target = KindRollback, Plan{}, g.Number
		out = append(out, back)
	}
	for _, t := range []EventType{Promote, PromoteStep, Abort, Halt, HaltNow, Resume, EndOldest, Booted} {
		out = append(out, Event{Type: t, ID: "c", Policy: w.policy})
	}
	for _, g := range s.Generations {
		for t := Adopted; t < Tick; t++ {
			e := Event{Type: t, Generation: g.Number, Instance: g.Instance, Clean: true, Reason: ReasonCheckFailed}
			out = append(out, e)
			if t <= Exited {
				dirty, stale := e, e
				dirty.Clean = false
				stale.Instance--
				out = append(out, dirty, stale)
			}
		}
		deaf := Event{Type: Fault, Generation: g.Number, Reason: ReasonNotAccepting}
		lost := Event{Type: Fault, Generation: g.Number, Reason: ReasonListenerLost}
		out = append(out, deaf, lost)
		if s.Upgrade != nil {
			out = append(out, Event{Type: Saw, Generation: g.Number, Instance: s.Upgrade.Step, Count: 1})
		}
	}
	for _, at := range w.order {
		out = append(out, Event{Type: Tick, At: at})
	}
	for i := range out {
		if out[i].At == 0 {
			out[i].At = now
		}
	}
	return out
}

// brief is a state as one line of a story.
func brief(s State) string {
	out := fmt.Sprintf("halted=%v promoted=%d fallback=%v;", s.Halted, s.Promoted, s.Fallback != nil)
	for _, g := range s.Generations {
		out += fmt.Sprintf(" [%d slot=%d state=%d phase=%d program=%d run=%v ready=%v deadline=%d restart=%d hold=%d crashes=%d rescues=%d overdue=%v lost=%v]",
			g.Number, g.Slot, g.State, g.Phase, g.Program, g.Running, g.Ready, g.Deadline, g.RestartAt, g.HoldUntil, g.Crashes, g.Rescues, g.Overdue, g.Lost)
	}
	if u := s.Upgrade; u != nil {
		out += fmt.Sprintf(" upgrade kind=%d state=%d %d->%d step=%d end=%d limit=%d holddone=%v saw=%v", u.Kind, u.State, u.From, u.To, u.Step, u.PhaseEnd, u.StepLimit, u.HoldDone, u.StepSaw)
	}
	return out
}

type visit struct {
	state State
	from  *visit
	by    Event
}

// mark tells canonical states apart.
type mark struct {
	halted             bool
	promoted, fallback int
	back               int
	fallsBack          bool // to an external one
	generations        [mostGenerations + 2]Generation
	upgrade            struct {
		kind                Kind
		state               UpgradeState
		from, to, target    int
		step, saw           int
		held, soakHeld      bool
		phaseEnd, stepLimit Time
	}
}

func key(s State) mark {
	m := mark{halted: s.Halted, promoted: s.Promoted}
	if s.Fallback != nil {
		m.fallback, m.fallsBack = s.Fallback.Number, s.Fallback.External
	}
	if s.Back != nil {
		m.back = s.Back.Number
	}
	for i, g := range s.Generations {
		g.Policy = Policy{}
		m.generations[i] = g
	}
	if u := s.Upgrade; u != nil {
		k := &m.upgrade
		k.kind, k.state, k.from, k.to, k.target = u.Kind, u.State, u.From, u.To, u.Target
		k.step, k.held, k.soakHeld, k.phaseEnd, k.stepLimit = u.Step, u.HoldDone, u.Plan.HoldSoak, u.PhaseEnd, u.StepLimit
		for _, n := range u.StepSaw {
			k.saw = 2*k.saw + n
		}
	}
	return m
}

func TestEveryReachableState(t *testing.T) {
	for i, w := range worlds() {
		if raceEnabled && i > 0 {
			break // there is nothing to race: one world shows that it walks
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			seen := w.walk(t)
			t.Logf("%d states", len(seen))
			if len(seen) < 1000 {
				t.Error("the walk does not walk")
			}
			w.endings(t, seen)
		})
	}
}

const (
	mostStates = 200_000
	// mostGenerations bounds the exhaustive walk; TestRandomWalk has more.
	mostGenerations = 2
)

func (w world) walk(t *testing.T) map[mark]*visit {
	start := w.canonical(State{})
	first := &visit{state: start}
	seen := map[mark]*visit{key(start): first}
	queue := []*visit{first}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		s := v.state
		k := key(s)
		for _, e := range w.questions(s) {
			next, err := Step(s, e)
			if key(s) != k {
				t.Fatalf("Step changed its input\n%s", story(v, e))
			}
			same := key(next) == k
			if err != nil && !same {
				t.Fatalf("a refusal changed the state\n%s", story(v, e))
			}
			if same {
				continue // it was looked at when it was reached first
			}
			if problem := wrong(s, next); problem != "" {
				t.Fatalf("%s\n%s\nbecame %s", problem, story(v, e), brief(next))
			}
			c := w.canonical(next)
			if len(c.Generations) > mostGenerations {
				continue
			}
			ck := key(c)
			if _, ok := seen[ck]; !ok {
				seen[ck] = &visit{c, v, e}
				queue = append(queue, seen[ck])
			}
		}
		if len(seen) > mostStates {
			t.Fatalf("more than %d states: what grows without bound?", mostStates)
		}
	}
	return seen
}

// story tells how a state was reached.
func story(v *visit, last Event) string {
	lines := []string{fmt.Sprintf("then   type=%d gen=%d clean=%v at=%d reason=%s", last.Type, last.Generation, last.Clean, last.At, last.Reason), "in     " + brief(v.state)}
	for ; v.from != nil; v = v.from {
		lines = append(lines, fmt.Sprintf("after  type=%d gen=%d clean=%v at=%d", v.by.Type, v.by.Generation, v.by.Clean, v.by.At))
	}
	slices.Reverse(lines)
	out := ""
	for _, l := range lines {
		out += l + "\n"
	}
	return out
}

// endings: from every state, if effects succeed and time passes, the service
// comes to rest: no upgrade under way, nothing draining, one generation serving
// or everything ended.
func (w world) endings(t *testing.T, seen map[mark]*visit) {
	const enough = 200
	for _, v := range seen {
		s := v.state
		n := 0
		for ; n < enough && !atRest(&s); n++ {
			e, ok := wish(&s)
			if !ok {
				t.Fatalf("nothing can happen any more in %s", brief(s))
			}
			var err error
			if s, err = Step(s, e); err != nil {
				t.Fatalf("%+v refused in %s: %v", e, brief(s), err)
			}
		}
		if n == enough {
			t.Fatalf("no rest from %s, at %s\n%s", brief(v.state), brief(s), story(v, Event{}))
		}
	}
}

func atRest(s *State) bool {
	if s.Upgrading() {
		return false
	}
	for i := range s.Generations {
		g := &s.Generations[i]
		if g.State != Active || !g.Ready {
			return false
		}
	}
	return true
}

// wish is the next fact if everything goes well: the first effect that reports
// something, else the next timer.
func wish(s *State) (Event, bool) {
	for _, e := range s.Effects() {
		g := s.Generation(e.Generation)
		f := Event{At: now, Generation: e.Generation, Instance: e.Instance}
		switch e.Kind {
		case Run:
			if g.Running {
				continue
			}
			f.Type = Started
		case AwaitReady:
			f.Type = BecameReady
		case Quiesce, HoldOff:
			if g.State != Draining || g.Phase != Quiescing {
				continue
			}
			f.Type = Quiesced
		case Count:
			if g.Phase != Patient || e.Force {
				continue
			}
			f.Type = Idle
		case Signal, Kill:
			f.Type = Exited
		case Release:
			f.Type = Released
		case Oversee, Refuse, AwaitFull, Boot:
			continue
		case Watch:
			if s.Upgrade.State != UpgradeCanary || s.Upgrade.StepSaw[s.Upgrade.Step-1] >= s.Upgrade.Plan.MinConnections {
				continue
			}
			f.Type, f.Instance, f.Count = Saw, s.Upgrade.Step, s.Upgrade.Plan.MinConnections
		}
		return f, true
	}
	if s.Upgrading() && s.Upgrade.Waiting() {
		return Event{Type: PromoteStep, At: now}, true
	}
	if next := s.Timer(); next != 0 {
		return Event{Type: Tick, At: next}, true
	}
	if s.Upgrading() && s.Upgrade.Plan.HoldSoak {
		return Event{Type: FreeSoak, At: now}, true
	}
	return Event{}, false
}

// TestRandomWalk holds the same promises for more generations at once, where
// visiting every state would take hours.
func TestRandomWalk(t *testing.T) {
	all := worlds()
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom(all).Draw(t, "world")
		w.policy.MaxGenerations = 5
		s := State{}
		at := now
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			at += Time(rapid.IntRange(0, 40).Draw(t, "time"))
			e := w.draw(t, s)
			e.At = at
			next, err := Step(s, e)
			if err == nil {
				if problem := wrong(s, next); problem != "" {
					t.Fatalf("%s\nin     %s\nasked  %+v\nbecame %s", problem, brief(s), e, brief(next))
				}
			}
			s = next
		}
	})
}

// draw prefers what moves things on, so that walks get far.
func (w world) draw(t *rapid.T, s State) Event {
	if e, ok := wish(&s); ok && rapid.IntRange(0, 2).Draw(t, "wish") > 0 {
		return e
	}
	return rapid.SampledFrom(w.questions(s)).Draw(t, "event")
}
