//go:build linux

package harness

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/certstest"
)

// Authority is a CA of a test, which answers while gracectl cert serve runs.
type Authority struct {
	// Dir is the CA's, Out where certificates of clients go.
	Dir, Out string
	// Address is where it answers.
	Address string

	t     testing.TB
	place func(*exec.Cmd)
	log   log
	cmd   *exec.Cmd
}

// StartAuthority makes a CA of example.org that answers on loopback. It ends with the
// test.
func StartAuthority(t testing.TB) *Authority {
	t.Helper()
	// Not of FreePort, whose ports are free when an agent has ended: the CA outlives it.
	a := NewAuthority(t, "127.0.0.1:0", func(*exec.Cmd) {})
	a.Ctl("init", "--trust-domain", "example.org")
	a.Serve()
	return a
}

// NewAuthority is a place for a CA that will answer at an address. place has each of
// its commands run elsewhere.
func NewAuthority(t testing.TB, address string, place func(*exec.Cmd)) *Authority {
	t.Helper()
	base := t.TempDir()
	a := &Authority{t: t, Dir: filepath.Join(base, "gracefleet", "ca"), Out: filepath.Join(base, "out"), Address: address, place: place}
	if err := os.Mkdir(a.Out, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Kill()
		if said := forbidden.FindString(a.Log()); said != "" {
			t.Errorf("the CA said %q", said)
		}
		if t.Failed() {
			t.Logf("the CA's log:\n%s", a.Log())
		}
	})
	return a
}

// Command prepares a gracectl at the CA's machine, in the directory Out.
func (a *Authority) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, Binary(a.t, "gracectl"), args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Dir(filepath.Dir(a.Dir)))
	cmd.Dir = a.Out
	a.place(cmd)
	return cmd
}

// Try runs a gracectl cert.
func (a *Authority) Try(args ...string) Result {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ctlLimit)
	defer cancel()
	return Run(a.Command(ctx, append([]string{"cert"}, args...)...))
}

// Ctl runs a gracectl cert that has to succeed, and returns its standard output.
func (a *Authority) Ctl(args ...string) string {
	a.t.Helper()
	r := a.Try(args...)
	if r.Code != 0 {
		a.t.Fatal(r)
	}
	return r.Stdout
}

// Token makes a join token.
func (a *Authority) Token(args ...string) string {
	a.t.Helper()
	return strings.TrimSpace(a.Ctl(append([]string{"token", "--at", a.Address}, args...)...))
}

// Client issues a client's certificate.
func (a *Authority) Client(role, name string) certstest.Files {
	a.t.Helper()
	a.Ctl("issue", "--role", role, "--name", name, "-y")
	return certstest.Files{Cert: filepath.Join(a.Out, name+".pem"), Key: filepath.Join(a.Out, name+".key"), CA: filepath.Join(a.Out, "ca.pem")}
}

// Serve has the CA answer, and returns when it does.
func (a *Authority) Serve() {
	a.t.Helper()
	a.Run(a.Command(context.Background(), "cert", "serve", "--listen", a.Address))
	a.Address = listens.FindStringSubmatch(a.Log())[1] // also the next time
}

var listens = regexp.MustCompile(`the CA answers: listen=(\S+)`)

// Run starts a gracectl cert serve that Command has prepared, and returns when it
// answers.
func (a *Authority) Run(cmd *exec.Cmd) {
	a.t.Helper()
	before := strings.Count(a.Log(), "the CA answers:")
	cmd.Stdout, cmd.Stderr = &a.log, &a.log
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.cmd = cmd
	limit := time.Now().Add(startLimit)
	for strings.Count(a.Log(), "the CA answers:") == before {
		if time.Now().After(limit) {
			a.t.Fatalf("the CA does not answer:\n%s", a.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Log is all that it has said while it answered.
func (a *Authority) Log() string { return a.log.String() }

// Kill kills it at once, if it runs.
func (a *Authority) Kill() {
	if a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
	a.cmd = nil
}

// Terminate asks it to end, and returns its exit code.
func (a *Authority) Terminate() int {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	_ = a.cmd.Wait()
	code := a.cmd.ProcessState.ExitCode()
	a.cmd = nil
	return code
}
