//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/e2e/load"
)

const (
	faultySoak = "upgrade: {soak: 1h}\n"
	checkHTTP  = "{http: {socket: http, path: /healthz}, interval: 100ms, failures: 2}"
)

// faulty is a candidate that must be turned away.
type faulty struct {
	folder string // of the program; bad when empty
	args   string
	rest   string // of its service file
	reason string
	words  []string // regular expressions for what an operator reads
	// mayLose: what the program had accepted dies with it.
	mayLose bool
}

var candidates = map[string]faulty{
	"exits at once": {
		args: "-mode=exit-at-once", rest: "ready: {notify: {}}\n" + faultySoak, reason: "EXITED_EARLY",
		words: []string{`exited with status 1`, `\| .*giving up at once`},
	},
	"exits with 0 at once": {
		args: "-mode=exit-zero", rest: "ready: {notify: {}}\n" + faultySoak, reason: "EXITED_EARLY",
		words: []string{`exited with status 0`},
	},
	"is never ready": {
		args: "-mode=never-ready", rest: "ready: {notify: {}, timeout: 300ms}\n" + faultySoak, reason: "READY_TIMEOUT",
		words: []string{`not ready within 300ms`, `READY=1`},
	},
	"answers 500 before it is ready": {
		args: "-mode=check-500", reason: "READY_TIMEOUT",
		rest: "ready: {http: {socket: http, path: /healthz}, timeout: 300ms}\n" + faultySoak, words: []string{`500`},
	},
	"answers 500 to its check": {
		args: "-mode=check-500", reason: "CHECK_FAILED",
		rest: "ready: {notify: {}}\nupgrade: {soak: 1h, check: " + checkHTTP + "}\n", words: []string{`check failed 2 times`, `500`},
	},
	"crashes in canary": {
		args: "-mode=crash-after=300ms", mayLose: true, reason: "CANDIDATE_DIED",
		rest: "ready: {notify: {}}\nupgrade: {steps: [50%], hold: 1h}\n", words: []string{`exited with status 2`, `\| .*crashing, as asked`},
	},
	"crashes in soak": {
		args: "-mode=crash-after=300ms", rest: "ready: {notify: {}}\n" + faultySoak, reason: "CANDIDATE_DIED", mayLose: true,
		words: []string{`exited with status 2`, `\| .*crashing, as asked`},
	},
	"closes its listener": {
		args: "-mode=close-listener=200ms", rest: "ready: {notify: {}}\n" + faultySoak, reason: "LISTENER_LOST", mayLose: true,
		words: []string{`closed its listener on tcp://`},
	},
	"shuts its listener down": {
		args: "-mode=shutdown-listener=200ms", rest: "ready: {notify: {}}\n" + faultySoak, reason: "LISTENER_LOST", mayLose: true,
		words: []string{`shut its listener on tcp://\S+ down`},
	},
	"joins the port by itself": {
		args: "-mode=own-reuseport", rest: "ready: {notify: {}}\n" + faultySoak, reason: "STRANGER",
		words: []string{`process \d+ \(.*bad.*\) listens on \S*127.0.0.1:\d+`, `SO_REUSEPORT`},
	},
	"lets a grandchild claim that it is ready": {
		args: "-mode=grandchild-ready", reason: "READY_TIMEOUT",
		rest: "ready: {notify: {}, timeout: 500ms}\n" + faultySoak, words: []string{`main process`},
	},
	"is deaf": {
		args: "-mode=deaf", rest: "ready: {notify: {}}\n" + faultySoak, reason: "NOT_ACCEPTING",
		words: []string{`accepted none`},
	},
	"is deaf to the private path": {
		args: "-mode=deaf", rest: "ready: {tcp: {socket: http}, timeout: 300ms}\n" + faultySoak, reason: "READY_TIMEOUT",
		words: []string{`not ready within 300ms`},
	},
	"reports a failure of its own": {
		folder: "runtime", args: "-fail-after=200ms", rest: "ready: {notify: {}}\n" + faultySoak, reason: "REPORTED_FAILURE",
		words: []string{`asked to by -fail-after`},
	},
}

// A candidate may do what it likes: it is turned away, the operator reads why, and
// the generation that runs does not notice.
func TestFaultyCandidates(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	old := harness.Active(s.Status(t, "web"))
	l := s.load(200, 200, nil)
	answered(t, l, 100)
	for name, c := range candidates {
		t.Run(name, func(t *testing.T) { s.turnedAway(t, c, old, l) })
	}
	if lost := l.Stop().KeepAlive.Total(); lost != 0 {
		t.Errorf("%d requests were lost on connections of the old generation:\n%v", lost, l.Snapshot())
	}
}

func (s *service) turnedAway(t *testing.T, c faulty, old *pb.Generation, l *load.Load) {
	before, began := l.Snapshot(), time.Now()
	request := []string{"upgrade", "web", "-f", s.candidate(t, c), "--request-id", strings.ReplaceAll(t.Name(), " ", "-")}
	r := s.Ctl(t, append(request, "-o", "json")...)
	took := time.Since(began)
	if code, reason := lastRecord(t, r.Stdout); r.Code != 4 || code != 4 || reason != c.reason {
		t.Errorf("exit code %d, result %d %s; want 4 %s\n%v", r.Code, code, reason, c.reason, r)
	}
	// The same request again has the same answer, in words.
	again := s.Ctl(t, request...)
	for _, want := range append(c.words, c.reason, "generation 1 is active") {
		if !regexp.MustCompile(want).MatchString(again.Stdout + again.Stderr) {
			t.Errorf("%q is missing: %v", want, again)
		}
	}
	s.awaitAlone(awaitLimit)
	if g := harness.Active(s.Status(t, "web")); g.GetPid() != old.GetPid() || g.GetWeight() != 10000 || g.GetState() != pb.Generation_STATE_ACTIVE {
		t.Errorf("the old generation is %v with pid %d and weight %d; it had pid %d", g.GetState(), g.GetPid(), g.GetWeight(), old.GetPid())
	}
	answered(t, l, 100)
	after := l.Snapshot()
	lost := after.Fresh.Total() - before.Fresh.Total()
	t.Logf("turned away after %v, %d connections died with the program", took.Round(time.Millisecond), lost)
	if lost > 0 && !c.mayLose || lost > 10 || died(after)-died(before) != lost {
		t.Errorf("%d requests were lost:\n%v", lost, after)
	}
}

// candidate writes a service file.
func (s *service) candidate(t *testing.T, c faulty) string {
	t.Helper()
	folder := c.folder
	if folder == "" {
		folder = "bad"
	}
	return s.Spec(t, "name: web\nartifact: "+harness.Program(t, folder, "v2")+"\nargs: ["+c.args+"]\n"+
		"sockets: [{name: http, listen: \"tcp://"+s.address+"\"}]\ndrain: {mode: patient, timeout: 500ms}\n"+c.rest)
}

// died counts new connections that ended as they do when a program does.
func died(s load.Snapshot) int64 {
	return s.Fresh.Lost[load.Reset] + s.Fresh.Lost[load.EOF]
}

// lastRecord is the end of a stream in JSON.
func lastRecord(t *testing.T, stream string) (code int, reason string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stream), "\n")
	var result struct {
		Type     string
		ExitCode int
		Hosts    []struct{ Reason string }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil || result.Type != "result" || len(result.Hosts) != 1 {
		t.Fatalf("the last record is no result: %v in %s", err, stream)
	}
	return result.ExitCode, result.Hosts[0].Reason
}

// These do harm to themselves at most: they may stay.
func TestOddCandidates(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	l := s.load(200, 0, nil)
	answered(t, l, 100)
	for name, c := range map[string]struct{ args, notice string }{
		"clears O_NONBLOCK":    {"-mode=clear-nonblock", ""},
		"signals its parent":   {"-mode=kill-parent", "signal terminated to its parent: absorbed"},
		"ignores SIGTERM":      {"-mode=ignore-term", ""},
		"leaves children":      {"-mode=fork-leftover", ""},
		"is stubborn, as they": {"-mode=stubborn", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := s.candidate(t, faulty{args: c.args, rest: "ready: {notify: {}}\n" + faultySoak})
			s.CtlOK(t, "upgrade", "web", "-f", file, "--wait", "none")
			up := s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
			answered(t, l, 100)
			if c.notice != "" && !strings.Contains(s.CtlOK(t, "events", "web"), c.notice) {
				t.Errorf("no event says %q:\n%s", c.notice, s.CtlOK(t, "events", "web"))
			}
			// The program ends at once when it is told to, or is killed.
			before := l.Snapshot()
			family := s.family(t, up.GetToGeneration())
			s.CtlOK(t, "abort", "web")
			s.awaitAlone(awaitLimit)
			gone(t, family)
			if lost := l.Snapshot().Lost() - before.Lost(); lost != 0 {
				t.Errorf("%d requests were lost:\n%v", lost, l.Snapshot())
			}
		})
	}
	unharmed(t, l)
}

// A program removes the path it was told of: nobody else notices.
func TestCandidateUnlinksItsPath(t *testing.T) {
	s := startAt(t, "unixhttp", "unix://DIR/web.sock", signalDrain)
	s.address = "unix:" + filepath.Join(s.Dir, "web.sock")
	l := s.load(200, 200, nil)
	answered(t, l, 100)
	s.CtlOK(t, "upgrade", "web", "--wait", "none", "-f", s.Spec(t, "name: web\nartifact: "+harness.Program(t, "bad", "v2")+
		"\nargs: [-mode=unlink-unix]\nsockets: [{name: http, listen: \"unix://"+s.Dir+"/web.sock\"}]\nready: {notify: {}}\ndrain: {timeout: 500ms}\n"+faultySoak))
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	answered(t, l, 200)
	s.CtlOK(t, "abort", "web")
	s.awaitAlone(awaitLimit)
	answered(t, l, 100)
	seen := unharmed(t, l)
	if seen.Generations["2"].Answers == 0 {
		t.Errorf("nobody reached the candidate:\n%v", seen)
	}
}

// family is everything that a generation started.
func (s *service) family(t *testing.T, generation int32) []int {
	t.Helper()
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, _ := os.ReadFile(file)
		mine := bytes.Contains(env, []byte(s.Dir+"/")) && bytes.Contains(env, fmt.Appendf(nil, "\x00GRACEFLEET_GENERATION=%d\x00", generation))
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); mine && err == nil {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Fatalf("generation %d has no process", generation)
	}
	return pids
}

// gone waits until none of these processes is left.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(5 * time.Millisecond) {
		pids = slices.DeleteFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) != nil })
		if len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v live on", pids)
		}
	}
}
