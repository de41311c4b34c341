package server

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// What apply answers can be applied again and means the same.
func TestSpecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := spectest.Valid().Draw(t, "spec")
		m := toSpec(s)
		wire, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		received := &pb.ServiceSpec{}
		if err := proto.Unmarshal(wire, received); err != nil {
			t.Fatal(err)
		}
		c := &checker{}
		back := c.spec(s.Name, received)
		if err := c.err(); err != nil {
			t.Fatalf("%v: %v", m, err)
		}
		if d := service.Diff(s, back); len(d) > 0 || service.ETag(s) != service.ETag(back) {
			t.Fatalf("changed: %v", d)
		}
		if d := cmp.Diff(m, toSpec(back), protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestUnsetAndZeroDiffer(t *testing.T) {
	read := func(m *pb.ServiceSpec) (service.Spec, error) {
		m.Artifact = "host:/bin/web"
		c := &checker{}
		s := c.spec("web", m)
		return s, c.err()
	}
	unset, err := read(&pb.ServiceSpec{})
	if err != nil || unset.Upgrade.Soak != 10*time.Second || unset.Restart.Hold != 5*time.Second || unset.KeepGenerations != 5 || unset.Upgrade.RollbackWindow != 10*time.Minute {
		t.Errorf("got %+v, %v", unset, err)
	}
	zero, err := read(&pb.ServiceSpec{
		KeepGenerations: proto.Int32(0), Restart: &pb.RestartPolicy{Hold: durationpb.New(0)},
		Upgrade: &pb.UpgradePolicy{Soak: durationpb.New(0), Hold: durationpb.New(0), RollbackWindow: durationpb.New(0)},
	})
	if err != nil || zero.Upgrade.Soak != 0 || zero.Upgrade.Hold != 0 || zero.Restart.Hold != 0 || zero.KeepGenerations != 0 || zero.Upgrade.RollbackWindow != 0 {
		t.Errorf("got %+v, %v", zero, err)
	}
	_, err = read(&pb.ServiceSpec{Drain: &pb.DrainPolicy{Timeout: durationpb.New(0)}})
	wantViolation(t, toStatus(t.Context(), err), "drain.timeout")
}

func TestOverlap(t *testing.T) {
	read := func(m *pb.UpgradePolicy) (service.Upgrade, error) {
		c := &checker{}
		s := c.spec("web", &pb.ServiceSpec{Artifact: "host:/bin/web", Upgrade: m})
		return s.Upgrade, c.err()
	}
	full, err := read(&pb.UpgradePolicy{Overlap: "full"})
	if err != nil || full.NoOverlap || full.Soak != service.DefaultSoak {
		t.Errorf("overlap: full became %+v, %v", full, err)
	}
	none, err := read(&pb.UpgradePolicy{Overlap: "none"})
	if err != nil || !none.NoOverlap || none.Soak != 0 || none.OverlapLimit != 10*time.Second {
		t.Errorf("overlap: none became %+v, %v", none, err)
	}
	if m := toUpgradePolicy(none); m.GetOverlap() != "none" || m.GetOverlapLimit().AsDuration() != 10*time.Second {
		t.Errorf("it is shown as %v", m)
	}
	for field, m := range map[string]*pb.UpgradePolicy{
		"upgrade.overlap":       {Overlap: "some"},
		"upgrade.overlap_limit": {OverlapLimit: durationpb.New(time.Second)},
		"upgrade.soak":          {Overlap: "none", Soak: durationpb.New(1)},
	} {
		_, err := read(m)
		wantViolation(t, toStatus(t.Context(), err), field)
	}
}

func TestUnreadableSpecs(t *testing.T) {
	for field, m := range map[string]*pb.ServiceSpec{
		"spec":              nil,
		"sockets[0].listen": {Sockets: []*pb.Socket{{Name: "a", Listen: "80"}}},
		"drain.signal":      {Drain: &pb.DrainPolicy{Signal: "SIGKILL"}},
		"ready.timeout":     {Readiness: &pb.Readiness{Timeout: &durationpb.Duration{Seconds: 1 << 60}}},
		"sockets":           {Sockets: make([]*pb.Socket, 65)},
	} {
		c := &checker{}
		c.spec("web", m)
		wantViolation(t, toStatus(t.Context(), c.err()), field)
	}
}

func TestStatesHaveTheNumbersOfTheContract(t *testing.T) {
	for want, got := range map[pb.Generation_State]lifecycle.GenerationState{
		pb.Generation_STATE_STARTING: lifecycle.Starting, pb.Generation_STATE_CANDIDATE: lifecycle.Candidate,
		pb.Generation_STATE_ACTIVE: lifecycle.Active, pb.Generation_STATE_STANDBY: lifecycle.Standby,
		pb.Generation_STATE_DRAINING: lifecycle.Draining, pb.Generation_STATE_STOPPED: lifecycle.Stopped,
		pb.Generation_STATE_FAILED: lifecycle.Failed,
	} {
		if toGeneration(supervisor.Generation{State: got}).GetState() != want {
			t.Errorf("%v", want)
		}
	}
	for want, got := range map[pb.Upgrade_State]lifecycle.UpgradeState{
		pb.Upgrade_STATE_STARTING: lifecycle.UpgradeStarting, pb.Upgrade_STATE_CANARY: lifecycle.UpgradeCanary,
		pb.Upgrade_STATE_SOAKING: lifecycle.UpgradeSoaking, pb.Upgrade_STATE_SUCCEEDED: lifecycle.UpgradeSucceeded,
		pb.Upgrade_STATE_FAILED: lifecycle.UpgradeFailed, pb.Upgrade_STATE_ABORTED: lifecycle.UpgradeAborted,
	} {
		if toUpgrade(&supervisor.Upgrade{State: got}).GetState() != want {
			t.Errorf("%v", want)
		}
	}
	for want, got := range map[pb.Upgrade_Kind]lifecycle.Kind{
		pb.Upgrade_KIND_CREATE: lifecycle.KindCreate, pb.Upgrade_KIND_UPGRADE: lifecycle.KindUpgrade,
		pb.Upgrade_KIND_ROLLBACK: lifecycle.KindRollback, pb.Upgrade_KIND_RESTART: lifecycle.KindRestart,
		pb.Upgrade_KIND_AUTO_ROLLBACK: lifecycle.KindAutoRollback,
	} {
		if toUpgrade(&supervisor.Upgrade{Kind: got}).GetKind() != want {
			t.Errorf("%v", want)
		}
	}
	for want, got := range map[pb.DrainStatus_Phase]lifecycle.Phase{
		pb.DrainStatus_PHASE_QUIESCING: lifecycle.Quiescing, pb.DrainStatus_PHASE_PATIENT: lifecycle.Patient,
		pb.DrainStatus_PHASE_SIGNALLED: lifecycle.Signalled, pb.DrainStatus_PHASE_KILLED: lifecycle.Killed,
	} {
		if toDrain(&supervisor.Drain{Phase: got}).GetPhase() != want {
			t.Errorf("%v", want)
		}
	}
	for want, got := range map[pb.Service_State]supervisor.ServiceState{
		pb.Service_STATE_RUNNING: supervisor.Running, pb.Service_STATE_STOPPED: supervisor.Halted, pb.Service_STATE_DOWN: supervisor.Down,
	} {
		if toService(supervisor.Status{State: got}).GetState() != want {
			t.Errorf("%v", want)
		}
	}
}

func TestUnknownIsAbsentAndZeroIsNot(t *testing.T) {
	zero := 0
	g := toGeneration(supervisor.Generation{Drain: &supervisor.Drain{Connections: &zero}})
	if g.OpenConnections != nil || g.ReadyTime != nil || g.Exit != nil || g.Drain.Idle != nil || g.Drain.Deadline != nil {
		t.Errorf("got %v", g)
	}
	if g.Drain.OpenConnections == nil || *g.Drain.OpenConnections != 0 {
		t.Errorf("got %v", g.Drain)
	}
}

// A program may write any bytes; protobuf refuses most of them.
func TestTextOfProgramsIsValid(t *testing.T) {
	_, err := proto.Marshal(toStatusMessage(supervisor.Status{
		Warnings:    []string{"\xff"},
		Generations: []supervisor.Generation{{StatusText: "\xff", Message: "\xff"}},
		Upgrade:     &supervisor.Upgrade{LastLines: []string{"\xff\x00"}, Message: "\xff", Warnings: []string{"\xff"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	var all []item[*pb.Generation]
	for _, key := range []string{"c", "a", "b"} {
		all = append(all, item[*pb.Generation]{key, &pb.Generation{Message: string(make([]byte, 700<<10)), Artifact: key}})
	}
	var got, token string
	for range 4 {
		values, next, err := page(all, true, 0, token)
		if err != nil || len(values) != 1 {
			t.Fatal(len(values), err)
		}
		got += values[0].GetArtifact()
		if token = next; token == "" {
			break
		}
	}
	if got != "cba" {
		t.Errorf("got %q", got)
	}
}
