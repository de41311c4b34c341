//go:build linux

package harness

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Simulator is many agents in one process, on machines that are pretended. Each of
// them runs version v1 of the service web.
type Simulator struct {
	// Dir is in memory, and holds what the simulator writes.
	Dir string

	t   testing.TB
	log log
	cmd *exec.Cmd
}

var simulator = sync.OnceValue(func() error { return build(binaries, nil, RaceBuild, "agent/simulator") })

// StartSimulator starts so many agents, web-00001 the first, with additional flags of
// the simulator, and returns when all serve. They end with the test.
func StartSimulator(t testing.TB, hosts int, flags ...string) *Simulator {
	t.Helper()
	programs(t)
	if err := simulator(); err != nil {
		t.Fatal(err)
	}
	s := &Simulator{Dir: folder(t, "/dev/shm"), t: t}
	s.cmd = exec.Command(filepath.Join(binaries, "simulator"), append([]string{
		"-hosts", fmt.Sprint(hosts), "-dir", s.Dir, "-listen", fmt.Sprintf("127.64.0.1:%d", FreePort(t)),
	}, flags...)...)
	s.cmd.Stderr = &s.log
	said, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("the simulator is not ready: %v\n%s", err, s.log.String())
	}
	t.Logf("%s", line)
	return s
}

func (s *Simulator) end() {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Errorf("terminate the simulator: %v", err)
	}
	limit := time.AfterFunc(endLimit, func() { _ = s.cmd.Process.Signal(syscall.SIGABRT) }) // its goroutines go to the log
	defer limit.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the simulator ended with %v", err)
	}
	if said := forbidden.FindString(s.log.String()); said != "" {
		s.t.Errorf("the simulator said %q", said)
	}
	if s.t.Failed() {
		s.t.Logf("the simulator's log:\n%s", s.log.String())
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		s.t.Errorf("remove the simulator's directory: %v", err)
	}
}

// Memory is how much the simulator takes now, in bytes.
func (s *Simulator) Memory() int { return resident(s.t, s.cmd.Process.Pid) }

// CPU is how much processor time the simulator has taken so far.
func (s *Simulator) CPU() time.Duration { return spent(s.t, s.cmd.Process.Pid) }

// Command prepares a gracectl for all of the simulator's hosts.
func (s *Simulator) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, Binary(s.t, "gracectl"), args...)
	certs := filepath.Join(s.Dir, "certs")
	cmd.Env = append(os.Environ(), "GRACECTL_INVENTORY="+filepath.Join(s.Dir, "fleet.yaml"), "GRACECTL_TLS_CERT="+filepath.Join(certs, "operator.pem"),
		"GRACECTL_TLS_KEY="+filepath.Join(certs, "operator.key"), "GRACECTL_TLS_CA="+filepath.Join(certs, "ca.pem"))
	cmd.Dir = s.Dir
	return cmd
}
