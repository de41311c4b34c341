package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// TestMain makes this test binary gracectl when it is started as such.
func TestMain(m *testing.M) {
	if os.Getenv("GRACECTL_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// agent has one upgrade that never ends.
type agent struct {
	pb.UnimplementedSupervisorServiceServer
	pb.UnimplementedUpgradeServiceServer
	watched chan struct{}
	// hangs makes StartUpgrade never answer.
	hangs bool
}

var upgrade = &pb.Upgrade{Id: "up-1", Service: "web", State: pb.Upgrade_STATE_CANARY, FromGeneration: 7, ToGeneration: 8}

func (a *agent) StartUpgrade(ctx context.Context, _ *pb.StartUpgradeRequest) (*pb.StartUpgradeResponse, error) {
	if a.hangs {
		a.watched <- struct{}{}
		<-ctx.Done()
	}
	return &pb.StartUpgradeResponse{Upgrade: upgrade}, ctx.Err()
}

func (a *agent) WatchService(_ *pb.WatchServiceRequest, out grpc.ServerStreamingServer[pb.WatchServiceResponse]) error {
	err := out.Send(&pb.WatchServiceResponse{Status: &pb.ServiceStatus{Service: &pb.Service{Name: "web"}, Upgrade: upgrade}})
	a.watched <- struct{}{}
	<-out.Context().Done()
	return err
}

func serve(t *testing.T, a *agent) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterSupervisorServiceServer(s, a)
	pb.RegisterUpgradeServiceServer(s, a)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-done
		os.RemoveAll(dir)
	})
	return socket
}

func gracectl(t *testing.T, socket string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "GRACECTL_TEST_MAIN=1", "GRACECTL_AGENT=unix:"+socket)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

func TestCtrlCDetaches(t *testing.T) {
	a := &agent{watched: make(chan struct{}, 1)}
	cmd, out := gracectl(t, serve(t, a), "upgrade", "web")
	<-a.watched
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 8 || !strings.Contains(out.String(), "gracectl abort web") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestCtrlCBeforeTheAnswer(t *testing.T) {
	a := &agent{watched: make(chan struct{}, 1), hangs: true}
	cmd, out := gracectl(t, serve(t, a), "upgrade", "web")
	<-a.watched
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 8 || !strings.Contains(out.String(), "gracectl status") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestSecondCtrlCEndsAtOnce(t *testing.T) {
	// Standard input that never ends keeps the program busy after the first one.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], "apply", "-f", "-")
	cmd.Env = append(os.Environ(), "GRACECTL_TEST_MAIN=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// The program has no event for "handles signals now": repeat until it ends.
	limit := time.After(20 * time.Second)
	for {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		select {
		case <-ended:
			ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ws.Signaled() || ws.Signal() != syscall.SIGINT {
				t.Errorf("ended with %s: %s", cmd.ProcessState, &out)
			}
			return
		case <-limit:
			t.Fatal("two signals did not end it")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestExitCodeReachesTheShell(t *testing.T) {
	cmd, _ := gracectl(t, "/nowhere", "nonsense")
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit %d", code)
	}
}
