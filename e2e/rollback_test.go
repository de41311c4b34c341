//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// Each way starts from v1, v2 and v3, in this order.
func TestWaysToRollBack(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	digests := map[string]string{"v1": s.push("v1"), "v2": s.push("v2"), "v3": s.push("v3")}
	number := map[string]int32{}
	l := s.load(rate(), rate(), nil)
	for _, way := range []struct {
		back, to func() string
		want     string
	}{
		{want: "v2"},
		{back: func() string { return "2" }, want: "v1"},
		{to: func() string { return fmt.Sprint(number["v1"]) }, want: "v1"},
		{to: func() string { return digests["v2"] }, want: "v2"},
		{to: func() string { return digests["v1"][:len("sha256:")+12] }, want: "v1"},
		{to: func() string { return "v2" }, want: "v2"},
	} {
		for _, v := range []string{"v1", "v2", "v3"} {
			number[v] = s.upgradeTo(digests[v])
		}
		args := []string{"rollback", "web", "-m", "trying it"}
		if way.back != nil {
			args = append(args, "--back", way.back())
		}
		if way.to != nil {
			args = append(args, "--to", way.to())
		}
		s.CtlOK(t, args...)
		st := s.Status(t, "web")
		if got := harness.Active(st); got.GetArtifact() != digests[way.want] || got.GetRollbackOf() == 0 {
			t.Errorf("%v: %s is active, a rollback of %d, want %s", args, got.GetArtifact(), got.GetRollbackOf(), digests[way.want])
		}
		if got := st.GetService().GetSpec().GetArtifact(); got != digests[way.want] {
			t.Errorf("%v: %s is recorded, want %s", args, got, digests[way.want])
		}
		answered(t, l, 20)
	}
	unharmed(t, l)
}

// upgradeTo returns the number of the generation that is active then.
func (s *service) upgradeTo(digest string) int32 {
	s.t.Helper()
	answer, err := s.upgrades().StartUpgrade(s.t.Context(), &pb.StartUpgradeRequest{Service: "web", Artifact: digest})
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.GetUnchanged() {
		return answer.GetUpgrade().GetToGeneration()
	}
	return s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED).GetToGeneration()
}

func TestRollbackToNothing(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	for _, args := range [][]string{nil, {"--back", "3"}, {"--to", "7"}, {"--to", "v9"}} {
		r := s.Ctl(t, append([]string{"rollback", "web"}, args...)...)
		if r.Code != 1 || !strings.Contains(r.Stderr, "web") {
			t.Errorf("rollback to nothing: %v", r)
		}
	}
	if r := s.Ctl(t, "rollback", "web", "--back", "1", "--to", "1"); r.Code != 2 {
		t.Errorf("rollback both back and to: %v", r)
	}
	if got := alive(s.Status(t, "web")); got != 1 {
		t.Errorf("%d generations are alive", got)
	}
}

// A bare rollback of an upgrade that is not promoted is an abort.
func TestRollbackDuringSoak(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	s.upgrade(s.push("v2"), time.Hour)
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	s.CtlOK(t, "rollback", "web")
	st := s.Status(t, "web")
	if st.GetUpgrade().GetState() != pb.Upgrade_STATE_ABORTED || harness.Active(st).GetNumber() != 1 {
		t.Errorf("the upgrade is %v, generation %d is active", st.GetUpgrade().GetState(), harness.Active(st).GetNumber())
	}
}
