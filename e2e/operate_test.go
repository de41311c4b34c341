//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	s.CtlOK(t, "stop", "web", "-m", "enough")
	if _, err := net.Dial("tcp", s.address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting to a stopped service: %v, want refused", err)
	}
	// Stopped is what an operator wants, not what an agent remembers.
	s.Kill9(t)
	s.Restart(t)
	st := s.Status(t, "web")
	if got := st.GetService().GetState(); got != pb.Service_STATE_STOPPED || alive(st) != 0 {
		t.Errorf("after a restart of the agent the service is %v with %d generations alive", got, alive(st))
	}
	if r := s.Ctl(t, "upgrade", "web", harness.Program(t, "runtime", "v2")); r.Code != 1 || !strings.Contains(r.Stderr, "start") {
		t.Errorf("an upgrade of a stopped service: %v", r)
	}
	s.CtlOK(t, "start", "web")
	if who := get(t, s.address); !strings.Contains(who, "version=v1") {
		t.Errorf("%q answers, want version v1", who)
	}
	if r := s.Ctl(t, "delete", "-y", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "stop") {
		t.Errorf("deleting a running service: %v", r)
	}
	s.CtlOK(t, "stop", "web", "--now")
	s.CtlOK(t, "delete", "-y", "web")
	if r := s.Ctl(t, "status", "web"); r.Code != 1 {
		t.Errorf("status of a deleted service: %v", r)
	}
	// The name is free again.
	s.Apply(t, s.yaml("v1"))
	s.await(1, pb.Generation_STATE_ACTIVE)
}

// A stop lets every program finish what it has, also one that would end when
// its listener is taken away.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"runtime", "plain"} {
		t.Run(folder, func(t *testing.T) {
			s := start(t, folder, strings.Replace(signalDrain, "notify: {}", "tcp: {socket: http}", 1))
			answer := make(chan error, 1)
			begun := make(chan struct{})
			go func() { answer <- slowly(s.address, begun) }()
			<-begun
			// The request was accepted once something made after it is answered.
			get(t, s.address)
			s.CtlOK(t, "stop", "web")
			if err := <-answer; err != nil {
				t.Errorf("a request under way at a stop: %v", err)
			}
			if _, err := net.Dial("tcp", s.address); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("connecting to a stopped service: %v, want refused", err)
			}
		})
	}
}

// slowly asks for an answer that takes a second.
func slowly(address string, begun chan<- struct{}) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		close(begun)
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("GET /slow?d=1s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	close(begun)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// get asks on a connection of its own.
func get(t *testing.T, address string) string {
	t.Helper()
	once := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := once.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := make([]byte, 1024)
	n, _ := resp.Body.Read(body)
	return string(body[:n])
}

// A restart is an upgrade with nothing changed.
func TestRestart(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	before := harness.Active(s.Status(t, "web"))
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	s.CtlOK(t, "restart", "web")
	answered(t, l, 50)
	unharmed(t, l)
	after := harness.Active(s.Status(t, "web"))
	if after.GetPid() == before.GetPid() || after.GetArtifact() != before.GetArtifact() || after.GetNumber() != 2 {
		t.Errorf("after a restart %v is active, it was %v", after, before)
	}
}

// A changed specification waits for the next upgrade, and an unchanged upgrade
// starts nothing.
func TestApplyAgain(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	s.Apply(t, s.yaml("v1")+"env: {GREETING: hello}\n")
	st := s.Status(t, "web")
	if harness.Active(st).GetPid() != pid || len(st.GetService().GetPending()) != 1 {
		t.Errorf("after a changed apply process %d runs with pending changes %v", harness.Active(st).GetPid(), st.GetService().GetPending())
	}
	s.CtlOK(t, "upgrade", "web")
	if st = s.Status(t, "web"); harness.Active(st).GetNumber() != 2 || len(st.GetService().GetPending()) != 0 {
		t.Errorf("after the upgrade generation %d is active with pending changes %v", harness.Active(st).GetNumber(), st.GetService().GetPending())
	}
	if out := s.CtlOK(t, "upgrade", "web"); !strings.Contains(out, "unchanged") && !strings.Contains(out, "already") {
		t.Errorf("an upgrade to what runs says %q", out)
	}
	if r := s.Ctl(t, "upgrade", "web", "--dry-run", harness.Program(t, "runtime", "v2")); r.Code != 3 {
		t.Errorf("a dry run of a change: %v", r)
	}
	if got := harness.Active(s.Status(t, "web")).GetNumber(); got != 2 {
		t.Errorf("a dry run made generation %d", got)
	}
}

// A program that does not handle SIGHUP would die of it: it is not sent.
func TestReloadOfAProgramWithoutOne(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	if r := s.Ctl(t, "reload", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "gracectl restart") {
		t.Errorf("a reload that would kill: %v", r)
	}
	if got := harness.Active(s.Status(t, "web")).GetPid(); got != pid {
		t.Errorf("process %d runs after a reload, it was %d", got, pid)
	}
}
