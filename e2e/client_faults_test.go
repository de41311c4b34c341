//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// Ctrl-C detaches: the upgrade goes on, and the operator is told how.
func TestInterruptedUpgradeGoesOn(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	cmd := s.Command(t.Context(), "upgrade", "web", harness.Program(t, "runtime", "v2"), "--soak", "2s")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Await(t, "web", func(st *pb.ServiceStatus) bool { return st.GetUpgrade().GetState() == pb.Upgrade_STATE_SOAKING }, awaitLimit)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code says it
	if code := cmd.ProcessState.ExitCode(); code != 8 || !strings.Contains(out.String(), "gracectl status web -w") {
		t.Errorf("an interrupted client: exit code %d, want 8 and the next commands in: %s", code, &out)
	}
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
}

func TestCommandsOutOfSeason(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	for _, args := range [][]string{{"abort", "web"}, {"promote", "web"}, {"promote", "web", "--step"}} {
		if r := s.Ctl(t, args...); r.Code != 1 || !strings.Contains(r.Stderr, "no upgrade in progress") {
			t.Errorf("%v without an upgrade: %v", args, r)
		}
	}
	s.upgrade(s.push("v2"), 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	if r := s.Ctl(t, "abort", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "gracectl rollback web") {
		t.Errorf("an abort after promotion: %v", r)
	}
	if r := s.Ctl(t, "status", "nothing"); r.Code != 1 || !strings.Contains(r.Stderr, `"nothing"`) {
		t.Errorf("an unknown service: %v", r)
	}
}

// A request id that was used for something else is refused.
func TestRequestIDForAnotherRequest(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	one, two := s.push("v2"), s.push("v3")
	ask := func(artifact string) error {
		_, err := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{Service: "web", Artifact: artifact, RequestId: "the-same"})
		return err
	}
	if err := ask(one); err != nil {
		t.Fatal(err)
	}
	if err := ask(two); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the id of another request: %v, want InvalidArgument", err)
	}
}

// An agent that is not there is said within a second, with its socket.
func TestNoAgent(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	a.Terminate(t)
	defer a.Restart(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := a.Command(ctx, "status")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), a.Socket) {
		t.Errorf("exit code %d, want 1 and %s in: %s", cmd.ProcessState.ExitCode(), a.Socket, out)
	}
}

// A full disk refuses what is new and leaves what runs alone.
func TestDiskFull(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "mounting a small disk needs root")
	small := t.TempDir()
	if err := syscall.Mount("small", small, "tmpfs", 0, "size=24m,mode=0711"); err != nil {
		harness.Need(t, false, "mount: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	s := &service{Agent: harness.Start(t, "--state-dir", small), t: t, folder: "runtime"}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.ReplaceAll(signalDrain, "ADDRESS", "tcp://"+s.address)
	s.Apply(t, s.yaml("v1"))
	pid := s.await(1, pb.Generation_STATE_ACTIVE).GetPid()
	l := s.load(50, 50, nil)

	s.push("v2")
	r := s.Ctl(t, "push", harness.Program(t, "runtime", "v3"))
	if r.Code != 1 || !strings.Contains(r.Stderr, "full") {
		t.Errorf("an upload onto a full disk: %v", r)
	}
	s.untouched(pid)
	s.CtlOK(t, "artifact", "delete", "-y", strings.TrimSpace(s.push("v2")))
	s.CtlOK(t, "upgrade", "web", harness.Program(t, "runtime", "v3"))
	answered(t, l, 10)
	unharmed(t, l)
}
