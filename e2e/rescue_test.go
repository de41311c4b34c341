//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// client is one connection with one request sent and no answer read.
type client struct{ net.Conn }

// clients connect and ask, at once; their answers come whenever they come.
func (s *service) clients(t *testing.T, n int) []client {
	t.Helper()
	all := make([]client, n)
	for i := range all {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		all[i] = client{c}
	}
	return all
}

// answer is what it is told; it must be told something good.
func (c client) answer() (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(awaitLimit)); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	return string(body), err
}

// allAnswered counts who was answered by which version.
func allAnswered(t *testing.T, all []client) map[string]int {
	t.Helper()
	by := map[string]int{}
	for i, c := range all {
		body, err := c.answer()
		if err != nil {
			t.Errorf("request %d of %d: %v", i, len(all), err)
			continue
		}
		_, version, _ := strings.Cut(body, "version=")
		version, _, _ = strings.Cut(version, " ")
		by[version]++
	}
	return by
}

// freeze stops a program, so that its queue fills.
func freeze(t *testing.T, pid int32) {
	t.Helper()
	if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for state := ""; state != "T"; {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		state = strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0]
	}
}

func kill(t *testing.T, pid int32) {
	t.Helper()
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// canary upgrades to v2 and waits until it has half of the connections.
func (s *service) canary(t *testing.T) *pb.Generation {
	t.Helper()
	s.CtlOK(t, "upgrade", "web", "--artifact", s.push("v2"), "--steps", "50%", "--hold", "1h", "--wait", "none")
	up := s.awaitUpgrade(pb.Upgrade_STATE_CANARY)
	return harness.Generation(s.Status(t, "web"), up.GetToGeneration())
}

// A candidate dies with connections in its queue: the old generation's program
// answers them.
func TestQueueOfADeadCandidate(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	old := harness.Active(s.Status(t, "web")).GetPid()
	candidate := s.canary(t)
	freeze(t, candidate.GetPid())
	all := s.clients(t, 60)
	kill(t, candidate.GetPid())
	if by := allAnswered(t, all); by["v1"] != len(all) {
		t.Errorf("answered by %v, want all by v1", by)
	}
	if up := s.awaitUpgrade(pb.Upgrade_STATE_FAILED); up.GetReason() != pb.Reason_REASON_CANDIDATE_DIED {
		t.Errorf("the upgrade failed by %v", up.GetReason())
	}
	s.awaitAlone(awaitLimit)
	if got := harness.Active(s.Status(t, "web")); got.GetPid() != old || got.GetWeight() != 10000 {
		t.Errorf("generation %d is active with pid %d, want 1 with %d", got.GetNumber(), got.GetPid(), old)
	}
}

// In a crash loop the generation before takes the slot over, with its queue.
func TestQueueInACrashLoop(t *testing.T) {
	s := start(t, "runtime", "restart: {backoff: 10ms, max_backoff: 50ms}\n"+signalDrain)
	s.CtlOK(t, "upgrade", "web", "--artifact", s.push("v2"), "--wait", "drained")
	s.awaitAlone(awaitLimit)
	for crash := range 3 {
		ready := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
			g := harness.Active(st)
			return g.GetPid() != 0 && int(g.GetRestarts()) == crash && len(st.GetService().GetWarnings()) == 0
		}, awaitLimit)
		pid := harness.Active(ready).GetPid()
		freeze(t, pid)
		all := s.clients(t, 20)
		kill(t, pid)
		want := "v2"
		if crash == 2 {
			want = "v1"
		}
		if by := allAnswered(t, all); by[want] != len(all) {
			t.Errorf("crash %d: answered by %v, want all by %s", crash+1, by, want)
		}
	}
	up := s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	if up.GetKind() != pb.Upgrade_KIND_AUTO_ROLLBACK || up.GetReason() != pb.Reason_REASON_CRASH_LOOP || up.GetRollbackOf() != 1 {
		t.Errorf("the last upgrade is %v by %v, back to %d", up.GetKind(), up.GetReason(), up.GetRollbackOf())
	}
}

// While nobody serves, connections wait.
func TestHoldDuringARestart(t *testing.T) {
	s := start(t, "runtime", "restart: {backoff: 500ms, hold: 5s}\n"+signalDrain)
	kill(t, harness.Active(s.Status(t, "web")).GetPid())
	s.Await(t, "web", func(st *pb.ServiceStatus) bool { return len(st.GetService().GetWarnings()) > 0 }, awaitLimit)
	all := s.clients(t, 20)
	if by := allAnswered(t, all); by["v1"] != len(all) {
		t.Errorf("answered: %v, want %d", by, len(all))
	}
	if n := harness.Active(s.Status(t, "web")).GetRestarts(); n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

// Longer than restart.hold nobody waits: connections are refused until the
// program serves again.
func TestHoldEnds(t *testing.T) {
	s := start(t, "runtime", "restart: {backoff: 1s, hold: 200ms}\n"+signalDrain)
	kill(t, harness.Active(s.Status(t, "web")).GetPid())
	s.awaitRefused(t)
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return harness.Active(st).GetPid() != 0 && len(st.GetService().GetWarnings()) == 0
	}, awaitLimit)
	if by := allAnswered(t, s.clients(t, 5)); by["v1"] != 5 {
		t.Errorf("answered after the restart: %v, want 5", by)
	}
}

func (s *service) awaitRefused(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("connections are still accepted")
		}
	}
}

// A program that nobody starts again leaves a service that is down, and says so.
func TestRestartNever(t *testing.T) {
	s := start(t, "runtime", "restart: {policy: never, hold: 200ms}\n"+signalDrain)
	kill(t, harness.Active(s.Status(t, "web")).GetPid())
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return st.GetService().GetState() == pb.Service_STATE_DOWN
	}, awaitLimit)
	if g := harness.Generation(st, 1); g.GetState() != pb.Generation_STATE_FAILED || g.GetExit().GetSignal() != int32(syscall.SIGKILL) {
		t.Errorf("generation 1 is %v, exit %v", g.GetState(), g.GetExit())
	}
	s.awaitRefused(t)
}

// When the old program cannot be started on the slot either, the slot is given
// up in the end; the old generation itself goes on.
func TestRescueFails(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	s := start(t, "runtime", "command: [/bin/sh, -c, '[ ! -e "+broken+" ] || exit 7; exec \"$0\"', '{artifact}']\n"+signalDrain)
	old := harness.Active(s.Status(t, "web"))
	candidate := s.canary(t)
	freeze(t, candidate.GetPid())
	all := s.clients(t, 40)
	if err := os.WriteFile(broken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	kill(t, candidate.GetPid())
	lost := 0
	for _, c := range all {
		if _, err := c.answer(); err != nil {
			lost++
		}
	}
	if lost == 0 || lost == len(all) {
		t.Errorf("%d of %d requests were lost, want those of the candidate's queue", lost, len(all))
	}
	s.awaitAlone(awaitLimit)
	if said := s.CtlOK(t, "events", "web"); !strings.Contains(said, fmt.Sprintf("given up: %d connections", lost)) {
		t.Errorf("no event names the %d connections:\n%s", lost, said)
	}
	if by := allAnswered(t, s.clients(t, 10)); by["v1"] != 10 {
		t.Errorf("answered: %v, want 10 by v1", by)
	}
	if pid := harness.Active(s.Status(t, "web")).GetPid(); pid != old.GetPid() {
		t.Errorf("the old generation has pid %d, it had %d", pid, old.GetPid())
	}
}

// A standby that dies is started again; meanwhile the way back is not instant.
func TestStandbyDies(t *testing.T) {
	s := start(t, "runtime", "restart: {backoff: 300ms}\n"+strings.Replace(signalDrain, "soak: 0s", "soak: 1h", 1))
	s.CtlOK(t, "upgrade", "web", "--artifact", s.push("v2"), "--wait", "none")
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	l := s.load(200, 200, nil)
	answered(t, l, 100)
	kill(t, harness.Generation(s.Status(t, "web"), 1).GetPid())
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return strings.Contains(strings.Join(st.GetService().GetWarnings(), ""), "abort is not instant")
	}, awaitLimit)
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return len(st.GetService().GetWarnings()) == 0 && harness.Generation(st, 1).GetPid() != 0
	}, awaitLimit)
	s.CtlOK(t, "abort", "web")
	s.awaitAlone(awaitLimit)
	if by := allAnswered(t, s.clients(t, 10)); by["v1"] != 10 {
		t.Errorf("answered after the abort: %v, want 10 by v1", by)
	}
	unharmed(t, l)
}

// shimOf is the parent of a generation's program.
func shimOf(t *testing.T, pid int32) int32 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var state string
	var parent int32
	if _, err := fmt.Sscan(string(b[strings.LastIndexByte(string(b), ')')+1:]), &state, &parent); err != nil {
		t.Fatal(err)
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if strings.TrimSpace(string(comm)) != "graced-shim" {
		t.Fatalf("the parent of %d is %q", pid, comm)
	}
	return parent
}

// The shim is killed, the program lives on; another shim takes its place.
func TestShimDies(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(200, 200, nil)
	answered(t, l, 100)
	kill(t, shimOf(t, pid))
	answered(t, l, 200)
	if got := harness.Active(s.Status(t, "web")); got.GetPid() != pid || got.GetState() != pb.Generation_STATE_ACTIVE {
		t.Errorf("the active generation is %v with pid %d, it had %d", got.GetState(), got.GetPid(), pid)
	}
	s.upgrade(s.push("v2"), 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	s.awaitAlone(awaitLimit)
	if exit := s.await(1, pb.Generation_STATE_STOPPED).GetExit(); !exit.GetUnknown() {
		t.Errorf("the exit of a program without a parent is %v, want unknown", exit)
	}
	answered(t, l, 100)
	unharmed(t, l)
	gone(t, []int{int(pid)})
}

// With shim and agent gone nobody knows of the program any more: the next agent
// starts it again, and says so.
func TestShimAndAgentDie(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "without a cgroup nobody finds a program that lost both")
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	shim := shimOf(t, pid)
	s.Kill9(t)
	kill(t, shim)
	s.Restart(t)
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		g := harness.Active(st)
		return g.GetPid() != 0 && g.GetPid() != pid && len(st.GetService().GetWarnings()) == 0
	}, awaitLimit)
	if by := allAnswered(t, s.clients(t, 10)); by["v1"] != 10 {
		t.Errorf("answered: %v, want 10", by)
	}
	if !strings.Contains(s.Log(), "its program is started again") {
		t.Error("the agent does not say that it starts the program again")
	}
	gone(t, []int{int(pid)})
}

// A generation that shuts its own listener down while it drains has left its
// group, whatever the record says: the connections of the others go where they
// belong.
func TestDeafOldGenerationMisleadsNobody(t *testing.T) {
	s := start(t, "bad", "args: [-mode=shutdown-listener=2s]\nsockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\ndrain: {mode: patient}\n")
	stays, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	s.CtlOK(t, "upgrade", "web", "-f", s.candidate(t, faulty{folder: "runtime", rest: "ready: {notify: {}}\nupgrade: {soak: 0s}\n"}))
	s.await(1, pb.Generation_STATE_DRAINING)
	s.awaitWords(t, 1, "accept4: invalid argument")
	l := s.load(200, 0, nil)
	answered(t, l, 50)
	r := s.Ctl(t, "upgrade", "web", "-f", s.candidate(t, faulty{args: "-mode=never-ready", rest: "ready: {notify: {}, timeout: 500ms}\n"}))
	if r.Code != 4 {
		t.Errorf("an upgrade that is never ready: %v", r)
	}
	answered(t, l, 50)
	if seen := unharmed(t, l); seen.Generations["3"].Answers != 0 {
		t.Errorf("a candidate that never was ready had connections:\n%v", seen)
	}
}

// awaitWords waits until a generation's log says so.
func (s *service) awaitWords(t *testing.T, generation int, words string) {
	t.Helper()
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(20 * time.Millisecond) {
		out := s.CtlOK(t, "logs", "web", "--generation", strconv.Itoa(generation))
		if strings.Contains(out, words) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("generation %d never says %q", generation, words)
		}
	}
}

// The agent is killed after it has started another shim, and before it has given it
// the sockets.
func TestAgentDiesWhileItReplacesAShim(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "without a cgroup nobody finds a program that lost both")
	s := &service{Agent: harness.StartSlow(t, 300*time.Millisecond), t: t, folder: "runtime"}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.ReplaceAll(signalDrain, "ADDRESS", "tcp://"+s.address)
	s.Apply(t, s.yaml("v1"))
	pid := s.await(1, pb.Generation_STATE_ACTIVE).GetPid()
	eventually(t, "the next slot's shim is up", func() bool { return !s.startsShims() })
	kill(t, shimOf(t, pid))
	eventually(t, "another shim is started", s.startsShims)
	s.Kill9(t)
	eventually(t, "it listens", func() bool { return answers(filepath.Join(s.Dir, "r", "s", "*-1", "*")) })
	s.Restart(t)
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		g := harness.Active(st)
		return g.GetPid() != 0 && g.GetPid() != pid && len(st.GetService().GetWarnings()) == 0
	}, awaitLimit)
	if by := allAnswered(t, s.clients(t, 10)); by["v1"] != 10 {
		t.Errorf("answered: %v, want 10", by)
	}
	gone(t, []int{int(pid)})
}

// startsShims says whether a shim is being started, slowly, by StartSlow's script.
func (s *service) startsShims() bool {
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.PID()))
	for _, path := range children {
		list, _ := os.ReadFile(path)
		for _, child := range strings.Fields(string(list)) {
			if exe, _ := os.Readlink("/proc/" + child + "/exe"); filepath.Base(exe) == "bash" {
				return true
			}
		}
	}
	return false
}

// eventually waits for what nobody tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(awaitLimit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", awaitLimit, what)
		}
	}
}

// answers says whether somebody listens on a socket among some files.
func answers(glob string) bool {
	paths, _ := filepath.Glob(glob)
	return slices.ContainsFunc(paths, func(path string) bool {
		c, err := net.Dial("unixpacket", path)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}
