//go:build linux

package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// Ctrl-C in the middle of an upload keeps what came: the same command again sends
// the rest.
func TestInterruptedUploadGoesOn(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	file, digest, whole := bigScript(t)
	artifacts := pb.NewArtifactServiceClient(a.Client(t))
	committed := func() int64 {
		st, err := artifacts.GetUploadStatus(t.Context(), &pb.GetUploadStatusRequest{Digest: digest})
		if err != nil {
			t.Fatal(err)
		}
		if st.GetComplete() {
			return whole
		}
		return st.GetCommittedBytes()
	}

	cmd := a.Command(t.Context(), "push", file)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(awaitLimit); committed() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the upload never began")
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code says it
	half := committed()
	if code := cmd.ProcessState.ExitCode(); code != 8 || !strings.Contains(out.String(), "goes on where it ended") || half == whole {
		t.Fatalf("an interrupted upload: exit code %d, %d of %d bytes, in: %s", code, half, whole, &out)
	}

	again := a.Command(t.Context(), "push", file)
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- again.Wait() }()
	for {
		if now := committed(); now < half {
			t.Fatalf("the second upload began anew: %d bytes, there were %d", now, half)
		}
		select {
		case err := <-ended:
			if err != nil || committed() != whole {
				t.Errorf("the second upload: %v, %d of %d bytes", err, committed(), whole)
			}
			return
		default:
		}
	}
}

// bigScript is a program that takes a while to send.
func bigScript(t *testing.T) (file, digest string, size int64) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "tool")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size = 192 << 20
	if _, err := f.WriteString("#!/bin/sh\nexit\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return file, fmt.Sprintf("sha256:%x", h.Sum(nil)), size
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

// More than the quota of artifacts is refused before it travels, with what helps.
func TestArtifactQuota(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "graced.yaml")
	if err := os.WriteFile(config, []byte("limits: {artifacts: 128MiB, reserve: 1MiB}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "runtime", signalDrain, "--config", config)
	pid := s.await(1, pb.Generation_STATE_ACTIVE).GetPid()
	unused := s.push("v2")
	file, _, _ := bigScript(t)
	r := s.Ctl(t, "push", file)
	if r.Code != 1 || !strings.Contains(r.Stderr, "quota") || !strings.Contains(r.Stderr, "limits.artifacts") || !strings.Contains(r.Stderr, unused[:19]) {
		t.Errorf("more than the quota: %v", r)
	}
	t.Log(strings.TrimSpace(r.Stderr))
	if left, err := os.ReadDir(filepath.Join(s.Dir, "s", "uploads")); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	s.untouched(pid)
	s.CtlOK(t, "upgrade", "web", unused)
}

// A full disk refuses what is new and leaves what runs alone.
func TestDiskFull(t *testing.T) {
	s, _ := startOnSmallDisk(t)
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

// A decision that cannot be written down is not made. Space is kept in reserve
// for a few of them, so the disk is filled until that is gone, too.
func TestDiskFullForState(t *testing.T) {
	s, disk := startOnSmallDisk(t)
	pid := s.await(1, pb.Generation_STATE_ACTIVE).GetPid()
	digest := s.push("v2")
	l := s.load(50, 50, nil)
	answered(t, l, 10)
	var r harness.Result
	for range 20 {
		fillDisk(t, disk)
		if r = s.Ctl(t, "upgrade", "web", digest, "--soak", "1h", "--wait", "none"); r.Code != 0 {
			break
		}
		s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
		s.CtlOK(t, "abort", "web")
		s.awaitAlone(awaitLimit)
	}
	if r.Code != 1 || !strings.Contains(r.Stderr, "full") {
		t.Fatalf("an upgrade that cannot be written down: %v", r)
	}
	t.Log(strings.TrimSpace(r.Stderr))
	s.untouched(pid)
	answered(t, l, 10)
	emptyDisk(t, disk)
	s.CtlOK(t, "upgrade", "web", digest)
	answered(t, l, 10)
	unharmed(t, l)
}

// startOnSmallDisk has the agent keep its state on a disk of 24 MiB.
func startOnSmallDisk(t *testing.T, flags ...string) (s *service, disk string) {
	t.Helper()
	harness.Need(t, os.Geteuid() == 0, "mounting a small disk needs root")
	disk = t.TempDir()
	if err := syscall.Mount("small", disk, "tmpfs", 0, "size=24m,mode=0711"); err != nil {
		harness.Need(t, false, "mount: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	s = &service{Agent: harness.Start(t, append([]string{"--state-dir", disk}, flags...)...), t: t, folder: "runtime"}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.ReplaceAll(signalDrain, "ADDRESS", "tcp://"+s.address)
	s.Apply(t, s.yaml("v1"))
	return s, disk
}

const filler = "filler"

// fillDisk takes what is free.
func fillDisk(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(disk, filler), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func emptyDisk(t *testing.T, disk string) {
	t.Helper()
	if err := os.Remove(filepath.Join(disk, filler)); err != nil {
		t.Fatal(err)
	}
}
