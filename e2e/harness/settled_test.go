//go:build linux

package harness

import (
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestInLimbo(t *testing.T) {
	const (
		active, standby, draining = pb.Generation_STATE_ACTIVE, pb.Generation_STATE_STANDBY, pb.Generation_STATE_DRAINING
		candidate, failed         = pb.Generation_STATE_CANDIDATE, pb.Generation_STATE_FAILED
	)
	status := func(weight int32, upgrade pb.Upgrade_State, states ...pb.Generation_State) *pb.ServiceStatus {
		s := &pb.ServiceStatus{Upgrade: &pb.Upgrade{State: upgrade}}
		for i, state := range states {
			g := &pb.Generation{Number: int32(i + 1), State: state}
			if state == active {
				g.Weight = weight
			}
			s.Generations = append(s.Generations, g)
		}
		return s
	}
	for name, c := range map[string]struct {
		status *pb.ServiceStatus
		rests  bool
	}{
		"after an upgrade":        {status(10000, pb.Upgrade_STATE_SUCCEEDED, draining, active), true},
		"after one that failed":   {status(10000, pb.Upgrade_STATE_FAILED, active, failed), true},
		"in its soak":             {status(10000, pb.Upgrade_STATE_SOAKING, draining, active), false},
		"with a standby":          {status(10000, pb.Upgrade_STATE_SUCCEEDED, standby, active), false},
		"with a candidate":        {status(10000, pb.Upgrade_STATE_SUCCEEDED, active, candidate), false},
		"with a part of all":      {status(9000, pb.Upgrade_STATE_SUCCEEDED, draining, active), false},
		"with two active":         {status(10000, pb.Upgrade_STATE_SUCCEEDED, active, active), false},
		"with nothing that lives": {status(10000, pb.Upgrade_STATE_FAILED, failed), false},
	} {
		if err := inLimbo(c.status); (err == nil) != c.rests {
			t.Errorf("a host %s: %v", name, err)
		}
	}
}

func TestAsReported(t *testing.T) {
	for _, c := range []struct {
		runs, outcome string
		right         bool
	}{
		{"new", "upgraded", true},
		{"old", "upgraded", false},
		{"new", "unchanged", true},
		{"old", "rolled-back", true},
		{"new", "rolled-back", false},
		{"new", "failed", false},
		{"old", "not-started", true},
		{"old", "unreachable", true},
		{"new", "unreachable", true},
		{"other", "unreachable", false},
		{"old", "", false},
	} {
		if err := asReported(c.runs, c.outcome, "old", "new"); (err == nil) != c.right {
			t.Errorf("%s runs on a host that is %q: %v", c.runs, c.outcome, err)
		}
	}
}
