//go:build linux

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ctlLimit ends a gracectl that hangs.
const ctlLimit = 2 * time.Minute

// Result is what came of a command.
type Result struct {
	Args           []string
	Stdout, Stderr string
	// Code is its exit code; -1 when it did not exit by itself.
	Code int
}

func (r Result) String() string {
	return fmt.Sprintf("%s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(r.Args, " "), r.Code, r.Stdout, r.Stderr)
}

// Ctl runs gracectl on this agent.
func (a *Agent) Ctl(t testing.TB, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ctlLimit)
	defer cancel()
	return a.ctl(ctx, args...)
}

// CtlOK runs gracectl and fails the test unless its exit code is 0. It returns
// its standard output.
func (a *Agent) CtlOK(t testing.TB, args ...string) string {
	t.Helper()
	r := a.Ctl(t, args...)
	if r.Code != 0 {
		t.Fatal(r)
	}
	return r.Stdout
}

// CtlJSON runs gracectl with -o json and decodes its one answer.
func (a *Agent) CtlJSON(t testing.TB, into any, args ...string) {
	t.Helper()
	out := a.CtlOK(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("gracectl %v: %v in %s", args, err, out)
	}
}

// Command prepares a gracectl on this agent, to be started and signalled by the
// test itself.
func (a *Agent) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "gracectl"), args...)
	cmd.Env = append(os.Environ(), "GRACECTL_AGENT=unix:"+a.Socket)
	cmd.Dir = a.Dir
	return cmd
}

func (a *Agent) ctl(ctx context.Context, args ...string) Result {
	return Run(a.Command(ctx, args...))
}

// Run runs a gracectl that Command has prepared.
func Run(cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := Result{Args: cmd.Args, Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		r.Stderr += err.Error()
	}
	return r
}

// Spec writes a service file and returns its path.
func (a *Agent) Spec(t testing.TB, yaml string) string {
	t.Helper()
	a.specs++
	path := filepath.Join(a.Dir, fmt.Sprintf("spec-%d.yaml", a.specs))
	if err := os.WriteFile(path, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Apply declares a service.
func (a *Agent) Apply(t testing.TB, yaml string) {
	t.Helper()
	a.CtlOK(t, "apply", "-f", a.Spec(t, yaml))
}
