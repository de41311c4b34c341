//go:build linux

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// What was done, by whom and why, is recorded, in the history, and verifiable, also
// after the agent was killed. Whoever changes the record is found out.
func TestAuditRecord(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	s.CtlOK(t, "upgrade", "web", harness.Program(t, "runtime", "v2"), "-m", "a release")
	s.CtlOK(t, "stop", "web", "-m", "the disk is swapped")
	s.CtlOK(t, "start", "web", "-m", "the disk is back")
	if r := s.Ctl(t, "stop", "../web"); r.Code == 0 {
		t.Errorf("it took a path for a name: %v", r)
	}
	history := s.CtlOK(t, "history", "web")
	for _, why := range []string{"a release", "the disk is swapped", "the disk is back"} {
		if strings.Count(history, why) != 1 {
			t.Errorf("%q is not once in\n%s", why, history)
		}
	}
	list := s.CtlOK(t, "audit", "-n", "0")
	for _, want := range []string{"ApplyService", "UploadArtifact", "StartUpgrade", "StopService", "the disk is swapped", "../web"} {
		if !strings.Contains(list, want) {
			t.Errorf("%s is not in\n%s", want, list)
		}
	}
	known := headOf(t, s.CtlOK(t, "audit", "verify"))

	s.Kill9(t)
	s.Restart(t)
	s.CtlOK(t, "audit", "verify", "--known", known)
	s.CtlOK(t, "restart", "web", "-m", "new keys")

	files, err := filepath.Glob(filepath.Join(s.Dir, "s", "audit", "audit-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	s.CtlOK(t, append([]string{"audit", "verify", "--known", known}, files...)...)
	s.Kill9(t)
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], bytes.Replace(whole, []byte("is swapped"), []byte("was stolen"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	if r := s.Ctl(t, "audit", "verify"); r.Code != 1 || !strings.Contains(r.Stdout, "changed") || !strings.Contains(r.Stdout, "NOT in order") {
		t.Errorf("the change was not found: %v", r)
	}
	if info := s.CtlOK(t, "info"); !strings.Contains(info, "audit record") {
		t.Errorf("the agent does not say that its record is damaged:\n%s", info)
	}
	s.CtlOK(t, "stop", "web", "-m", "it goes on")
	if list := s.CtlOK(t, "audit", "-n", "1"); !strings.Contains(list, "it goes on") {
		t.Errorf("the last line is\n%s", list)
	}
}

// A process of a service that claims for its program to be ready is refused, and that
// is in the record.
func TestAuditOfForgedReady(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	bad := strings.NewReplacer(harness.Program(t, "runtime", "v1"), harness.Program(t, "bad", "v2"), "ready: {notify: {}}", "ready: {notify: {}, timeout: 500ms}").
		Replace(s.yaml("v1"))
	if r := s.Ctl(t, "upgrade", "web", "-f", s.Spec(t, bad+"args: [-mode=grandchild-ready]\n")); r.Code != 4 {
		t.Fatal(r)
	}
	if denied := s.CtlOK(t, "audit", "list", "--denied", "--service", "web"); !strings.Contains(denied, "READY=1") || !strings.Contains(denied, "main process") {
		t.Errorf("the record has\n%s", denied)
	}
}

// headOf is the head that audit verify prints.
func headOf(t *testing.T, out string) string {
	t.Helper()
	_, head, ok := strings.Cut(out, "\nhead ")
	if !ok {
		t.Fatalf("no head in %s", out)
	}
	return strings.TrimSpace(head)
}

// Secrets of a specification are in no line, whatever became of the request.
func TestAuditHasNoSecrets(t *testing.T) {
	s := start(t, "runtime", signalDrain+"env: {TOKEN: hunter2}\n")
	if r := s.Ctl(t, "upgrade", "web", "-f", s.Spec(t, s.yaml("v1")+"args: [\"--token=hunter2\"]\n")); strings.Contains(s.Log(), "hunter2") {
		t.Errorf("it is in the agent's log: %v", r)
	}
	if raw := s.CtlOK(t, "audit", "-n", "0", "--raw"); strings.Contains(raw, "hunter2") || !strings.Contains(raw, "StartUpgrade") {
		t.Errorf("the record has\n%s", raw)
	}
}
