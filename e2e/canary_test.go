//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// connections of a canary step, and the error in percentage points that is
// allowed: four standard deviations of a fair coin at 50 %, at most the promised
// point where there are enough connections.
func canarySample() (connections int, points float64) {
	if full {
		return 20_000, 1
	}
	return 3000, 100 * 4 * math.Sqrt(0.25/3000)
}

func TestCanaryShares(t *testing.T) {
	s := start(t, "raw", patientDrain)
	digest := s.push("v2")
	answer, err := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{
		Service: "web", Artifact: digest, Steps: manualSteps(100, 500, 2500, 5000),
		Hold: durationpb.New(0), Soak: durationpb.New(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	connections, points := canarySample()
	for step, percent := range []float64{1, 5, 25, 50} {
		up := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
			u := st.GetUpgrade()
			return u.GetStep() == int32(step+1) && u.GetWaiting()
		}, awaitLimit)
		if got := harness.Generation(up, answer.GetUpgrade().GetToGeneration()).GetWeight(); got != int32(percent*100) {
			t.Errorf("at step %d the candidate's weight is %d, want %v", step+1, got, percent*100)
		}
		got := 100 * float64(s.shareOf(2, connections)) / float64(connections)
		t.Logf("step of %v %%: %.2f %% of %d connections", percent, got, connections)
		if math.Abs(got-percent) > points {
			t.Errorf("step of %v %%: %.2f %% of %d connections reached the candidate", percent, got, connections)
		}
		s.CtlOK(t, "promote", "web", "--step", "--wait", "none")
	}
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	s.CtlOK(t, "promote", "web")
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
}

func manualSteps(weights ...int32) (steps []*pb.CanaryStep) {
	for _, w := range weights {
		steps = append(steps, &pb.CanaryStep{Weight: w, Manual: true})
	}
	return steps
}

// shareOf opens connections, one after the other, and counts those that a
// generation answers.
func (s *service) shareOf(generation, connections int) (n int) {
	s.t.Helper()
	want := fmt.Sprintf("gen=%d ", generation)
	for range connections {
		who, err := ask(s.address)
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.HasPrefix(who, want) {
			n++
		}
	}
	return n
}

// ask returns a line server's answer on a connection of its own.
func ask(address string) (string, error) {
	c, err := net.DialTimeout("tcp", address, awaitLimit)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(awaitLimit))
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// A candidate that never gets ready is turned away, and no client has met it.
func TestCandidateThatIsNeverReady(t *testing.T) {
	s := start(t, "runtime", strings.Replace(signalDrain, "ready: {notify: {}}", "ready: {notify: {}, timeout: 1s}", 1))
	l := s.load(rate(), rate(), nil)
	answered(t, l, 20)
	bad := strings.TrimSpace(s.CtlOK(t, "push", harness.Program(t, "runtime", "v2")))
	r := s.Ctl(t, "upgrade", "web", "-f", s.Spec(t, s.yaml("v2")+"args: [-ready-after, 1h]\n"))
	if r.Code != 4 || !strings.Contains(r.Stdout+r.Stderr, "ready") {
		t.Errorf("an upgrade to %s that is never ready: %v", bad, r)
	}
	up := s.awaitUpgrade(pb.Upgrade_STATE_FAILED)
	if up.GetReason() != pb.Reason_REASON_READY_TIMEOUT {
		t.Errorf("the upgrade failed with %v: %s", up.GetReason(), up.GetMessage())
	}
	answered(t, l, 20)
	seen := unharmed(t, l)
	if len(seen.Generations) != 1 || seen.Generations["1"].Answers != seen.Answered() {
		t.Errorf("clients met the candidate:\n%v", seen)
	}
}

// The check of a canary runs on the private path; one that fails turns the
// candidate away.
func TestCanaryWhoseCheckFails(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	l := s.load(rate(), rate(), nil)
	answered(t, l, 20)
	spec := strings.Replace(s.yaml("v2"), "upgrade: {soak: 0s}",
		"upgrade: {steps: [10%], hold: 30s, soak: 0s, check: {http: {socket: http, path: /healthz}, interval: 100ms, failures: 2}}", 1)
	r := s.Ctl(t, "upgrade", "web", "-f", s.Spec(t, spec+"args: [-fail-health]\n"))
	if r.Code != 4 {
		t.Errorf("an upgrade whose check fails: %v", r)
	}
	if up := s.awaitUpgrade(pb.Upgrade_STATE_FAILED); up.GetReason() != pb.Reason_REASON_CHECK_FAILED {
		t.Errorf("the upgrade failed with %v: %s", up.GetReason(), up.GetMessage())
	}
	answered(t, l, 20)
	unharmed(t, l)
	resp, err := http.Get("http://" + s.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("X-Generation"); got != "1" {
		t.Errorf("generation %s answers, want 1", got)
	}
}
