//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// full asks for the promised figures instead of a quick run.
var full = os.Getenv("GRACEFLEET_FULL") == "1"

func TestMain(m *testing.M) { harness.Main(m) }

// awaitLimit is how long anything may take that takes milliseconds; it only ends
// a test that has failed.
const awaitLimit = 30 * time.Second

// service is one service named web, in a test of its own.
type service struct {
	*harness.Agent
	t       testing.TB
	folder  string
	address string
	spec    string
}

// start runs an agent and, as generation 1, a testserver in version v1. The YAML
// has all that the test wants but name and artifact; ADDRESS in it becomes a free
// one.
func start(t testing.TB, folder, yaml string, flags ...string) *service {
	t.Helper()
	s := &service{Agent: harness.Start(t, flags...), t: t, folder: folder}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.ReplaceAll(yaml, "ADDRESS", "tcp://"+s.address)
	s.Apply(t, s.yaml("v1"))
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

func (s *service) yaml(version string) string {
	s.t.Helper()
	return "name: web\nartifact: " + harness.Program(s.t, s.folder, version) + "\n" + s.spec
}

// await waits for a generation to be in a state.
func (s *service) await(generation int32, state pb.Generation_State) *pb.Generation {
	s.t.Helper()
	st := s.Await(s.t, "web", func(st *pb.ServiceStatus) bool {
		return harness.Generation(st, generation).GetState() == state
	}, awaitLimit)
	return harness.Generation(st, generation)
}

// awaitAlone waits until nothing but the active generation is alive.
func (s *service) awaitAlone(limit time.Duration) {
	s.t.Helper()
	s.Await(s.t, "web", func(st *pb.ServiceStatus) bool { return alive(st) == 1 }, limit)
}

func alive(st *pb.ServiceStatus) (n int) {
	for _, g := range st.GetGenerations() {
		if g.GetState() != pb.Generation_STATE_STOPPED && g.GetState() != pb.Generation_STATE_FAILED {
			n++
		}
	}
	return n
}

// push stores a version of the service's program and returns its digest.
func (s *service) push(version string) string {
	s.t.Helper()
	return strings.TrimSpace(s.CtlOK(s.t, "push", "--version", version, harness.Program(s.t, s.folder, version)))
}

func (s *service) upgrades() pb.UpgradeServiceClient {
	s.t.Helper()
	return pb.NewUpgradeServiceClient(s.Client(s.t))
}

// upgrade starts one, which is promoted after the soak.
func (s *service) upgrade(digest string, soak time.Duration) *pb.Upgrade {
	s.t.Helper()
	answer, err := s.upgrades().StartUpgrade(s.t.Context(), &pb.StartUpgradeRequest{
		Service: "web", Artifact: digest, Soak: durationpb.New(soak),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.GetUnchanged() || answer.GetAttached() {
		s.t.Fatalf("an upgrade to %s starts nothing: %v", digest, answer)
	}
	return answer.GetUpgrade()
}

// awaitUpgrade waits for the latest upgrade's state, and fails the test when it
// ends in another.
func (s *service) awaitUpgrade(want pb.Upgrade_State) *pb.Upgrade {
	s.t.Helper()
	st := s.Await(s.t, "web", func(st *pb.ServiceStatus) bool {
		return st.GetUpgrade().GetState() == want || over(st.GetUpgrade())
	}, awaitLimit)
	if got := st.GetUpgrade(); got.GetState() != want {
		s.t.Fatalf("the upgrade is %v, want %v: %v", got.GetState(), want, got)
	}
	return st.GetUpgrade()
}

func over(u *pb.Upgrade) bool {
	switch u.GetState() {
	case pb.Upgrade_STATE_SUCCEEDED, pb.Upgrade_STATE_FAILED, pb.Upgrade_STATE_ABORTED:
		return true
	}
	return false
}

// load runs clients until the test, or their Stop, ends them.
func (s *service) load(fresh, keepAlive float64, onAnswer func(load.Answer)) *load.Load {
	s.t.Helper()
	l := load.Run(s.t.Context(), load.Config{Address: s.address, Fresh: fresh, KeepAlive: keepAlive, OnAnswer: onAnswer})
	s.t.Cleanup(func() { l.Stop() })
	return l
}

// unharmed stops a load that must have lost nothing.
func unharmed(t testing.TB, l *load.Load) load.Snapshot {
	t.Helper()
	seen := l.Stop()
	if seen.Lost() != 0 {
		t.Errorf("requests were lost:\n%v", seen)
	}
	if seen.Answered() == 0 {
		t.Error("no request was answered")
	}
	return seen
}

// answered waits until the clients had n more answers.
func answered(t testing.TB, l *load.Load, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), awaitLimit)
	defer cancel()
	target := l.Snapshot().Answered() + n
	for l.Snapshot().Answered() < target {
		select {
		case <-ctx.Done():
			t.Fatalf("the clients get no answers:\n%v", l.Snapshot())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
