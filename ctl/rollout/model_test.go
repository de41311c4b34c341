package rollout

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// agent is a host that keeps what it wrote down, whatever becomes of drivers.
type agent struct {
	progress  Progress // Waiting: no claim
	revision  int64
	epoch     int // of the last driver that claimed it
	claimed   bool
	control   Control
	reachable bool
	serves    bool // the release
	unchanged bool
	ending    Ending // of the rollout, noted when the claim was given up

	frozen, starved, fails, sticks bool
}

func (a *agent) move(p Progress) {
	a.progress = p
	a.revision++
	switch p {
	case Soaking:
		a.serves = true
	case Failed, RolledBack:
		a.serves = false
	}
}

// further lets the agent do by itself what needs no driver.
func (a *agent) further() {
	switch {
	case a.progress == Upgrading && a.fails, a.progress == Soaking && a.fails:
		a.move(Failed)
	case a.progress == Upgrading:
		a.move(Soaking)
	case a.progress == Soaking:
		a.move(Upgraded)
	}
}

// driver is one process that drives; more than one may believe to be it.
type driver struct {
	state State
	epoch int
}

// fleet is the hosts and their drivers, the last of which is the true one.
type fleet struct {
	t       *rapid.T
	spec    Spec
	agents  map[string]*agent
	drivers []*driver
	at      Time
}

func drawFleet(t *rapid.T) *fleet {
	n := rapid.IntRange(1, 9).Draw(t, "hosts")
	zones := rapid.IntRange(1, 3).Draw(t, "zones")
	var hosts []Host
	f := &fleet{t: t, agents: map[string]*agent{}, at: 1}
	odd := func(label string) bool { return rapid.IntRange(0, 7).Draw(t, label) == 7 }
	for i := range n {
		name := fmt.Sprintf("web%d", i)
		hosts = append(hosts, Host{Name: name, Labels: map[string]string{"zone": fmt.Sprint(i % zones)}})
		a := &agent{reachable: !odd("away"), unchanged: odd("unchanged"), frozen: odd("frozen"), starved: odd("starved"), fails: odd("fails"), sticks: odd("sticks")}
		a.serves = a.unchanged
		f.agents[name] = a
	}
	f.agents["gate"] = &agent{reachable: true}
	shape := Shape{Canary: Canary{Amount: Amount{N: rapid.IntRange(0, 2).Draw(t, "canary")}}, Waves: drawWaves(t)}
	if rapid.Bool().Draw(t, "spread") {
		shape.Spread = "zone"
	}
	plan, err := Arrange(hosts, shape)
	if err != nil {
		t.Fatal(err)
	}
	policy := DefaultPolicy()
	policy.MaxInFlight = rapid.IntRange(0, 3).Draw(t, "in flight")
	policy.MaxFailures = Amount{N: rapid.IntRange(0, 2).Draw(t, "failures")}
	policy.MaxWaveFailures = Amount{N: rapid.IntRange(0, 2).Draw(t, "wave failures")}
	policy.MaxUnreachable = Amount{N: rapid.IntRange(0, 4).Draw(t, "unreachable")}
	policy.Manual = rapid.Bool().Draw(t, "manual")
	if !policy.Manual {
		policy.Pause = time.Minute
	}
	policy.FetchTimeout = 3 * time.Minute
	policy.OnFailure = rapid.SampledFrom([]OnFailure{RollBack, HoldOn}).Draw(t, "on failure")
	f.spec, err = NewSpec(Spec{
		Service: "web", Action: ActionUpgrade, Releases: []Release{{Artifact: digestA}}, Plan: plan, Policy: policy, Gates: []string{"gate"}, Request: Request{ID: "1", Actor: "alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.take()
	return f
}

// take has another driver take over; the one before may not have noticed.
func (f *fleet) take() {
	f.drivers = append(f.drivers, &driver{state: New(f.spec), epoch: len(f.drivers) + 1})
}

func (f *fleet) last() *driver { return f.drivers[len(f.drivers)-1] }

// tell steps a driver and holds the step to what was promised.
func (f *fleet) tell(d *driver, e Event) {
	if known := d.state.Clone(); d.state.knows(e) {
		if _ = known.step(e); !reflect.DeepEqual(known, d.state) {
			f.t.Fatalf("%+v is no news, and makes\n%+v of\n%+v", e, known, d.state)
		}
	}
	e.At = f.at
	next, err := Step(d.state, e)
	if err != nil {
		return
	}
	if timer := d.state.Timer(); e.Type == Tick && (timer == 0 || timer > e.At) && !reflect.DeepEqual(next, d.state) {
		f.t.Fatalf("time makes\n%+v of\n%+v, whose timer is at %d", next, d.state, timer)
	}
	if p := broken(&d.state, &next); p != "" {
		f.t.Fatalf("%s, after %+v:\n%+v\n%+v", p, e, d.state, next)
	}
	d.state = next
}

// do performs one effect of a driver. The answer may be lost on its way.
func (f *fleet) do(d *driver, e Effect, lossy bool) {
	a := f.agents[e.Host]
	if !a.reachable {
		f.tell(d, Event{Type: Unreachable, Host: e.Host})
		return
	}
	answer := f.answer(d, a, e)
	answer.Host = e.Host
	if lossy && rapid.IntRange(0, 9).Draw(f.t, "lost") == 0 {
		answer = Event{Type: Unreachable, Host: e.Host}
	}
	f.tell(d, answer)
}

func (f *fleet) answer(d *driver, a *agent, e Effect) Event {
	if a.epoch > d.epoch {
		return Event{Type: Overtaken, Message: "the next one"}
	}
	if e.Kind != Claim && e.Kind != GiveUp && a.epoch < d.epoch {
		f.t.Fatalf("%v on %s without a claim", e.Kind, e.Host)
	}
	switch e.Kind {
	case Claim:
		if a.frozen && !a.claimed {
			return Event{Type: Declined, Reason: "FROZEN"}
		}
		a.epoch, a.claimed = d.epoch, true
		switch {
		case a.progress != Waiting:
		case a.unchanged:
			a.move(Unchanged)
		default:
			a.move(Claimed)
		}
	case Lease, Follow:
	case Fetch:
		if a.starved {
			return Event{Type: FetchFailed, Message: "no source"}
		}
		if a.progress == Claimed {
			a.move(Pushed)
		}
	case Upgrade:
		switch a.progress {
		case Pushed:
			a.move(Upgrading)
		case Upgrading, Soaking:
			a.further()
		case Upgraded, Failed: // it went on meanwhile, by itself
		default:
			f.t.Fatalf("%s is upgraded again: it is %v", e.Host, a.progress)
		}
	case Undo:
		switch a.progress {
		case Pushed, Upgrading, Soaking, Upgraded:
			if a.sticks && a.serves {
				a.move(Stuck)
			} else {
				a.move(RolledBack)
			}
		case Failed, RolledBack, Stuck:
		default:
			f.t.Fatalf("%s goes back from %v", e.Host, a.progress)
		}
	case GiveUp:
		a.claimed, a.ending = false, e.Ending
		return Event{Type: Released, Progress: a.progress, Revision: a.revision, Ending: a.ending}
	}
	return Event{Type: Reported, Progress: a.progress, Revision: a.revision, Control: a.control}
}

// broken says which promise a step breaks.
func broken(before, s *State) string {
	moving, zones := 0, map[string]bool{}
	began := false
	if p := leases(s); p != "" {
		return p
	}
	for i, h := range s.targets() {
		was := before.Hosts[i]
		if h.Progress.moving() && !h.Lost {
			moving++
			zones[h.Zone] = true
		}
		forward := h.Progress == Starting && was.Progress != Starting
		back := h.Progress == Returning && was.Progress == Upgraded && s.Phase == Undoing && before.Phase > Claiming
		began = began || forward || back
		switch {
		case forward && h.Wave > s.Wave:
			return h.Name + " begins before its wave"
		case forward && s.Hold() != Free:
			return h.Name + " begins while the rollout is held up"
		case forward && s.Phase != Rolling:
			return h.Name + " begins in no wave"
		case was.Progress.over() && was.Progress != Upgraded && h.Progress != was.Progress && h.Progress != Claimed:
			return h.Name + " had an outcome, and has another"
		}
		if p := inOrder(before, s, h, back); p != "" {
			return p
		}
	}
	limit := s.Spec.Policy.MaxInFlight
	switch {
	case began && limit > 0 && moving > limit:
		return "too many move"
	case began && len(zones) > 1:
		return "two zones move"
	case s.Wave < before.Wave, s.Wave >= len(s.Spec.Plan.Waves):
		return "waves do not rise"
	case len(s.Results()) != len(s.Spec.Plan.Targets):
		return "a target has no result"
	case s.Phase != Ended && !s.HeldUp() && !s.Paused && s.Timer() == 0 && len(s.Effects()) == 0 && !(s.Phase == Pausing && s.Spec.Policy.Manual):
		return "nothing moves the rollout on"
	}
	return ""
}

// leases: what moves has one, and somewhere within reach operators are heard.
func leases(s *State) string {
	leased, heard, reach := map[string]bool{}, false, false
	for _, e := range s.Effects() {
		if e.Kind == Lease {
			leased[e.Host] = true
			heard = heard || e.Listens && !s.Host(e.Host).Lost
			if h := s.Host(e.Host); !e.Listens && !h.Progress.moving() {
				return h.Name + " has a lease for nothing"
			}
		}
	}
	for _, h := range s.Hosts {
		reach = reach || h.claimed() && !h.Lost
		if s.Phase < Closing && h.claimed() && h.Progress.moving() && !leased[h.Name] {
			return h.Name + " moves without a lease"
		}
	}
	if s.Phase < Closing && reach && !heard {
		return "nobody hears operators"
	}
	return ""
}

// inOrder: a wave begins when those before it are through, and goes back when those
// after it have.
func inOrder(before, s *State, h HostState, back bool) string {
	if before.Phase > Claiming && s.Wave > before.Wave && h.Wave < s.Wave && !h.Progress.over() && !h.Lost {
		return "a wave begins before " + h.Name + " is through"
	}
	for _, o := range s.targets() {
		if back && !o.Lost && o.Wave > h.Wave && o.goesBack() {
			return h.Name + " goes back before a later wave has"
		}
	}
	return ""
}

// TestDriversComeAndGo: hosts fail, vanish and return, drivers die, sleep and are
// overtaken, operators interfere. Whatever happens, once things calm down the
// rollout ends, and what it says of each host is true.
func TestDriversComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			f.happen()
		}
		f.calm()
		f.checkEnd()
	})
}

func (f *fleet) happen() {
	names := make([]string, 0, len(f.agents))
	for name := range f.agents {
		names = append(names, name)
	}
	slices.Sort(names)
	a := f.agents[rapid.SampledFrom(names).Draw(f.t, "host")]
	switch rapid.IntRange(0, 25).Draw(f.t, "what") {
	case 0:
		a.reachable = !a.reachable
	case 1:
		a.further()
	case 2:
		if a.progress == Upgraded && a.claimed {
			a.move(Failed) // a crash loop
		}
	case 3:
		f.take()
	case 4:
		command := rapid.SampledFrom([]EventType{Promote, Pause, Resume, Abort}).Draw(f.t, "command")
		f.tell(f.last(), Event{Type: command})
	case 5:
		f.say(drawWord(f.t))
	case 6:
		f.at = f.at.After(time.Minute)
		f.tell(f.last(), Event{Type: Tick})
	default:
		d := f.last()
		if rapid.IntRange(0, 4).Draw(f.t, "old driver") == 0 {
			d = f.drivers[rapid.IntRange(0, len(f.drivers)-1).Draw(f.t, "driver")]
		}
		if effects := d.state.Effects(); len(effects) > 0 {
			f.do(d, rapid.SampledFrom(effects).Draw(f.t, "effect"), true)
		}
	}
}

// drawWord is what an operator leaves on claims: it changes a word that stands there.
func drawWord(t *rapid.T) func(*Control) {
	return map[string]func(*Control){
		"pause":   func(c *Control) { c.Paused = true },
		"resume":  func(c *Control) { c.Paused = false },
		"promote": func(c *Control) { c.PromotedWave++ },
		"abort":   func(c *Control) { c.Abort, c.Paused = true, false },
	}[rapid.SampledFrom([]string{"pause", "resume", "promote", "abort"}).Draw(t, "word")]
}

// say leaves an operator's word on every claim that can be reached. A driver that
// listens where one of them is heard has heeded it with the next renewal.
func (f *fleet) say(word func(*Control)) {
	for _, a := range f.agents {
		if a.claimed && a.reachable {
			word(&a.control)
			a.control.Revision++
		}
	}
	d, heard := f.last(), false
	for _, e := range d.state.Effects() {
		if a := f.agents[e.Host]; e.Kind == Lease && e.Listens && a.reachable && a.claimed && a.epoch == d.epoch {
			f.do(d, e, false)
			heard = true
		}
	}
	s := &d.state
	if s.Phase <= Claiming || s.Phase >= Closing || !heard {
		return
	}
	if s.Heard.Abort && !s.Aborting && s.Phase != Undoing || s.Heard.Paused && !s.Paused && !s.Aborting {
		f.t.Fatalf("it hears %+v, and does %+v", s.Heard, s)
	}
}

// calm lets everything be reachable and one driver go on to the end.
func (f *fleet) calm() {
	for _, a := range f.agents {
		a.reachable = true
	}
	d := f.last()
	for range 1000 {
		if d.state.Phase == Ended {
			return
		}
		for _, e := range d.state.Effects() {
			if slices.Contains(d.state.Effects(), e) {
				f.do(d, e, false)
			}
		}
		switch {
		case d.state.Paused || d.state.HeldUp():
			for _, a := range f.agents {
				a.starved = false
			}
			f.tell(d, Event{Type: Resume})
		case d.state.Phase == Pausing:
			f.tell(d, Event{Type: Promote})
		}
	}
	f.t.Fatalf("it does not end: %+v", d.state)
}

func (f *fleet) checkEnd() {
	s := &f.last().state
	onRelease, touched := false, false
	for i, r := range s.Results() {
		a, h := f.agents[r.Host], s.Hosts[i]
		touched = touched || h.Touched
		if h.Lost {
			continue
		}
		onRelease = onRelease || a.serves && !a.unchanged
		if r.Outcome == OutcomeInProgress || r.Serves == ServesUnknown {
			f.t.Fatalf("%s is in limbo: %+v", r.Host, r)
		}
		if a.serves != (r.Serves == ServesNew || a.unchanged) {
			f.t.Fatalf("%s serves the release: %v; the report says %+v", r.Host, a.serves, r)
		}
		if a.claimed {
			f.t.Fatalf("%s is still claimed", r.Host)
		}
		if s.Ending == Undone && a.serves && !a.unchanged && !a.sticks {
			f.t.Fatalf("%s was left on the release: %+v", r.Host, r)
		}
		if s.Ending == Completed && (r.Outcome == OutcomeNotStarted) {
			f.t.Fatalf("%s was left out: %+v", r.Host, r)
		}
	}
	v := s.Verdict()
	switch {
	case v == Done && (s.Ending != Completed || slices.ContainsFunc(s.Results(), func(r Result) bool { return r.Serves != ServesNew && r.Outcome != OutcomeSkipped })):
		f.t.Fatalf("done, with %+v", s.Results())
	case v == BackCleanly && (onRelease || !touched):
		f.t.Fatalf("back cleanly, with %+v", s.Results())
	case v == StillUnderWay:
		f.t.Fatal("ended, and under way")
	case v == NotDone && touched:
		f.t.Fatalf("nothing touched, with %+v", s.Results())
	}
}

// TestEveryStateAnswersEveryEvent also where no driver would say such a thing.
func TestEveryStateAnswersEveryEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		s := f.last().state
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := Event{
				Type: rapid.SampledFrom([]EventType{
					Promote, Pause, Resume, Abort, Reported, Reported, Reported, Reported, Held, Declined, Forgotten, Unreachable, FetchFailed, FetchDelayed, Denied, Released, Overtaken, Tick, 0, 99, 200,
				}).Draw(t, "type"),
				At:       Time(rapid.IntRange(1, 1000).Draw(t, "at")),
				Host:     fmt.Sprintf("web%d", rapid.IntRange(0, 9).Draw(t, "host")),
				Progress: Progress(rapid.IntRange(0, 20).Draw(t, "progress")),
				Revision: int64(rapid.IntRange(0, 3).Draw(t, "revision")),
				Control: Control{
					Revision: int64(rapid.IntRange(0, 9).Draw(t, "word")), Paused: rapid.Bool().Draw(t, "paused"),
					Abort: rapid.IntRange(0, 9).Draw(t, "abort") == 9, PromotedWave: rapid.IntRange(0, 3).Draw(t, "promoted"),
				},
			}
			was := s.Clone()
			next, _ := Step(s, e)
			if fmt.Sprintf("%+v", was) != fmt.Sprintf("%+v", s) {
				t.Fatalf("%+v changed the state it was told to", e)
			}
			s = next
			if len(s.Results()) != len(s.Spec.Plan.Targets) {
				t.Fatal("a target has no result")
			}
			_, _, _ = s.Verdict(), s.Timer(), s.Effects()
		}
	})
}
