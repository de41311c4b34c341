//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// compiled builds a source of testdata with the system's compiler.
func compiled(t *testing.T, compiler, source string) string {
	t.Helper()
	_, err := exec.LookPath(compiler)
	harness.Need(t, err == nil, compiler+" is not installed")
	program := filepath.Join(t.TempDir(), "server")
	out, err := exec.Command(compiler, "-Wall", "-O1", "-o", program, filepath.Join("testdata", source)).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", compiler, source, err, out)
	}
	return program
}

// tutorial runs a compiled program as generation 1.
func tutorial(t *testing.T, program, rest string) *service {
	t.Helper()
	s := &service{Agent: harness.Start(t), t: t}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = "name: web\nartifact: " + program + "\nsockets: [{name: http, listen: \"tcp://" + s.address + "\"}]\n" + rest
	s.Apply(t, s.spec)
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

// The program of the tutorials takes its descriptor from FD, stops on SIGUSR2 and
// lives ten more seconds: old and new overlap, then only the new one is left.
func TestProgramThatReadsFD(t *testing.T) {
	s := tutorial(t, compiled(t, "g++", "fd_env.cc"),
		"handover: {dialect: env, env: {FD: \"{fd:http}\"}}\nupgrade: {soak: 0s}\ndrain: {mode: signal, signal: SIGUSR2, timeout: 30s}\n")
	l := s.load(rate(), 0, nil)
	answered(t, l, 50)
	old := harness.Active(s.Status(t, "web")).GetPid()
	s.CtlOK(t, "restart", "web")
	if g := s.await(1, pb.Generation_STATE_DRAINING); g.GetPid() != old {
		t.Errorf("the old generation is pid %d, it was %d", g.GetPid(), old)
	}
	answered(t, l, 100)
	if now := harness.Active(s.Status(t, "web")).GetPid(); now == old {
		t.Error("there is no new program")
	}
	exit := s.await(1, pb.Generation_STATE_STOPPED).GetExit()
	if exit.GetCode() != 0 || exit.GetSignal() != 0 {
		t.Errorf("the old program ended by %v, want status 0 after its ten seconds", exit)
	}
	gone(t, []int{int(old)})
	answered(t, l, 50)
	if seen := unharmed(t, l); seen.Generations["1"].Answers == 0 || seen.Generations["2"].Answers == 0 {
		t.Errorf("not both generations answered:\n%v", seen)
	}
}

// A program that is handed the number as argument and handles no signal at all is
// told to end only when it has no connection.
func TestProgramWithADescriptorArgument(t *testing.T) {
	s := tutorial(t, compiled(t, "cc", "fd_argument.c"),
		"args: [\"{fd:http}\"]\nhandover: {dialect: env}\nupgrade: {soak: 0s}\n")
	l := s.load(rate(), 0, nil)
	answered(t, l, 50)
	for i := range 3 {
		s.CtlOK(t, "restart", "web")
		s.await(int32(i+1), pb.Generation_STATE_STOPPED)
		answered(t, l, 50)
	}
	s.CtlOK(t, "rollback", "web")
	answered(t, l, 50)
	unharmed(t, l)
}
