//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// remote is an operator elsewhere: gracectl, by mutual TLS.
type remote struct {
	*harness.Agent
	t       testing.TB
	address string
	files   certstest.Files
}

// listening are an agent's flags to be on the network with such certificates.
func listening(address string, files certstest.Files) []string {
	return []string{"--listen", address, "--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", files.CA}
}

func (r *remote) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := r.Command(ctx, args...)
	cmd.Env = append(cmd.Env, "GRACECTL_AGENT="+r.address,
		"GRACECTL_TLS_CERT="+r.files.Cert, "GRACECTL_TLS_KEY="+r.files.Key, "GRACECTL_TLS_CA="+r.files.CA)
	return cmd
}

func (r *remote) try(args ...string) harness.Result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	return harness.Run(r.command(ctx, args...))
}

func (r *remote) ok(args ...string) string {
	r.t.Helper()
	got := r.try(args...)
	if got.Code != 0 {
		r.t.Fatal(got)
	}
	return got.Stdout
}

// until repeats a command until it ends with a code, since what was changed on
// disk holds within seconds.
func (r *remote) until(code int, args ...string) harness.Result {
	r.t.Helper()
	limit := time.Now().Add(awaitLimit)
	for {
		got := r.try(args...)
		if got.Code == code {
			return got
		}
		if time.Now().After(limit) {
			r.t.Fatalf("want exit code %d: %v", code, got)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// An operator far away does all that one on the host does.
func TestOverTheNetwork(t *testing.T) {
	ca := certstest.NewCA(t)
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	ending := ca.Agent("web-1", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-90*time.Minute), time.Now().Add(30*time.Minute)
	})
	s := start(t, "runtime", signalDrain, listening(address, ending)...)
	alice := &remote{Agent: s.Agent, t: t, address: address, files: ca.ClientFiles("operator", "alice")}
	if who := alice.ok("auth", "whoami"); !strings.Contains(who, "operator/alice, from tls 127.0.0.1:") {
		t.Errorf("whoami says %s", who)
	}
	if info := alice.ok("info"); !strings.Contains(info, "degraded  the agent's certificate ends on") || !strings.Contains(s.Log(), "the agent's certificate ends on") {
		t.Errorf("nothing is said of a certificate of two hours that ends in half of one:\n%s", info)
	}
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	digest := strings.TrimSpace(alice.ok("push", "--version", "v2", harness.Program(t, "runtime", "v2")))
	alice.ok("upgrade", "web", "--artifact", digest, "-m", "from afar")
	answered(t, l, 50)
	if st := alice.ok("status", "web"); !strings.Contains(st, "v2") {
		t.Errorf("after the upgrade the status is\n%s", st)
	}
	s.CtlOK(t, "status", "web")
	alice.ok("rollback", "web")
	answered(t, l, 50)
	seen := unharmed(t, l)
	if len(seen.Generations) != 3 {
		t.Errorf("not every generation answered:\n%v", seen)
	}
	if history := s.CtlOK(t, "history", "web", "-o", "json"); strings.Count(history, "operator/alice") < 2 || !strings.Contains(history, "from afar") {
		t.Errorf("history does not tell who it was:\n%s", history)
	}
	if r := alice.try("apply", "-f", s.Spec(t, s.yaml("v1")+"env: {A: b}\n")); r.Code != 1 || !strings.Contains(r.Stderr, "lacks the permission admin") {
		t.Errorf("an operator chose the environment: %v", r)
	}
	eve := &remote{Agent: s.Agent, t: t, address: address, files: certstest.NewCA(t).ClientFiles("admin", "eve")}
	eve.files.CA = ca.File()
	if r := eve.try("status"); r.Code != 1 || strings.Contains(r.Stdout, "web") {
		t.Errorf("a certificate of another CA: %v", r)
	}
}

const twoServices = `
access:
  roles:
    ci: {may: [read, push, upgrade], services: [web]}
`

// What a stolen certificate for one service is good for, and until when.
func TestACertificateForOneService(t *testing.T) {
	ca := certstest.NewCA(t)
	config := filepath.Join(t.TempDir(), "graced.yaml")
	configure := func(access string) {
		t.Helper()
		text := fmt.Sprintf("tls: {revoked: %s}\n%s", ca.Revoke(), access)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s := start(t, "runtime", signalDrain, append(listening(address, ca.Agent("web-1")), "--config", config)...)
	another := fmt.Sprintf("tcp://127.0.0.1:%d", harness.FreePort(t))
	s.Apply(t, strings.NewReplacer("name: web", "name: db", "tcp://"+s.address, another).Replace(s.yaml("v1")))
	ci := &remote{Agent: s.Agent, t: t, address: address, files: ca.ClientFiles("ci", "web")}

	if r := ci.try("auth", "can-i", "upgrade", "web"); r.Code != 1 || r.Stdout != "no\n" {
		t.Errorf("a role that nobody has defined: %v", r)
	}
	configure(twoServices)
	ci.until(0, "auth", "can-i", "upgrade", "web")
	ci.ok("upgrade", "web", harness.Program(t, "runtime", "v2"), "--reason", "a release")
	s.await(2, pb.Generation_STATE_ACTIVE)
	if st := ci.ok("status"); !strings.Contains(st, "web") || strings.Contains(st, "db") {
		t.Errorf("its status is\n%s", st)
	}
	if events := ci.ok("events"); !strings.Contains(events, "web") || strings.Contains(events, "db") {
		t.Errorf("its events are\n%s", events)
	}
	before := s.Status(t, "db")
	for _, args := range [][]string{
		{"apply", "-f", s.Spec(t, s.yaml("v1")+"env: {A: b}\n")},
		{"upgrade", "web", "-f", s.Spec(t, s.yaml("v1")+"env: {A: b}\n")},
		{"upgrade", "web", "--artifact", "host:/bin/sh"},
		{"upgrade", "db", harness.Program(t, "runtime", "v2")},
		{"status", "db"},
		{"events", "db"},
		{"history", "db"},
		{"rollback", "db"},
		{"logs", "web"},
		{"logs", "db"},
		{"rollback", "web"},
		{"stop", "web"},
		{"stop", "db"},
		{"delete", "-y", "db"},
		{"artifact", "list"},
		{"artifact", "delete", "-y", harness.Active(before).GetArtifact()},
	} {
		if r := ci.try(args...); r.Code != 1 || !strings.Contains(r.Stderr, "ci/web lacks the permission") {
			t.Errorf("not refused: %v", r)
		}
	}
	refused := s.CtlOK(t, "audit", "list", "--denied", "--actor", "ci/web", "-n", "0")
	for _, method := range []string{"ApplyService", "StartUpgrade", "GetService", "ReadLogs", "RollbackService", "StopService", "DeleteService", "ListArtifacts", "DeleteArtifact"} {
		if !strings.Contains(refused, method) {
			t.Errorf("that %s was refused is not in the record:\n%s", method, refused)
		}
	}
	after := s.Status(t, "db")
	if harness.Active(after).GetPid() != harness.Active(before).GetPid() || after.GetUpgrade().GetId() != before.GetUpgrade().GetId() {
		t.Errorf("it has changed another service: %v", after)
	}
	s.revoke(t, ca, ci)
	s.CtlOK(t, "status", "web")
}

// revoke ends what a certificate is good for, watches that stand first.
func (s *service) revoke(t *testing.T, ca *certstest.CA, stolen *remote) {
	t.Helper()
	watch := stolen.command(t.Context(), "status", "web", "-w", "-o", "json")
	first := make(chan struct{})
	var complaint bytes.Buffer
	watch.Stdout, watch.Stderr = &firstWrite{heard: first}, &complaint
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	select {
	case <-first:
	case err := <-ended:
		t.Fatalf("the watch has not begun: %v: %s", err, &complaint)
	}
	ca.Revoke(stolen.files.Pair(t))
	select {
	case <-ended:
	case <-time.After(awaitLimit):
		_ = watch.Process.Kill()
		<-ended
		t.Error("a revoked certificate goes on watching")
	}
	if code := watch.ProcessState.ExitCode(); code != 1 || !strings.Contains(complaint.String(), "does not accept your certificate") {
		t.Errorf("the watch ended with %d: %s", code, &complaint)
	}
	if r := stolen.try("status", "web"); r.Code != 1 || strings.Contains(r.Stdout, "web") {
		t.Errorf("with a revoked certificate: %v", r)
	}
}

// firstWrite tells when something was written.
type firstWrite struct {
	heard chan struct{}
	once  bool
}

func (f *firstWrite) Write(b []byte) (int, error) {
	if !f.once {
		f.once = true
		close(f.heard)
	}
	return len(b), nil
}
