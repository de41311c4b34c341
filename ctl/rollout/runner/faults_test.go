package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// ordeal is what a fleet goes through.
type ordeal struct {
	hosts     int
	faults    map[int]fault
	bad       map[int]bool
	unchanged map[int]bool
	lacks     map[int]bool
	cut       map[int]time.Duration // and when it comes back
	spec      func(*rollout.Spec)
	takeOver  map[int]bool          // drivers that do not wait for the lease to end
	patience  map[int]time.Duration // how long each driver may take; 0 for ever
}

func drawOrdeal(t *rapid.T) ordeal {
	o := ordeal{
		hosts:  rapid.IntRange(1, 6).Draw(t, "hosts"),
		faults: map[int]fault{}, bad: map[int]bool{}, unchanged: map[int]bool{}, lacks: map[int]bool{}, cut: map[int]time.Duration{}, takeOver: map[int]bool{}, patience: map[int]time.Duration{},
	}
	for range rapid.IntRange(0, 25).Draw(t, "faults") {
		o.faults[rapid.IntRange(1, 120).Draw(t, "call")] = rapid.SampledFrom([]fault{dropped, lost, late, restart, killed}).Draw(t, "fault")
	}
	odd := func(label string) bool { return rapid.IntRange(0, 5).Draw(t, label) == 5 }
	for i := range o.hosts {
		o.bad[i], o.unchanged[i], o.lacks[i] = odd("bad"), odd("unchanged"), odd("lacks")
		if odd("cut") {
			o.cut[i] = time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second
		}
	}
	for i := range 30 {
		o.takeOver[i+1] = rapid.Bool().Draw(t, "take over")
		if i < 5 && o.takeOver[i+1] {
			o.patience[i] = time.Duration(rapid.IntRange(0, 20).Draw(t, "patience")) * time.Second
		}
	}
	failures, lost := rapid.IntRange(0, 2).Draw(t, "failures"), rapid.IntRange(0, 2).Draw(t, "unreachable")
	orphan := rapid.SampledFrom([]rollout.OnOrphan{rollout.OrphanHold, rollout.OrphanRollBack}).Draw(t, "orphan")
	failure := rapid.SampledFrom([]rollout.OnFailure{rollout.RollBack, rollout.HoldOn}).Draw(t, "on failure")
	o.spec = func(s *rollout.Spec) {
		s.Policy.MaxFailures, s.Policy.MaxUnreachable = rollout.Amount{N: failures}, rollout.Amount{N: lost}
		s.Policy.OnOrphan, s.Policy.OnFailure, s.Policy.Pause = orphan, failure, 5*time.Second
	}
	return o
}

// TestDriversDieAtAnyCall: calls are lost, answers too, agents restart, and drivers die
// at any call and are followed by others. No two act in one epoch, and in the end each
// host is where the report has it.
func TestDriversDieAtAnyCall(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := drawOrdeal(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(o.hosts)
			problems = f.endure(t, o)
			f.close()
			synctest.Wait()
			if problems = append(problems, f.complaints...); len(problems) > 0 {
				problems = append(problems, f.trace...)
			}
		})
		if len(problems) > 0 {
			rt.Fatal(strings.Join(problems, "\n"))
		}
	})
}

func (f *fleet) endure(t *testing.T, o ordeal) []string {
	f.faults = o.faults
	var timers []*time.Timer
	for i, name := range f.names {
		a := f.agents[name]
		a.bad, a.unchanged, a.lacks = o.bad[i], o.unchanged[i], o.lacks[i]
		if d := o.cut[i]; d != 0 {
			a.cut(true)
			timers = append(timers, time.AfterFunc(d, func() { a.cut(false) }))
		}
	}
	defer func() {
		for _, timer := range timers {
			timer.Stop()
		}
	}()
	spec := f.spec(t, "1", o.spec, canary())
	var drivers sync.WaitGroup
	defer drivers.Wait()
	var last rollout.State // of the driver that ended last with something to say
	for i := range 200 {
		var s rollout.State
		var err error
		done := make(chan struct{})
		drivers.Go(func() {
			defer close(done)
			s, err = f.once(t, spec, fmt.Sprintf("driver%d", i), i > 0 && o.takeOver[i%30], i > 0)
			if f.mu.Lock(); err == nil {
				last = s
			}
			f.mu.Unlock()
		})
		if f.outlives(done, o.patience[i]) {
			continue // the next one takes over from it
		}
		var held *HeldError
		switch {
		case errors.Is(err, ErrDetached), errors.As(err, &held):
			time.Sleep(2 * time.Second)
		case err != nil:
			return []string{err.Error()}
		case s.Phase == rollout.Ended:
			drivers.Wait() // one that slept may have taken it up once more
			if last.Phase == rollout.Ended {
				return f.disagree(&last)
			}
		default: // it is held up: the next one resumes
			time.Sleep(20 * time.Second)
		}
	}
	return []string{"it does not end"}
}

// outlives says that a driver is still at it when the next one loses its patience.
func (f *fleet) outlives(done <-chan struct{}, patience time.Duration) bool {
	if patience == 0 {
		<-done
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return false
	case <-timer.C:
		return true
	}
}

// once is one driver, that may be killed.
func (f *fleet) once(t *testing.T, spec rollout.Spec, name string, takeOver, resume bool) (rollout.State, error) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	f.mu.Lock()
	f.kill = func() {
		f.dead.Store(name, true) // it cannot say that it leaves
		end()
	}
	f.trace = append(f.trace, "-- "+name)
	f.mu.Unlock()
	return f.drive(t, ctx, spec, name, func(o *Options) {
		o.Patience = time.Minute
		if takeOver {
			o.TakeOver, o.Reason = true, "it died"
		}
		if resume {
			o.Command = rollout.Resume
		}
		o.Deliver = func(_ context.Context, d Delivery) error {
			a := f.agents[d.Host]
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.claim != nil && a.claim.report.GetProgress() == pb.RolloutReport_PROGRESS_CLAIMED {
				a.claim.set(pb.RolloutReport_PROGRESS_PUSHED)
			}
			return nil
		}
	})
}

// disagree says where the report and the hosts differ.
func (f *fleet) disagree(s *rollout.State) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	results := s.Results()
	if len(results) != len(f.agents) {
		say("%d results for %d hosts", len(results), len(f.agents))
	}
	for _, r := range results {
		a := f.agents[r.Host]
		a.mu.Lock()
		a.pass()
		serves, claimed := a.serves, a.claim != nil
		a.mu.Unlock()
		if s.Host(r.Host).Lost {
			continue
		}
		switch {
		case r.Outcome == rollout.OutcomeInProgress || r.Serves == rollout.ServesUnknown:
			say("%s is in limbo: %+v", r.Host, r)
		case claimed:
			say("%s is still claimed", r.Host)
		case !a.unchanged && (serves == s.Spec.ID()) != (r.Serves == rollout.ServesNew):
			say("%s serves %s, and the report says %+v", r.Host, serves, r)
		}
	}
	if s.Verdict() == rollout.StillUnderWay || s.Verdict() == rollout.HeldBySomeone {
		say("ended, with verdict %d", s.Verdict())
	}
	return problems
}

func TestChecksDecide(t *testing.T) {
	for name, c := range map[string]struct {
		command []string
		verdict rollout.Verdict
		moved   string
	}{
		"pass": {[]string{"sh", "-c", `test "$GRACEFLEET_HOST-$GRACEFLEET_ADDRESS-$0" = web1-web1-web1`, "{host}"}, rollout.Done, "upgrade promote"},
		"fail": {[]string{"sh", "-c", "echo too many errors; exit 3"}, rollout.BackCleanly, "upgrade reject"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(1)
			defer f.close()
			spec := f.spec(t, "1", func(s *rollout.Spec) {
				s.Policy.Checks = []rollout.Check{{Command: c.command, Interval: 100 * time.Millisecond, Failures: 2, For: 300 * time.Millisecond}}
			}, rollout.Shape{})
			s, err := f.drive(t, t.Context(), spec, "a", func(o *Options) { o.Commands = true })
			if err != nil || s.Verdict() != c.verdict || strings.Join(f.agents["web1"].moved, " ") != c.moved {
				t.Errorf("%d, %v, %v", s.Verdict(), err, f.agents["web1"].moved)
			}
			if m := s.Results()[0].Message; c.verdict != rollout.Done && (!strings.Contains(m, "2 times in a row") || !strings.Contains(m, "too many errors")) {
				t.Error(m)
			}
		})
	}
}

// A claim that is asked for again because the answer was lost has the same epoch.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	story(t, 1, func(t *testing.T, f *fleet) {
		f.faults = map[int]fault{1: lost, 2: lost, 3: dropped}
		f.agents["web1"].refuse = map[string]*api.Error{"WatchRollout": {Code: codes.Internal}}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", nil)
		if err != nil || s.Verdict() != rollout.Done || f.agents["web1"].epoch != 1 {
			t.Errorf("%d, %v, epoch %d", s.Verdict(), err, f.agents["web1"].epoch)
		}
	})
}

// What came of a claim whose answers were all lost is not known: it is given up all the
// same, and nobody is taken for a later driver.
func TestAClaimThatWasNeverHeardOfIsGivenUp(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		f.agents["web2"].mute = map[string]bool{"ClaimRollout": true}
		f.agents["web3"].refuse = map[string]*api.Error{"ReleaseRollout": {Code: codes.Unavailable, Message: "busy"}}
		for name, when := range map[string]time.Duration{"web2": 20 * time.Second, "web3": 28 * time.Second} {
			a := f.agents[name]
			time.AfterFunc(when, func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.mute, a.refuse = nil, nil
			})
		}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", nil)
		if err != nil || s.Verdict() != rollout.NotDone || s.Ending != rollout.Unprepared {
			t.Errorf("%d, %v, %v", s.Verdict(), err, s.Ending)
		}
		for name, a := range f.agents {
			if a.claim != nil {
				t.Errorf("%s is still claimed", name)
			}
		}
	})
}

// A driver that died leaves leases behind on hosts that moved: the next one waits for
// their end, and takes nobody for its rival.
func TestALeaseThatIsLeftBehindEnds(t *testing.T) {
	story(t, 2, func(t *testing.T, f *fleet) {
		spec := f.spec(t, "1", nil, rollout.Shape{})
		f.leaveIn(t, spec, rollout.Rolling)
		synctest.Wait() // for calls that were under way
		// As if it had died: where it decided the lease has ended already.
		a, left := f.agents["web2"], time.Now()
		a.mu.Lock()
		a.claim.end = left.Add(DefaultLease)
		a.mu.Unlock()
		s, err := f.drive(t, t.Context(), spec, "b", nil)
		if waited := time.Since(left); err != nil || s.Verdict() != rollout.Done || waited < DefaultLease {
			t.Errorf("%d, %v, %s, after %v", s.Verdict(), err, outcomes(&s), waited)
		}
	})
}

// A claim that was on its way for long, and comes through when its driver's lease is over,
// makes that driver its own successor.
func TestADriverIsNotOvertakenByItself(t *testing.T) {
	story(t, 2, func(t *testing.T, f *fleet) {
		for _, a := range f.agents {
			time.AfterFunc(2*time.Second, func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.epoch++
				a.given[a.epoch] = "a"
				a.claim.report.Epoch = a.epoch
			})
		}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", nil)
		if err != nil || s.Verdict() != rollout.Done {
			t.Errorf("%d, %v", s.Verdict(), err)
		}
	})
}

// A host that was upgraded is looked at in the pause after its wave: what crashes then
// stops the next one.
func TestACrashInAPauseStopsTheNextWave(t *testing.T) {
	story(t, 5, func(t *testing.T, f *fleet) {
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Pause = 30 * time.Second }, canary(3))
		var once sync.Once
		s, err := f.drive(t, t.Context(), spec, "a", func(o *Options) {
			o.Observe = func(c Change) {
				if c.State.Phase != rollout.Pausing || c.State.Wave != 1 {
					return
				}
				once.Do(func() {
					a := f.agents["web2"] // operators are heard on web1
					time.AfterFunc(15*time.Second, func() {
						a.mu.Lock()
						defer a.mu.Unlock()
						a.serves = a.claim.before
						a.claim.set(pb.RolloutReport_PROGRESS_FAILED)
						a.wake()
					})
				})
			}
		})
		if err != nil || s.Verdict() != rollout.BackCleanly {
			t.Fatalf("%d, %v", s.Verdict(), err)
		}
		if got := outcomes(&s); got != "web1 rolled-back, web2 failed, web3 rolled-back, web4 not-started, web5 not-started" {
			t.Error(got)
		}
	})
}
