//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// pidFile reads the service's stable pid file.
func (s *service) pidFile(t *testing.T) int {
	t.Helper()
	path := s.Status(t, "web").GetService().GetPidFile()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("%s holds %q", path, text)
	}
	return pid
}

func (s *service) workersOf(t *testing.T, pid int32) string {
	t.Helper()
	children, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/task/" + strconv.Itoa(int(pid)) + "/children")
	if err != nil {
		t.Fatal(err)
	}
	return string(children)
}

// What USR2, WINCH, HUP and QUIT do to nginx by hand: during the soak the old
// master is not touched, an abort is a change of weights, and QUIT comes after the
// promotion. The pid file follows whoever is active.
func TestNginxUpgradeAbortAndPromote(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 1h}\n")
	l := s.load(rate()/2, rate()/2, nil)
	answered(t, l, 50)
	first := harness.Active(s.Status(t, "web")).GetPid()
	workers := s.workersOf(t, first)
	if got := s.pidFile(t); got != int(first) {
		t.Errorf("the pid file says %d, generation 1 is %d", got, first)
	}

	s.CtlOK(t, "restart", "web", "--wait", "none")
	second := s.awaitUpgrade(pb.Upgrade_STATE_SOAKING).GetToGeneration()
	answered(t, l, 100)
	if got := s.workersOf(t, first); got != workers {
		t.Errorf("during the soak the old master has workers %q, it had %q", got, workers)
	}
	if got, want := s.pidFile(t), harness.Generation(s.Status(t, "web"), second).GetPid(); got != int(want) {
		t.Errorf("during the soak the pid file says %d, generation 2 is %d", got, want)
	}
	s.CtlOK(t, "abort", "web")
	if got := s.pidFile(t); got != int(first) {
		t.Errorf("after the abort the pid file says %d, generation 1 is %d", got, first)
	}
	answered(t, l, 100)
	if got := s.workersOf(t, first); got != workers {
		t.Errorf("after the abort the old master has workers %q, it had %q", got, workers)
	}

	s.CtlOK(t, "restart", "web", "--wait", "none")
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	s.CtlOK(t, "promote", "web")
	answered(t, l, 100)
	seen := unharmed(t, l)
	exit := s.await(1, pb.Generation_STATE_STOPPED).GetExit()
	if exit.GetCode() != 0 || exit.GetSignal() != 0 {
		t.Errorf("the old master ended by %v, want status 0 by QUIT", exit)
	}
	if got, want := s.pidFile(t), harness.Active(s.Status(t, "web")).GetPid(); got != int(want) {
		t.Errorf("the pid file says %d, the active generation is %d", got, want)
	}
	t.Logf("%v", seen)
}

// A new master that dies changes nothing for users, pid file included. With
// nginx alone the old one would be left with .oldbin.
func TestNginxNewMasterDies(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 1h}\n")
	l := s.load(rate()/2, rate()/2, nil)
	answered(t, l, 50)
	first := harness.Active(s.Status(t, "web")).GetPid()
	s.CtlOK(t, "restart", "web", "--wait", "none")
	up := s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	answered(t, l, 50)
	before := l.Snapshot()
	master := harness.Generation(s.Status(t, "web"), up.GetToGeneration()).GetPid()
	family := []int{int(master)}
	for _, worker := range strings.Fields(s.workersOf(t, master)) {
		pid, _ := strconv.Atoi(worker)
		family = append(family, pid)
	}
	if err := syscall.Kill(int(master), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.awaitUpgrade(pb.Upgrade_STATE_FAILED)
	s.awaitAlone(awaitLimit)
	gone(t, family) // its workers, which would accept for ever
	answered(t, l, 100)
	if got := s.pidFile(t); got != int(first) {
		t.Errorf("the pid file says %d, generation 1 is %d", got, first)
	}
	after := l.Stop()
	if lost := after.Lost() - before.Lost(); lost != 0 {
		t.Logf("%d requests died with the new master's workers:\n%v", lost, after)
	}
	if after.Fresh.Total()-died(after) > 0 {
		t.Errorf("requests were lost that nobody had accepted:\n%v", after)
	}
}

// A configuration that does not fit is found by a real start, which nginx -t is
// not; a pid directive of its own collides with the preset's.
func TestNginxConfigurationThatDoesNotFit(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 0s}\nready: {tcp: {socket: http}, timeout: 5s}\n")
	port := s.address[strings.LastIndex(s.address, ":"):]
	for name, c := range map[string]struct{ was, is, says string }{
		"another address": {"listen " + s.address, "listen 127.0.0.2" + port, "not ready|bind"},
		"a pid directive": {"worker_processes 2;", "worker_processes 2; pid /tmp/x.pid;", "duplicate"},
	} {
		undo := s.editConf(t, func(good string) string { return strings.Replace(good, c.was, c.is, 1) })
		begun := time.Now()
		r := s.Ctl(t, "restart", "web")
		if r.Code != 4 || !containsAny(r.Stdout+r.Stderr, strings.Split(c.says, "|")) {
			t.Errorf("%s: %v, want one of %q", name, r, c.says)
		}
		t.Logf("%s: turned away after %v", name, time.Since(begun).Round(time.Millisecond))
		if who := get(t, s.address); who != "hello\n" {
			t.Errorf("%s: the old one answers %q", name, who)
		}
		undo()
	}
}

// editConf changes the nginx.conf of a service on the disk.
func (s *service) editConf(t *testing.T, edit func(string) string) (undo func()) {
	t.Helper()
	path := filepath.Join(s.Dir, "nginx.conf")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(edit(string(good)))
	return func() { put(string(good)) }
}

func containsAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
