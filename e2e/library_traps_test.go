//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// The traps that Go's restart libraries set for whoever starts their programs in
// their place, by library. One has its test elsewhere:
//
//   - 3.8 einhorn, a program that TERM ends at once: TestWrongSignals/einhorn; here
//     is what a stop does
func TestLibraryTraps(t *testing.T) {
	for name, trap := range map[string]func(t *testing.T){
		"3.1a go-systemd: only the process that LISTEN_PID names has listeners": trapListenPID,
		"3.1b go-systemd: a wrapper that LISTEN_PID names instead":              trapWrapper,
		"3.2a gracehttp: a program that binds :P while the socket is another":   trapOtherAddress,
		"3.2b gracehttp: three spellings of the wildcard":                       trapWildcards,
		"3.2c gracehttp: USR2 starts the program anew":                          trapGracehttpUSR2,
		"3.2c gracehttp: a reload must not send it":                             func(t *testing.T) { notReloaded(t, "gracehttp") },
		"3.2d gracehttp: a second TERM kills":                                   trapSecondTERM,
		"3.2e gracenet: alone it tells its parent nothing":                      trapSilence,
		"3.3a beego: flags that nobody parses":                                  trapUnparsedFlags,
		"3.3b beego: an address that is not in the order":                       deafTo("beego", "-address=ALSO", "-address=localhost:PORT"),
		"3.4a endless: TERM before it runs is ignored":                          trapEarlyTERM,
		"3.4b endless: an unknown address becomes descriptor 3":                 deafTo("endless", "-address=ALSO", "-address=localhost:PORT"),
		"3.5a overseer: USR1 to the parent":                                     trapUSR1,
		"3.5b overseer: a program that ends with its parent":                    trapParentDies,
		"3.5c overseer: kept connections are not ended, and cut at a timeout":   trapKeptConnections,
		"3.5d overseer: more addresses than descriptors":                        trapTooFewDescriptors,
		"3.5e overseer: fewer addresses than descriptors":                       deafTo("overseer", ", -address=ALSO", ""),
		"3.5f overseer: arguments stay as they are":                             trapArguments,
		"3.6a tableflip: Stop unlinks the path of a unix socket":                trapStopUnlinks,
		"3.6b tableflip: an upgrade of its own":                                 trapOwnUpgrade,
		"3.7 server-starter: a host with dots is taken for a unix path":         trapDottedHost,
		"3.8 einhorn: a stop by TERM would cut":                                 trapStopEinhorn,
		"3.9 kuangchanglang: handlers must be as many as descriptors":           trapHandlerCount,
		"3.10 goagain: USR2 panics":                                             trapGoagainUSR2,
		"3.10 goagain: a reload must not send it":                               func(t *testing.T) { notReloaded(t, "goagain") },
		"3.11a gracehttp: in a container with the agent as its first process":   trapContainer,
		"3.11b gracehttp: a program that is its namespace's first process":      trapOwnNamespace,
		"3.11c gracehttp: the first process of a container must collect":        trapZombies,
	} {
		t.Run(name, trap)
	}
}

const (
	atOnce     = "upgrade: {soak: 0s}\n"
	oneSocket  = "sockets: [{name: http, listen: \"tcp://ADDRESS\"}]\n"
	twoSockets = "sockets: [{name: http, listen: \"tcp://ADDRESS\"}, {name: admin, listen: \"tcp://ALSO\"}]\n"
)

// startLibrary runs a program that speaks a library's protocol as generation 1.
// ADDRESS, its PORT, and ALSO become free, DIR is the service's own directory.
func startLibrary(t *testing.T, yaml string) *service {
	t.Helper()
	return harnessed(t, harness.Start(t), yaml)
}

func harnessed(t *testing.T, a *harness.Agent, yaml string) *service {
	t.Helper()
	s := &service{Agent: a, t: t}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	also := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	put := strings.NewReplacer("ADDRESS", s.address, "PORT", portOf(s.address), "ALSO", also, "DIR", s.Dir)
	s.spec = "name: web\nartifact: " + harness.Program(t, "foreign", "v1") + "\n" + put.Replace(yaml)
	s.Apply(t, s.spec)
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

// edited is the service file with something replaced that must be there.
func (s *service) edited(t *testing.T, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(s.spec, oldNew[i]) {
			t.Fatalf("%q is not in\n%s", oldNew[i], s.spec)
		}
	}
	return s.Spec(t, strings.NewReplacer(oldNew...).Replace(s.spec))
}

// refused upgrades to what cannot work: the operator reads why, and nobody else
// notices.
func (s *service) refused(t *testing.T, file string, words ...string) {
	t.Helper()
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	r := s.Ctl(t, "upgrade", "-f", file)
	for _, w := range append(words, "generation 1 is active") {
		if r.Code != 4 || !strings.Contains(r.Stdout+r.Stderr, w) {
			t.Errorf("exit code %d, want 4 and %q: %v", r.Code, w, r)
		}
	}
	answered(t, l, 20)
	s.untouched(pid)
	unharmed(t, l)
}

// restarted upgrades twice to the same program.
func (s *service) restarted(t *testing.T) {
	t.Helper()
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	for range 2 {
		s.CtlOK(t, "restart", "web")
		answered(t, l, 20)
	}
	unharmed(t, l)
}

// startsAgain has the active program end by itself: the agent starts it again,
// nothing is lost but what the program had accepted, and an event says so.
func (s *service) startsAgain(t *testing.T, end func(pid int32), words ...string) {
	t.Helper()
	old := harness.Active(s.Status(t, "web"))
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	end(old.GetPid())
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		g := harness.Active(st)
		return g.GetPid() != 0 && g.GetRestarts() == old.GetRestarts()+1 && len(st.GetService().GetWarnings()) == 0
	}, awaitLimit)
	answered(t, l, 20)
	if family := s.family(t, 1); len(family) != 1 {
		t.Errorf("generation 1 has processes %v, want one", family)
	}
	events := s.CtlOK(t, "events", "web")
	if i := slices.IndexFunc(words, func(w string) bool { return !strings.Contains(events, w) }); i >= 0 {
		t.Errorf("no event says %q:\n%s", words[i], events)
	}
	seen := l.Stop()
	accepted := int64(0)
	for _, kind := range []load.Loss{load.Reset, load.EOF, load.Truncated} {
		accepted += seen.Fresh.Lost[kind] + seen.KeepAlive.Lost[kind]
	}
	if seen.Lost() != accepted || accepted > 10 {
		t.Errorf("requests were lost that the program had not accepted:\n%v", seen)
	}
}

// byHand sends what an operator would.
func byHand(t *testing.T, sig syscall.Signal) func(pid int32) {
	t.Helper()
	return func(pid int32) {
		if err := syscall.Kill(int(pid), sig); err != nil {
			t.Fatal(err)
		}
	}
}

// asked has a request under way that takes three seconds: it was accepted, since
// later ones have answers.
func (s *service) asked(t *testing.T) client {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "GET /slow?d=3s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		get(t, s.address)
	}
	return client{c}
}

// notReloaded says to restart instead, and sends the program nothing.
func notReloaded(t *testing.T, name string) {
	t.Helper()
	s := startKnown(t, name, atOnce)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(100, 100, nil)
	if r := s.Ctl(t, "reload", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "use gracectl restart") {
		t.Errorf("a reload: %v", r)
	}
	answered(t, l, 50)
	s.untouched(pid)
	unharmed(t, l)
}

const goSystemd = atOnce + oneSocket + "preset: go-systemd\nargs: [-protocol=go-systemd, -address=ADDRESS]\n"

// Without LISTEN_PID of its own such a program has no listeners at all: it must
// serve over upgrades.
func trapListenPID(t *testing.T) {
	startLibrary(t, goSystemd).restarted(t)
}

// A script that starts the program and stays is the process that LISTEN_PID
// names: the program must be turned away with its own words.
func trapWrapper(t *testing.T) {
	s := startLibrary(t, goSystemd)
	wrapped := "command: [/bin/sh, -c, '\"$0\" \"$@\"; exit $?', '{artifact}']\nargs:"
	s.refused(t, s.edited(t, "args:", wrapped), "EXITED_EARLY", "go-systemd: 0 listeners")
}

// The library compares addresses and binds what it does not find: the operator
// must read that the address is in use, which is what the program says.
func trapOtherAddress(t *testing.T) {
	s := startKnown(t, "gracehttp", atOnce)
	s.refused(t, s.edited(t, "-address="+s.address, "-address=:"+portOf(s.address)), "EXITED_EARLY", "address already in use")
}

// An empty host, 0.0.0.0 and [::] are one to the library, whichever of them the
// socket has: each must serve.
func trapWildcards(t *testing.T) {
	needIPv6(t)
	for _, listen := range []string{"0.0.0.0", "[::]"} {
		t.Run(listen, func(t *testing.T) {
			s := startLibrary(t, atOnce+"preset: gracehttp\nargs: [-protocol=gracehttp, '-address=:PORT']\nsockets: [{name: http, listen: 'tcp://"+listen+":PORT'}]\n")
			l := s.load(100, 100, nil)
			for _, host := range []string{"0.0.0.0", "[::]"} {
				answered(t, l, 20)
				s.CtlOK(t, "upgrade", "-f", s.edited(t, "-address=:", "-address="+host+":"))
			}
			answered(t, l, 20)
			unharmed(t, l)
		})
	}
}

// Told to by hand, the program starts a successor that ends it. It must be said
// that only the agent's own generations last, and nobody may lose what the
// successor had not accepted.
func trapGracehttpUSR2(t *testing.T) {
	s := startKnown(t, "gracehttp", atOnce)
	s.startsAgain(t, byHand(t, syscall.SIGUSR2), "exited with status 0", "left processes [", "gracectl restart")
	s.restarted(t)
}

// While a request is under way, neither a new agent nor a stop may signal the old
// generation again.
func trapSecondTERM(t *testing.T) {
	s := startKnown(t, "gracehttp", atOnce+"drain: {mode: signal, timeout: 20s}\n")
	asked := s.asked(t)
	s.CtlOK(t, "restart", "web")
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return harness.Generation(st, 1).GetDrain().GetPhase() == pb.DrainStatus_PHASE_SIGNALLED
	}, awaitLimit)
	s.Kill9(t)
	s.Restart(t)
	s.await(1, pb.Generation_STATE_DRAINING)
	s.CtlOK(t, "stop", "web")
	if _, err := asked.answer(); err != nil {
		t.Errorf("the request under way was cut: %v", err)
	}
}

// A program on gracenet alone is never ready by its parent's signal, which must be
// said; by a connection it is.
func trapSilence(t *testing.T) {
	s := startLibrary(t, atOnce+oneSocket+"preset: gracehttp\nargs: [-protocol=gracehttp, -address=ADDRESS]\nready: {parent_signal: {}, timeout: 500ms}\n")
	s.refused(t, s.edited(t, "-protocol=gracehttp", "-protocol=gracenet"), "READY_TIMEOUT", "has not signalled its parent")
	s.CtlOK(t, "upgrade", "-f", s.edited(t, "-protocol=gracehttp", "-protocol=gracenet", "parent_signal: {}", "tcp: {socket: http}"))
	s.restarted(t)
}

// The descriptors are announced by flags: behind a word they are not parsed, and
// the program binds by itself; one that parses its own does not know them.
func trapUnparsedFlags(t *testing.T) {
	s := startKnown(t, "beego", atOnce)
	args := "-protocol=beego, -address=" + s.address
	s.refused(t, s.edited(t, "args: ["+args+"]", "command: ['{artifact}', "+args+", serve]"), "EXITED_EARLY", "address already in use")
	s.refused(t, s.edited(t, harness.Program(t, "foreign", "v1"), harness.Program(t, "plain", "v1")),
		"EXITED_EARLY", "flag provided but not defined: -graceful")
}

// deafTo upgrades to a program that serves one of two addresses: it takes one
// socket for both, or knows of one only. It must be turned away while it soaks,
// and what waits on the other address be answered.
func deafTo(protocol, was, is string) func(*testing.T) {
	return func(t *testing.T) { testDeafTo(t, protocol, was, is) }
}

func testDeafTo(t *testing.T, protocol, was, is string) {
	s := startLibrary(t, atOnce+twoSockets+"preset: "+protocol+"\nargs: [-protocol="+protocol+", -address=ADDRESS, -address=ALSO]\n")
	pid := harness.Active(s.Status(t, "web")).GetPid()
	also := strings.TrimPrefix(s.Status(t, "web").GetService().GetSpec().GetSockets()[1].GetListen(), "tcp://")
	put := strings.NewReplacer("ALSO", also, "PORT", portOf(also))
	served, unserved := s.load(100, 0, nil), load.Run(t.Context(), load.Config{Address: also, Fresh: 50, Timeout: awaitLimit})
	answered(t, unserved, 20)
	r := s.Ctl(t, "upgrade", "-f", s.edited(t, "soak: 0s", "soak: 1h", put.Replace(was), put.Replace(is)))
	if r.Code != 4 || !strings.Contains(r.Stdout+r.Stderr, "NOT_ACCEPTING") {
		t.Errorf("a program that does not serve %s: %v", also, r)
	}
	answered(t, served, 20)
	answered(t, unserved, 200) // those that waited, too
	s.untouched(pid)
	unharmed(t, unserved)
	if seen := served.Stop(); seen.Lost() != died(seen) || seen.Lost() > 10 {
		t.Errorf("requests were lost that the program had not accepted:\n%v", seen)
	}
}

// A candidate that is aborted before it runs does not heed the signal to end: it
// must be gone after the drain's timeout all the same.
func trapEarlyTERM(t *testing.T) {
	s := startLibrary(t, atOnce+oneSocket+"preset: endless\nargs: [-protocol=endless, -address=ADDRESS]\nready: {http: {socket: http, path: /}}\ndrain: {timeout: 2s}\n")
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	s.CtlOK(t, "upgrade", "--wait", "none", "-f", s.edited(t, "args: [", "args: [-begin=1s, "))
	s.awaitWords(t, 2, "not yet running")
	family := s.family(t, 2)
	s.CtlOK(t, "abort", "web")
	s.awaitWords(t, 2, "terminated is ignored")
	if exit := s.await(2, pb.Generation_STATE_FAILED).GetExit(); exit.GetSignal() != int32(syscall.SIGKILL) {
		t.Errorf("the candidate ended by %v, want a kill", exit)
	}
	gone(t, family)
	s.untouched(pid)
	unharmed(t, l)
}

// The signal must reach the generation's keeper, and not end it: it is told of,
// and the program's end is known.
func trapUSR1(t *testing.T) {
	s := startKnown(t, "overseer", atOnce+"drain: {mode: signal, timeout: 20s}\n")
	asked := s.asked(t)
	s.CtlOK(t, "restart", "web")
	if _, err := asked.answer(); err != nil {
		t.Errorf("the request under way was cut: %v", err)
	}
	if x := s.await(1, pb.Generation_STATE_STOPPED).GetExit(); x.GetUnknown() || x.GetCode() != 0 || x.GetSignal() != 0 {
		t.Errorf("generation 1 ended by %v, want status 0", x)
	}
	const notice = "signal user defined signal 1 to its parent: absorbed"
	if events := s.CtlOK(t, "events", "web"); !strings.Contains(events, notice) {
		t.Errorf("no event says %q:\n%s", notice, events)
	}
}

// The parent is not the agent, which may die. When the keeper dies, so does the
// program, and must be started again.
func trapParentDies(t *testing.T) {
	s := startKnown(t, "overseer", atOnce)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	s.Kill9(t)
	answered(t, l, 500) // longer than it takes the program to look for its parent
	s.Restart(t)
	s.untouched(pid)
	unharmed(t, l)
	s.startsAgain(t, func(pid int32) { kill(t, shimOf(t, pid)) }, "it is started again")
	s.restarted(t)
}

// An old generation is told to end only when its connections have ended: clients
// that stay are served for longer than the program would. Told at once, it cuts
// them, which shows that this is needed.
func trapKeptConnections(t *testing.T) {
	for drain, cuts := range map[string]bool{"patient": false, "signal": true} {
		t.Run(drain, func(t *testing.T) {
			s := startLibrary(t, atOnce+oneSocket+"preset: overseer\nargs: [-protocol=overseer, -address=ADDRESS, -timeout=500ms]\ndrain: {mode: "+drain+"}\n")
			l := load.Run(t.Context(), load.Config{Address: s.address, Path: "/slow?d=100ms", KeepAlive: 100})
			answered(t, l, 50)
			s.CtlOK(t, "restart", "web")
			answered(t, l, 150)
			if seen := l.Stop(); (seen.Lost() > 0) != cuts || !cuts && seen.Generations["2"].Answers > 0 {
				t.Errorf("clients that stay:\n%v", seen)
			}
		})
	}
}

// Descriptors are taken by position: the operator must read what the program says
// of the one that is missing.
func trapTooFewDescriptors(t *testing.T) {
	s := startKnown(t, "overseer", atOnce)
	s.refused(t, s.edited(t, "-address=", "-address=127.0.0.1:1, -address="), "EXITED_EARLY", "index out of range")
}

// A slave is the same program with the same arguments.
func trapArguments(t *testing.T) {
	s := startKnown(t, "overseer", atOnce)
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", harness.Active(s.Status(t, "web")).GetPid()))
	if err != nil {
		t.Fatal(err)
	}
	_, args, _ := strings.Cut(string(line), "\x00")
	if want := "-protocol=overseer\x00-address=" + s.address + "\x00"; args != want {
		t.Errorf("the program has arguments %q, want %q", args, want)
	}
}

// The old generation removes the path when it ends, which is the new one's by
// then: it must lead there again within an instant, and who removed it be said.
func trapStopUnlinks(t *testing.T) {
	s := startLibrary(t, atOnce+"preset: tableflip\nargs: [-protocol=tableflip, -address=DIR/web.sock]\nsockets: [{name: http, listen: 'unix://DIR/web.sock'}]\n")
	s.address = "unix:" + filepath.Join(s.Dir, "web.sock")
	l := s.load(100, 0, nil)
	answered(t, l, 20)
	for i := range 3 {
		s.CtlOK(t, "restart", "web")
		s.await(int32(i+1), pb.Generation_STATE_STOPPED)
		answered(t, l, 20)
	}
	if seen := l.Stop(); seen.Lost() != seen.Fresh.Lost[load.Refused] || seen.Lost() > 3 {
		t.Errorf("more was lost than is refused in an instant:\n%v", seen)
	}
	if !strings.Contains(s.Log(), "somebody removed a public path: restored") {
		t.Error("the agent does not say that the path was removed")
	}
}

// Told to by hand, the program starts a successor and ends when that is ready: as
// with gracehttp.
func trapOwnUpgrade(t *testing.T) {
	s := startKnown(t, "tableflip", atOnce)
	s.startsAgain(t, byHand(t, syscall.SIGHUP), "exited with status 0", "left processes [", "gracectl restart")
	s.restarted(t)
}

// Such a program uses the descriptor alone, and must serve.
func trapDottedHost(t *testing.T) {
	s := startLibrary(t, atOnce+oneSocket+"preset: server_starter\nargs: [-protocol=go_server_starter, -address=ADDRESS]\n")
	s.awaitWords(t, 1, "taken for a unix path: "+s.address)
	s.restarted(t)
}

// A stop sends the library's own signal, too.
func trapStopEinhorn(t *testing.T) {
	s := startKnown(t, "einhorn", atOnce)
	asked := s.asked(t)
	s.CtlOK(t, "stop", "web")
	if _, err := asked.answer(); err != nil {
		t.Errorf("the request under way was cut: %v", err)
	}
}

// The operator must read what the program says of the numbers.
func trapHandlerCount(t *testing.T) {
	s := startKnown(t, "graceful", atOnce)
	s.refused(t, s.edited(t, "-address=", "-address=127.0.0.1:1, -address="), "EXITED_EARLY", "handler number does not match numFDs, 2!=1")
}

// Sent by hand, it has the program started again, and why must be said.
func trapGoagainUSR2(t *testing.T) {
	s := startKnown(t, "goagain", atOnce)
	s.startsAgain(t, byHand(t, syscall.SIGUSR2), "exited with status 2: it is started again")
	s.awaitWords(t, 1, "panic: reflect")
	s.restarted(t)
}

const inContainer = atOnce + oneSocket + "preset: gracehttp\nargs: [-protocol=gracehttp, -address=ADDRESS]\n"

// The library tells its parent nothing where that is pid 1: it must not be.
func trapContainer(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "a namespace for pids needs root")
	harnessed(t, harness.StartInit(t), inContainer).restarted(t)
}

// The parent of such a program is pid 0, and signals to that reach the program's
// own group: it ends, and must be turned away.
func trapOwnNamespace(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "a namespace for pids needs root")
	s := startLibrary(t, inContainer)
	s.refused(t, s.edited(t, "args:", "command: [/usr/bin/unshare, --pid, --fork, '{artifact}']\nargs:"), "EXITED_EARLY")
}

// A program that started its successor, and one that lost its keeper, must not be
// left as zombies.
func trapZombies(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "a namespace for pids needs root")
	s := harnessed(t, harness.StartInit(t), inContainer)
	first := s.family(t, 1)
	s.startsAgain(t, func(int32) { byHand(t, syscall.SIGUSR2)(int32(first[0])) }, "left processes [")
	gone(t, first)
	second := s.family(t, 1)
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	for _, pid := range s.keepers() {
		kill(t, int32(pid))
	}
	answered(t, l, 20)
	s.CtlOK(t, "restart", "web")
	answered(t, l, 20)
	unharmed(t, l)
	gone(t, second)
}
