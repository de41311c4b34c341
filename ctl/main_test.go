package ctl

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got; -update writes it):\n%s", file, diff)
	}
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(d)) }

func ptr[T any](v T) *T { return &v }

var (
	digest7 = "sha256:" + strings.Repeat("7", 64)
	digest8 = "sha256:" + strings.Repeat("8", 64)
)

// web is the service of the tests: generation 7 replaced by 8.
func web(state pb.Upgrade_State, old, next pb.Generation_State, weight int32, open int32) *pb.ServiceStatus {
	up := &pb.Upgrade{
		Id: "up-1", Service: "web", State: state, Kind: pb.Upgrade_KIND_UPGRADE, FromGeneration: 7, ToGeneration: 8,
		Artifact: digest8, CreateTime: at(0),
		Steps: []*pb.CanaryStep{{Weight: 100}, {Weight: 1000, Manual: true}},
	}
	active := int32(7)
	if next == pb.Generation_STATE_ACTIVE {
		active = 8
	}
	if !inProgress(up) {
		up.EndTime = at(10200 * time.Millisecond)
	}
	return &pb.ServiceStatus{
		Service: &pb.Service{Name: "web", State: pb.Service_STATE_RUNNING, ActiveGeneration: active, Spec: &pb.ServiceSpec{Artifact: digest8}},
		Generations: []*pb.Generation{
			{Number: 8, State: next, Artifact: digest8, Version: "v2", Pid: 801, Weight: weight, OpenConnections: ptr(int32(3)), CreateTime: at(0)},
			{Number: 7, State: old, Artifact: digest7, Pid: 701, Weight: 10000 - weight, OpenConnections: ptr(open), Restarts: 1, CreateTime: at(-90 * time.Minute), Good: true},
		},
		Upgrade: up,
	}
}

// story is an upgrade that succeeds, as WatchService tells it.
func story() []*pb.ServiceStatus {
	canary := web(pb.Upgrade_STATE_CANARY, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_CANDIDATE, 100, 120)
	canary.Upgrade.Step, canary.Upgrade.StepConnections = 1, []int32{4}
	waiting := web(pb.Upgrade_STATE_CANARY, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_CANDIDATE, 1000, 110)
	waiting.Upgrade.Step, waiting.Upgrade.StepConnections, waiting.Upgrade.Waiting = 2, []int32{4, 30}, true
	soaking := web(pb.Upgrade_STATE_SOAKING, pb.Generation_STATE_STANDBY, pb.Generation_STATE_ACTIVE, 10000, 60)
	soaking.Upgrade.PhaseEndTime = at(20 * time.Second)
	done := web(pb.Upgrade_STATE_SUCCEEDED, pb.Generation_STATE_DRAINING, pb.Generation_STATE_ACTIVE, 10000, 12)
	done.Generations[1].Drain = &pb.DrainStatus{Phase: pb.DrainStatus_PHASE_SIGNALLED, Deadline: at(40 * time.Second), OpenConnections: ptr(int32(12))}
	return []*pb.ServiceStatus{
		web(pb.Upgrade_STATE_STARTING, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_STARTING, 0, 130),
		canary, waiting, soaking, done,
	}
}

// failed is an upgrade whose candidate exited.
func failed() *pb.ServiceStatus {
	st := web(pb.Upgrade_STATE_FAILED, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_FAILED, 0, 130)
	st.Upgrade.Reason, st.Upgrade.Message = pb.Reason_REASON_EXITED_EARLY, "generation 8 exited before it was ready"
	st.Upgrade.LastLines = []string{"starting", "panic: no config\x1b[2J"}
	st.Generations[0].Exit = &pb.Exit{Code: 3, Time: at(time.Second)}
	st.Generations[0].Reason = pb.Reason_REASON_EXITED_EARLY
	return st
}

// begins scripts StartUpgrade with the story's upgrade.
func (a *agent) begins(looks ...*pb.ServiceStatus) *agent {
	a.looks = looks
	return a.on(&pb.StartUpgradeRequest{}, &pb.StartUpgradeResponse{Upgrade: looks[0].GetUpgrade()})
}
