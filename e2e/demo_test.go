package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// demoCommand is the demo with everything it needs beside it.
func demoCommand(t *testing.T, ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"gracectl", "graced", "graced-shim"} {
		if err := os.Symlink(harness.Binary(t, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, harness.Binary(t, "gracectl"), append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// leftOver lists processes and the directory of a demo that has ended.
func leftOver(t *testing.T, out string) []string {
	t.Helper()
	dir := regexp.MustCompile(`/tmp/gf\d+`).FindString(out)
	if dir == "" {
		t.Fatalf("the demo does not say where it works:\n%s", out)
	}
	var found []string
	if _, err := os.Stat(dir); err == nil {
		found = append(found, dir)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(dir)) {
			found = append(found, string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return found
}

func TestDemo(t *testing.T) {
	demonstrates(t, nil, "step 1 gives v2 10%", "turned away by itself: the check failed", "the abort took", "back on v1")
}

// Three hosts, and what a new user sees of a rollout.
func TestDemoFleet(t *testing.T) {
	demonstrates(t, []string{"fleet"}, "web-1", "web-2", "web-3", "rolled-back", "not-started")
}

// demonstrates fails the test unless a demo says all of these, loses no request, and
// leaves nothing.
func demonstrates(t *testing.T, args []string, wants ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd, out := demoCommand(t, ctx, args...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range append(wants, " 0 lost", "Nothing was lost") {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
	if left := leftOver(t, out.String()); len(left) > 0 {
		t.Errorf("the demo left %q", left)
	}
}

func TestDemoInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, _ := demoCommand(t, ctx)
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b := make([]byte, 4096)
	for !strings.Contains(out.String(), "2. An upgrade") {
		n, err := pipe.Read(b)
		out.Write(b[:n])
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := out.ReadFrom(pipe); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted demo calls itself a success")
	}
	if left := leftOver(t, out.String()); len(left) > 0 {
		t.Errorf("the demo left %q", left)
	}
}
