package runner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

func canary(waves ...int) rollout.Shape {
	s := rollout.Shape{Canary: rollout.Canary{Amount: rollout.Amount{N: 1}}}
	for _, n := range waves {
		s.Waves.Reach = append(s.Waves.Reach, rollout.Amount{N: n})
	}
	return s
}

func TestEveryHostIsUpgradedInItsWave(t *testing.T) {
	story(t, 5, func(t *testing.T, f *fleet) {
		f.agents["web3"].unchanged = true
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Pause = time.Minute }, canary(3))
		var seen []Change
		began := time.Now()
		s, err := f.drive(t, t.Context(), spec, "a", func(o *Options) { o.Observe = func(c Change) { seen = append(seen, c) } })
		if err != nil || s.Verdict() != rollout.Done {
			t.Fatalf("%d, %v: %s", s.Verdict(), err, s.Why)
		}
		if took := time.Since(began); took < 2*time.Minute || took > 3*time.Minute {
			t.Errorf("two pauses of a minute, and it took %v", took)
		}
		if got := outcomes(&s); got != "web1 upgraded, web2 upgraded, web3 unchanged, web4 upgraded, web5 upgraded" {
			t.Error(got)
		}
		for name, a := range f.agents {
			if a.claim != nil || a.past[0].report.GetEnding() != "completed" {
				t.Errorf("%s is left with %v", name, a.claim)
			}
			// 14 renewals or so for a host that moves; where operators are heard each 2 s.
			if a.beats > 10 && name != "web1" {
				t.Errorf("%s was renewed %d times, and hardly moved", name, a.beats)
			}
		}
		for i, c := range seen[1:] {
			if c.Before == nil || seen[i].State.Phase != c.Before.Phase {
				t.Fatalf("change %d does not begin where the one before ended", i+1)
			}
		}
	})
}

func TestABadCanaryTouchesNobodyElse(t *testing.T) {
	story(t, 4, func(t *testing.T, f *fleet) {
		f.agents["web1"].bad = true
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, canary()), "a", nil)
		if err != nil || s.Verdict() != rollout.BackCleanly {
			t.Fatalf("%d, %v", s.Verdict(), err)
		}
		if got := outcomes(&s); got != "web1 failed, web2 not-started, web3 not-started, web4 not-started" {
			t.Error(got)
		}
	})
}

func TestAFailureSendsAllBackInReverse(t *testing.T) {
	story(t, 5, func(t *testing.T, f *fleet) {
		f.agents["web4"].bad = true
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, canary(2)), "a", nil)
		if err != nil || s.Verdict() != rollout.BackCleanly {
			t.Fatalf("%d, %v", s.Verdict(), err)
		}
		for name, a := range f.agents {
			if a.serves != "old" {
				t.Errorf("%s serves %s", name, a.serves)
			}
		}
	})
}

func TestSomeHostsAreOutOfReach(t *testing.T) {
	story(t, 10, func(t *testing.T, f *fleet) {
		f.agents["web1"].cut(true) // it would have decided
		spec := f.spec(t, "1", nil, rollout.Shape{})
		s, err := f.drive(t, t.Context(), spec, "a", nil)
		if err != nil || s.Verdict() != rollout.DoneButForSome {
			t.Fatalf("%d, %v, %s", s.Verdict(), err, outcomes(&s))
		}
		if r := s.Results()[0]; r.Outcome != rollout.OutcomeUnreachable || !strings.Contains(r.Message, "no route to web1") {
			t.Errorf("%+v", r)
		}
	})
}

// Hosts that are down before it is their turn to decide cost one timeout together.
func TestManyGatesAreDown(t *testing.T) {
	story(t, 40, func(t *testing.T, f *fleet) {
		for _, name := range f.spec(t, "1", nil, rollout.Shape{}).Gates {
			f.agents[name].cut(true)
		}
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.MaxUnreachable = rollout.Amount{N: 10} }, rollout.Shape{})
		began := time.Now()
		s, err := f.drive(t, t.Context(), spec, "a", nil)
		if err != nil || s.Verdict() != rollout.DoneButForSome {
			t.Fatalf("%d, %v, %s", s.Verdict(), err, outcomes(&s))
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNobodyMayClaim(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		for _, a := range f.agents {
			a.refuse = map[string]*api.Error{"ClaimRollout": {Code: codes.PermissionDenied, Reason: pb.Reason_REASON_PERMISSION, Message: "alice may not upgrade web"}}
		}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", nil)
		if err != nil || s.Verdict() != rollout.NotDone || !strings.Contains(s.Why, "alice may not upgrade web") {
			t.Fatalf("%d, %v, %s", s.Verdict(), err, s.Why)
		}
	})
}

func TestAFrozenHostIsSkipped(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		f.agents["web2"].refuse = map[string]*api.Error{"ClaimRollout": {Code: codes.FailedPrecondition, Reason: pb.Reason_REASON_FROZEN, Message: "frozen by bob"}}
		f.agents["web3"].refuse = map[string]*api.Error{"AdvanceRollout": {Code: codes.FailedPrecondition, Reason: pb.Reason_REASON_FROZEN, Message: "frozen by bob"}}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", nil)
		if err != nil || s.Verdict() != rollout.Done || outcomes(&s) != "web1 upgraded, web2 skipped, web3 skipped" {
			t.Fatalf("%d, %v, %s", s.Verdict(), err, outcomes(&s))
		}
	})
}

func TestAHostThatWillNotBeginHasFailed(t *testing.T) {
	story(t, 2, func(t *testing.T, f *fleet) {
		f.agents["web2"].refuse = map[string]*api.Error{"AdvanceRollout": {Code: codes.FailedPrecondition, Reason: pb.Reason_REASON_OUT_OF_MEMORY, Message: "too little memory"}}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, canary()), "a", nil)
		if r := s.Results()[1]; err != nil || s.Verdict() != rollout.BackCleanly || r.Reason != "OUT_OF_MEMORY" {
			t.Fatalf("%d, %v, %+v", s.Verdict(), err, r)
		}
	})
}

func TestAnotherRolloutHasTheService(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		first := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Manual = true }, canary())
		f.leaveIn(t, first, rollout.Pausing)
		// The same with another request: whoever runs the command again finds it.
		second := f.spec(t, "2", func(s *rollout.Spec) { s.Policy.Manual = true }, canary())
		s, err := f.drive(t, t.Context(), second, "b", nil)
		var held *HeldError
		if !errors.As(err, &held) || s.Verdict() != rollout.HeldBySomeone {
			t.Fatalf("%d, %v", s.Verdict(), err)
		}
		if held.Reason != pb.Reason_REASON_ROLLOUT_CLAIMED || held.Rollout != first.ID() || held.SpecHash != second.Hash() || held.Actor != "alice" || held.Driver != "a" || held.Time.IsZero() {
			t.Errorf("%+v", held)
		}
		// As if its driver had died: the lease is not over.
		f.agents["web1"].claim.end = time.Now().Add(DefaultLease)
		s, err = f.drive(t, t.Context(), first, "b", nil)
		if !errors.As(err, &held) || held.Reason != pb.Reason_REASON_ROLLOUT_DRIVEN || held.Driver != "a" || s.Verdict() != rollout.HeldBySomeone {
			t.Errorf("%d, %+v", s.Verdict(), err)
		}
		if _, err := f.drive(t, t.Context(), first, "c", func(o *Options) {
			o.TakeOver, o.Reason = true, "a left"
			o.Command = rollout.Abort
		}); err != nil {
			t.Error(err)
		}
	})
}

// A driver that slept finds itself overtaken, and does nothing.
func TestADriverThatIsOvertakenEnds(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Pause = time.Minute }, canary())
		done := make(chan rollout.State)
		go func() {
			s, err := f.drive(t, t.Context(), spec, "a", nil)
			var held *HeldError
			if !errors.As(err, &held) || held.Reason != pb.Reason_REASON_ROLLOUT_OVERTAKEN || held.Driver != "b" {
				t.Errorf("%v", err)
			}
			done <- s
		}()
		time.Sleep(20 * time.Second)
		s, err := f.drive(t, t.Context(), spec, "b", func(o *Options) { o.TakeOver, o.Reason = true, "a sleeps" })
		if err != nil || s.Verdict() != rollout.Done {
			t.Errorf("%d, %v", s.Verdict(), err)
		}
		if s := <-done; s.Verdict() != rollout.HeldBySomeone {
			t.Errorf("%d", s.Verdict())
		}
	})
}

func TestOperatorsAreHeard(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Manual = true }, canary(2))
		r, err := New(spec, Options{Dial: f.dialer("a"), Driver: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Command(t.Context(), rollout.Pause, ""); err == nil {
			t.Error("paused before it began")
		}
		var s rollout.State
		done := make(chan struct{})
		go func() {
			defer close(done)
			s, err = r.Run(t.Context())
		}()
		time.Sleep(10 * time.Second)
		if err := r.Command(t.Context(), rollout.Promote, "looks good"); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if err := r.Command(t.Context(), rollout.Resume, ""); !errors.Is(err, rollout.ErrNotHeld) {
			t.Errorf("%v", err)
		}
		// Somebody else, at the host where it listens.
		conn, err := f.agents["web1"].dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := pb.NewRolloutServiceClient(conn).ControlRollout(t.Context(), &pb.ControlRolloutRequest{
			Service: "web", RolloutId: spec.ID(), Action: pb.ControlRolloutRequest_ACTION_ABORT,
		}); err != nil {
			t.Error(err)
		}
		<-done
		if err != nil || s.Verdict() != rollout.BackCleanly || outcomes(&s) != "web1 rolled-back, web2 rolled-back, web3 not-started" {
			t.Errorf("%d, %v, %s", s.Verdict(), err, outcomes(&s))
		}
	})
}

func TestDeliveries(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		for _, a := range f.agents {
			a.lacks = true
		}
		var sent []int64
		tries := 0
		s, err := f.drive(t, t.Context(), f.spec(t, "1", func(s *rollout.Spec) { s.Policy.MaxFailures = rollout.Amount{N: 1} }, rollout.Shape{}), "a", func(o *Options) {
			o.Observe = func(c Change) {
				if c.Size > 0 {
					sent = append(sent, c.Sent)
				}
			}
			o.Deliver = func(_ context.Context, d Delivery) error {
				if d.Host == "web3" {
					return errors.New("no such artifact")
				}
				a := f.agents[d.Host]
				a.mu.Lock()
				defer a.mu.Unlock()
				if tries++; tries == 1 {
					return refused(codes.Unavailable, 0, "away", nil)
				}
				d.Sent(10, 10)
				a.claim.set(pb.RolloutReport_PROGRESS_PUSHED)
				return nil
			}
		})
		if err != nil || s.Verdict() != rollout.Mixed || outcomes(&s) != "web1 upgraded, web2 upgraded, web3 failed" {
			t.Errorf("%d, %v, %s", s.Verdict(), err, outcomes(&s))
		}
		if len(sent) != 2 || tries != 3 {
			t.Errorf("sent %v in %d tries", sent, tries)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	f := &fleet{names: []string{"web1"}}
	spec := f.spec(t, "1", func(s *rollout.Spec) {
		s.Policy.Checks = []rollout.Check{{Command: []string{"rm"}, Interval: time.Second, Failures: 1}}
	}, rollout.Shape{})
	dial := f.dialer("a")
	for why, o := range map[string]Options{
		"want Dial":             {Driver: "a"},
		"say why":               {Dial: dial, Driver: "a", TakeOver: true},
		"nothing else":          {Dial: dial, Driver: "a", Command: rollout.Pause},
		"below 0":               {Dial: dial, Driver: "a", Lease: -1},
		"nobody has allowed it": {Dial: dial, Driver: "a"},
	} {
		if _, err := New(spec, o); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}

// Past the budget the rollout waits, for as long as its driver has patience.
func TestHostsThatAreLostHoldItUp(t *testing.T) {
	for patience, want := range map[time.Duration]rollout.Verdict{0: rollout.Mixed, 5 * time.Minute: rollout.Done} {
		story(t, 3, func(t *testing.T, f *fleet) {
			spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Pause = time.Minute }, canary(2))
			cut := time.AfterFunc(30*time.Second, func() { f.agents["web2"].cut(true) })
			back := time.AfterFunc(3*time.Minute, func() { f.agents["web2"].cut(false) })
			defer cut.Stop()
			defer back.Stop()
			s, err := f.drive(t, t.Context(), spec, "a", func(o *Options) { o.Patience = patience })
			if err != nil || s.Verdict() != want || (want == rollout.Mixed) != s.HeldUp() {
				t.Errorf("%v: %d, %v, %v", patience, s.Verdict(), err, outcomes(&s))
			}
		})
	}
}

// A host whose agent hears nothing of a driver takes the upgrade back, and is told to
// begin anew.
func TestAnUpgradeThatWasTakenBackBeginsAnew(t *testing.T) {
	story(t, 1, func(t *testing.T, f *fleet) {
		a := f.agents["web1"]
		a.refuse = map[string]*api.Error{"RenewRollout": {Code: codes.Unavailable, Message: "busy"}}
		time.AfterFunc(2*time.Second, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.pass()
			a.refuse = nil
		})
		spec := f.spec(t, "1", func(s *rollout.Spec) {
			s.Policy.OnOrphan, s.Policy.MaxUnreachable = rollout.OrphanRollBack, rollout.Amount{N: 1}
		}, rollout.Shape{})
		s, err := f.drive(t, t.Context(), spec, "a", func(o *Options) { o.Lease = 1500 * time.Millisecond })
		if err != nil || s.Verdict() != rollout.Done || strings.Join(a.moved, " ") != "upgrade upgrade" {
			t.Errorf("%d, %v, %v", s.Verdict(), err, a.moved)
		}
	})
}

// A host that lost its disk is not gone on with.
func TestAClaimThatIsGoneIsLost(t *testing.T) {
	story(t, 2, func(t *testing.T, f *fleet) {
		a := f.agents["web2"]
		time.AfterFunc(2*time.Second, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.claim = nil
			a.wake()
		})
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", nil)
		if r := s.Results()[1]; err != nil || s.Verdict() != rollout.Mixed || r.Reason != rollout.ReasonClaimLost || r.Serves != rollout.ServesUnknown {
			t.Errorf("%d, %v, %+v", s.Verdict(), err, r)
		}
	})
}

func TestAnAgentThatSaysWaitIsWaitedFor(t *testing.T) {
	story(t, 2, func(t *testing.T, f *fleet) {
		for name, d := range map[string]time.Duration{"web1": 5 * time.Second, "web2": time.Hour} {
			a := f.agents[name]
			a.refuse = map[string]*api.Error{"ClaimRollout": {Code: codes.ResourceExhausted, Reason: pb.Reason_REASON_RATE_LIMITED, Message: "too fast", RetryAfter: time.Second}}
			timer := time.AfterFunc(d, func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.refuse = nil
			})
			defer timer.Stop()
		}
		s, err := f.drive(t, t.Context(), f.spec(t, "1", func(s *rollout.Spec) { s.Policy.MaxUnreachable = rollout.Amount{N: 1} }, rollout.Shape{}), "a", nil)
		if err != nil || s.Verdict() != rollout.DoneButForSome || s.Results()[1].Message != "too fast" {
			t.Errorf("%d, %v, %+v", s.Verdict(), err, s.Results())
		}
	})
}

func TestADriverLeavesWithinASecond(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		f.agents["web2"].cut(true)
		f.agents["web3"].lacks = true
		ctx, leave := context.WithCancel(t.Context())
		var left time.Time
		time.AfterFunc(25*time.Second, func() {
			left = time.Now()
			leave()
		})
		s, err := f.drive(t, ctx, f.spec(t, "1", func(s *rollout.Spec) { s.Policy.MaxUnreachable = rollout.Amount{N: 1} }, rollout.Shape{}), "a", func(o *Options) {
			o.Deliver = func(ctx context.Context, _ Delivery) error {
				<-ctx.Done()
				return ctx.Err()
			}
		})
		if took := time.Since(left); !errors.Is(err, ErrDetached) || s.Verdict() != rollout.StillUnderWay || took > time.Second {
			t.Errorf("%d, %v, after %v", s.Verdict(), err, took)
		}
		if f.agents["web1"].claim == nil {
			t.Error("the claim is given up")
		}
		sight, err := Looker{Dial: f.dialer("b")}.Look(t.Context(), "web", "", []string{"web1", "web3"})
		if err != nil || sight.Driven() != nil {
			t.Errorf("it is there still: %v, %v", sight.Driven(), err)
		}
	})
}

// Claims come with a lease: who goes on soon after a driver has left waits for none.
func TestADriverThatLeavesHoldsNothing(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Manual = true }, canary())
		f.leaveIn(t, spec, rollout.Pausing)
		sight, err := Looker{Dial: f.dialer("b")}.Look(t.Context(), "web", "", []string{"web1", "web2", "web3"})
		if err != nil || len(sight.Reports) != 3 {
			t.Fatalf("%+v, %v", sight, err)
		}
		for host, r := range sight.Reports {
			if r.GetLeaseEndTime() != nil {
				t.Errorf("%s waits for the driver until %v", host, r.GetLeaseEndTime().AsTime())
			}
		}
	})
}

// Hosts that fetch by themselves are watched, and not asked again and again.
func TestHostsFetchByThemselves(t *testing.T) {
	story(t, 2, func(t *testing.T, f *fleet) {
		for _, a := range f.agents {
			a.lacks = true
			time.AfterFunc(time.Minute, func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.claim.set(pb.RolloutReport_PROGRESS_PUSHED)
				a.wake()
			})
		}
		var ready time.Time
		began := time.Now()
		s, err := f.drive(t, t.Context(), f.spec(t, "1", nil, rollout.Shape{}), "a", func(o *Options) {
			o.MaxConns = 1
			o.Observe = func(c Change) {
				if c.State.Phase == rollout.Rolling && ready.IsZero() {
					ready = c.At
				}
			}
		})
		if err != nil || s.Verdict() != rollout.Done {
			t.Fatalf("%d, %v, %v", s.Verdict(), err, outcomes(&s))
		}
		if took := ready.Sub(began); took > time.Minute+turn {
			t.Errorf("ready after %v", took)
		}
		if n := f.agents["web2"].beats; n > 15 {
			t.Errorf("a host that fetches was asked %d times", n)
		}
	})
}
