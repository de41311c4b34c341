package demo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// play tells the acts in order.
func (s *stage) play(ctx context.Context, o Options) error {
	acts := []func(context.Context) error{
		func(ctx context.Context) error { return s.create(ctx, o) },
		s.canary, s.badCandidate, s.abort, s.rollback,
	}
	for _, act := range acts {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) create(ctx context.Context, o Options) error {
	s.screen.act("1. A service", "gracectl apply -f sample.yaml")
	artifact, err := s.push(ctx, "v1")
	if err != nil {
		return err
	}
	answer, err := s.services().ApplyService(ctx, &pb.ApplyServiceRequest{Name: sample, Spec: s.spec(artifact)})
	if err != nil {
		return err
	}
	u, err := s.ended(ctx, answer.GetUpgrade().GetId())
	if err != nil {
		return err
	}
	if u.GetState() != pb.Upgrade_STATE_SUCCEEDED {
		return unexpected(u)
	}
	s.startLoad(ctx, o)
	s.screen.say("generation 1 serves v1 on port %d; %.0f requests a second from now on, none is ever repeated", s.port, o.Rate)
	return rest(ctx, time.Second)
}

// begin starts an upgrade to a version.
func (s *stage) begin(ctx context.Context, version string, steps []*pb.CanaryStep, hold, soak time.Duration) (*pb.Upgrade, time.Time, error) {
	artifact, err := s.push(ctx, version)
	if err != nil {
		return nil, time.Time{}, err
	}
	trigger := time.Now()
	answer, err := s.upgrades().StartUpgrade(ctx, &pb.StartUpgradeRequest{
		Service: sample, Artifact: artifact, Steps: steps, NoSteps: len(steps) == 0,
		Hold: durationpb.New(hold), Soak: durationpb.New(soak),
	})
	return answer.GetUpgrade(), trigger, err
}

func (s *stage) canary(ctx context.Context) error {
	s.screen.act("2. An upgrade, step by step", "gracectl upgrade sample ./sample-v2 --steps 10%,50% --hold 2s --soak 1s")
	steps := []*pb.CanaryStep{{Weight: 1000}, {Weight: 5000}}
	u, _, err := s.begin(ctx, "v2", steps, 2*time.Second, time.Second)
	if err != nil {
		return err
	}
	for i, step := range steps {
		if err := s.step(ctx, u, i+1, step.GetWeight()); err != nil {
			return err
		}
	}
	end, err := s.ended(ctx, u.GetId())
	if err != nil {
		return err
	}
	if end.GetState() != pb.Upgrade_STATE_SUCCEEDED {
		return unexpected(end)
	}
	s.screen.say("v2 is promoted, v1 drains")
	return nil
}

// step measures the share of new connections that a step gives.
func (s *stage) step(ctx context.Context, u *pb.Upgrade, n int, weight int32) error {
	at := func(step int32) func(*pb.ServiceStatus) bool {
		return func(st *pb.ServiceStatus) bool {
			now := st.GetUpgrade()
			return now.GetId() == u.GetId() && (now.GetStep() >= step || now.GetState() > pb.Upgrade_STATE_CANARY)
		}
	}
	if _, err := s.await(ctx, at(int32(n))); err != nil {
		return err
	}
	before := s.fresh(u)
	_, err := s.await(ctx, func(st *pb.ServiceStatus) bool {
		return at(int32(n)+1)(st) || st.GetUpgrade().GetState() > pb.Upgrade_STATE_CANARY
	})
	if err != nil {
		return err
	}
	after := s.fresh(u)
	all := after.all - before.all
	if all == 0 {
		return fmt.Errorf("step %d saw no connection", n)
	}
	s.screen.say("step %d gives v2 %d%% of new connections: it got %d of %d (%.0f%%)",
		n, weight/100, after.to-before.to, all, 100*float64(after.to-before.to)/float64(all))
	return nil
}

func (s *stage) badCandidate(ctx context.Context) error {
	s.screen.act("3. A bad candidate", "gracectl upgrade sample ./sample-v3 --steps 10% --hold 10s")
	u, _, err := s.begin(ctx, "v3 bad", []*pb.CanaryStep{{Weight: 1000}}, 10*time.Second, time.Second)
	if err != nil {
		return err
	}
	end, err := s.ended(ctx, u.GetId())
	if err != nil {
		return err
	}
	if end.GetState() != pb.Upgrade_STATE_FAILED {
		return unexpected(end)
	}
	s.screen.say("turned away by itself: %s", end.GetMessage())
	if lines := end.GetLastLines(); len(lines) > 0 {
		s.screen.say("its last words: %q", lines[len(lines)-1])
	}
	return nil
}

func (s *stage) abort(ctx context.Context) error {
	s.screen.act("4. Second thoughts", "gracectl upgrade sample ./sample-v4 --soak 1m; gracectl abort sample")
	u, trigger, err := s.begin(ctx, "v4", nil, 0, time.Minute)
	if err != nil {
		return err
	}
	if _, err := s.await(ctx, func(st *pb.ServiceStatus) bool {
		return st.GetUpgrade().GetId() == u.GetId() && st.GetUpgrade().GetState() >= pb.Upgrade_STATE_SOAKING
	}); err != nil {
		return err
	}
	if err := rest(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	s.firstAnswer = s.seen(u.GetToGeneration()).FirstAnswer.Sub(trigger)
	s.screen.say("v4 takes every new connection; its first answer came %s after the call", short(s.firstAnswer))
	call := time.Now()
	answer, err := s.upgrades().AbortUpgrade(ctx, &pb.AbortUpgradeRequest{Service: sample, Id: u.GetId()})
	if err != nil {
		return err
	}
	took := time.Since(call)
	if answer.GetUpgrade().GetState() != pb.Upgrade_STATE_ABORTED {
		return unexpected(answer.GetUpgrade())
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	s.lastStray = max(0, s.seen(u.GetToGeneration()).LastFreshConnect.Sub(call))
	s.screen.say("the abort took %s; the last connection reached v4 %s after the call", short(took), short(s.lastStray))
	return nil
}

func (s *stage) rollback(ctx context.Context) error {
	s.screen.act("5. A rollback", "gracectl rollback sample")
	call := time.Now()
	answer, err := s.upgrades().RollbackService(ctx, &pb.RollbackServiceRequest{Service: sample})
	if err != nil {
		return err
	}
	end, err := s.ended(ctx, answer.GetUpgrade().GetId())
	if err != nil {
		return err
	}
	if end.GetState() != pb.Upgrade_STATE_SUCCEEDED {
		return unexpected(end)
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	first := s.seen(end.GetToGeneration()).FirstAnswer.Sub(call)
	s.screen.say("back on v1 as generation %d; its first answer came %s after the call", end.GetToGeneration(), short(first))
	return nil
}

type shares struct{ all, to int64 }

// fresh counts the answers on connections of their own so far.
func (s *stage) fresh(u *pb.Upgrade) shares {
	var out shares
	for name, g := range s.load.Snapshot().Generations {
		out.all += g.Fresh
		if name == strconv.Itoa(int(u.GetToGeneration())) {
			out.to = g.Fresh
		}
	}
	return out
}

type seen struct{ FirstAnswer, LastFreshConnect time.Time }

func (s *stage) seen(generation int32) seen {
	g := s.load.Snapshot().Generations[strconv.Itoa(int(generation))]
	return seen{g.FirstAnswer, g.LastFreshConnect}
}

func unexpected(u *pb.Upgrade) error {
	return fmt.Errorf("upgrade %s ended as %s: %s", u.GetId(), u.GetState(), u.GetMessage())
}

// rest gives the load time to show what happened.
func rest(ctx context.Context, d time.Duration) error {
	if err := pause.For(ctx, d); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	return nil
}
