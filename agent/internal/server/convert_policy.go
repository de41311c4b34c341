package server

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// What UpgradePolicy.overlap may be.
const (
	overlapFull = "full"
	overlapNone = "none"
)

func (c *checker) fromUpgrade(m *pb.UpgradePolicy) service.Upgrade {
	overlap := m.GetOverlap()
	c.that(overlap == "" || overlap == overlapFull || overlap == overlapNone, "upgrade.overlap", "want full or none")
	soak := service.DefaultSoak
	if overlap == overlapNone {
		soak = 0 // there is nothing to soak beside
	}
	return service.Upgrade{
		Steps:          fromSteps(m.GetSteps()),
		Hold:           c.durationOr("upgrade.hold", m.GetHold(), service.DefaultHold),
		MinConnections: int(m.GetMinConnections()),
		StepTimeout:    c.positive("upgrade.step_timeout", m.GetStepTimeout()),
		Soak:           c.durationOr("upgrade.soak", m.GetSoak(), soak),
		RollbackWindow: c.durationOr("upgrade.rollback_window", m.GetRollbackWindow(), service.DefaultRollbackWindow),
		Check:          c.fromCheck(m.GetCheck()),
		NoOverlap:      overlap == overlapNone,
		OverlapLimit:   c.positive("upgrade.overlap_limit", m.GetOverlapLimit()),
	}
}

func (c *checker) fromCheck(m *pb.Check) *service.Check {
	if m == nil {
		return nil
	}
	return &service.Check{
		Probe:    c.fromProbe("upgrade.check", m.GetProbe()),
		Interval: c.positive("upgrade.check.interval", m.GetInterval()),
		Failures: int(m.GetFailures()),
	}
}

func fromSteps(list []*pb.CanaryStep) []service.Step {
	var out []service.Step
	for _, s := range list {
		out = append(out, service.Step{Weight: int(s.GetWeight()), Manual: s.GetManual()})
	}
	return out
}

// What DrainPolicy.at_deadline may be.
const (
	atDeadlineKill  = "kill"
	atDeadlineClose = "close_connections"
)

func (c *checker) fromDrain(m *pb.DrainPolicy) service.Drain {
	at := m.GetAtDeadline()
	c.that(at == "" || at == atDeadlineKill || at == atDeadlineClose, "drain.at_deadline", "want kill or close_connections")
	d := service.Drain{
		Mode:           service.DrainMode(m.GetMode()),
		Patience:       c.durationOr("drain.patience", m.GetPatience(), 0),
		Timeout:        c.positive("drain.timeout", m.GetTimeout()),
		MaxGenerations: int(m.GetMaxGenerations()),
		Nudge:          c.durationOr("drain.nudge", m.GetNudge(), 0), CloseConnections: at == atDeadlineClose,
	}
	if m.GetSignal() != "" {
		number, err := service.ParseSignal(m.GetSignal())
		c.failed("drain.signal", err)
		d.Signal = number
	}
	return d
}

func (c *checker) fromRestart(m *pb.RestartPolicy) service.Restart {
	return service.Restart{
		Policy:     service.RestartPolicy(m.GetPolicy()),
		Backoff:    c.positive("restart.backoff", m.GetBackoff()),
		MaxBackoff: c.positive("restart.max_backoff", m.GetMaxBackoff()),
		Hold:       c.durationOr("restart.hold", m.GetHold(), service.DefaultRestartHold),
	}
}

func toUpgradePolicy(u service.Upgrade) *pb.UpgradePolicy {
	m := &pb.UpgradePolicy{
		Hold: durationpb.New(u.Hold), MinConnections: count(u.MinConnections), StepTimeout: durationpb.New(u.StepTimeout),
		Soak: durationpb.New(u.Soak), RollbackWindow: durationpb.New(u.RollbackWindow),
	}
	if u.NoOverlap {
		m.Overlap, m.OverlapLimit = overlapNone, durationpb.New(u.OverlapLimit)
	}
	for _, s := range u.Steps {
		m.Steps = append(m.Steps, &pb.CanaryStep{Weight: count(s.Weight), Manual: s.Manual})
	}
	if u.Check != nil {
		m.Check = &pb.Check{Probe: toProbe(u.Check.Probe), Interval: durationpb.New(u.Check.Interval), Failures: count(u.Check.Failures)}
	}
	return m
}

func toDrainPolicy(d service.Drain) *pb.DrainPolicy {
	m := &pb.DrainPolicy{
		Mode: string(d.Mode), Patience: durationpb.New(d.Patience), Signal: service.SignalName(d.Signal),
		Timeout: durationpb.New(d.Timeout), MaxGenerations: count(d.MaxGenerations), AtDeadline: atDeadlineKill,
	}
	if d.Nudge != 0 {
		m.Nudge = durationpb.New(d.Nudge)
	}
	if d.CloseConnections {
		m.AtDeadline = atDeadlineClose
	}
	return m
}

func toRestartPolicy(r service.Restart) *pb.RestartPolicy {
	return &pb.RestartPolicy{
		Policy: string(r.Policy), Backoff: durationpb.New(r.Backoff), MaxBackoff: durationpb.New(r.MaxBackoff),
		Hold: durationpb.New(r.Hold),
	}
}
