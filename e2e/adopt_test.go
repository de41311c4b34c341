//go:build linux

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// adoptable is what becomes of a program that runs already. Its listener is a
// multipath TCP socket, as every Go program's.
const adoptable = "sockets: [{name: http, listen: 'ADDRESS'}]\nready: {http: {socket: http, path: /}}\n" +
	"drain: {mode: patient, timeout: 20s}\nupgrade: {soak: 0s}\n"

// legacy is a program that somebody else started.
type legacy struct {
	*exec.Cmd
	ended chan struct{}
}

func (l *legacy) pid() int32 { return int32(l.Process.Pid) }

func (l *legacy) alive() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// startLegacy runs a program as somebody who has not heard of the agent, and waits
// until it listens. ADDRESS in its arguments becomes the service's.
func (s *service) startLegacy(t testing.TB, args ...string) *legacy {
	t.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ADDRESS", s.address)
	}
	l := &legacy{Cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	l.Stderr = os.Stderr
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = l.Wait()
		close(l.ended)
	}()
	t.Cleanup(func() {
		_ = l.Process.Kill()
		<-l.ended
	})
	awaitDial(t, s.address, l.ended)
	return l
}

// unadopted is an agent beside a program that it knows nothing of. PORT and ADDRESS
// become the service's.
func unadopted(t *testing.T, listen, yaml string, args ...string) (*service, *legacy) {
	t.Helper()
	s := &service{Agent: harness.Start(t), t: t, folder: "plain"}
	port := strconv.Itoa(harness.FreePort(t))
	s.address = "127.0.0.1:" + port
	listen = strings.ReplaceAll(listen, "PORT", port)
	s.spec = strings.ReplaceAll(yaml, "ADDRESS", listen)
	if len(args) == 0 {
		args = []string{harness.Program(t, "plain", "old"), "-listen", strings.TrimPrefix(listen, "tcp://")}
	}
	return s, s.startLegacy(t, args...)
}

func (s *service) adopt(t *testing.T, l *legacy) {
	t.Helper()
	s.CtlOK(t, "adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", strconv.Itoa(l.Process.Pid), "--reason", "moving house")
	g := harness.Active(s.Status(t, "web"))
	if !g.GetExternal() || g.GetPid() != l.pid() || g.GetProgram().GetPid() != l.pid() || g.GetNumber() != 1 {
		t.Fatalf("adopted is %v, want process %d", g, l.pid())
	}
}

// The whole way of a running program, under load: adopted, upgraded beside,
// returned to, replaced for good. It notices nothing of it until its last
// connection is gone.
func TestAdopt(t *testing.T) {
	python := func(listen string) []string {
		return []string{"python3", "-c", "import http.server,socketserver\n" +
			"class H(http.server.BaseHTTPRequestHandler):\n" +
			" protocol_version='HTTP/1.1'\n" +
			" def do_GET(self):\n" +
			"  self.send_response(200); self.send_header('Content-Length','3'); self.end_headers(); self.wfile.write(b'old')\n" +
			" def log_message(self,*a): pass\n" +
			"class S(socketserver.ThreadingMixIn,http.server.HTTPServer):\n request_queue_size=256; daemon_threads=True\n" +
			listen}
	}
	for name, c := range map[string]struct {
		listen string
		args   []string
	}{
		"go":             {listen: "tcp://127.0.0.1:PORT"},
		"go, dual stack": {listen: "tcp://[::]:PORT"},
		"python":         {listen: "tcp://127.0.0.1:PORT", args: python("S(('127.0.0.1',int('ADDRESS'.split(':')[1])),H).serve_forever()")},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(c.listen, "[") {
				needIPv6(t)
			}
			s, old := unadopted(t, c.listen, adoptable, c.args...)
			l := s.load(rate()/2, rate()/2, nil)
			answered(t, l, 100)
			s.adopt(t, old)
			answered(t, l, 100)

			s.CtlOK(t, "upgrade", "web", "--soak", "1h", "--wait", "none")
			s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
			answered(t, l, 100)
			s.CtlOK(t, "abort", "web")
			if g := harness.Active(s.Status(t, "web")); g.GetPid() != old.pid() {
				t.Errorf("after the abort %v is active", g)
			}
			answered(t, l, 100)

			s.CtlOK(t, "upgrade", "web")
			answered(t, l, 100)
			s.CtlOK(t, "rollback", "web") // it serves still
			if g := harness.Active(s.Status(t, "web")); g.GetPid() != old.pid() {
				t.Errorf("after the rollback %v is active", g)
			}
			answered(t, l, 100)
			s.CtlOK(t, "upgrade", "web")
			answered(t, l, 100)
			if !old.alive() {
				t.Error("it was told to end while it had connections")
			}
			unharmed(t, l)
			<-old.ended
			s.await(1, pb.Generation_STATE_STOPPED)
			s.awaitAlone(awaitLimit)

			l = s.load(rate()/2, rate()/2, nil)
			answered(t, l, 100)
			s.CtlOK(t, "restart", "web")
			answered(t, l, 100)
			unharmed(t, l)
			if r := s.Ctl(t, "rollback", "web", "--to", "1"); r.Code != 1 || !strings.Contains(r.Stderr, "generation 1") {
				t.Errorf("back to a program that only somebody else can start: %v", r)
			}
			s.told(t, "adopted by", "moving house")
		})
	}
}

// told looks for words in the service's events.
func (s *service) told(t *testing.T, words ...string) {
	t.Helper()
	out := s.CtlOK(t, "events", "web")
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("no event says %q:\n%s", w, out)
		}
	}
}

// awaitDial waits until somebody listens, or the program that should has ended.
func awaitDial(t testing.TB, address string, ended <-chan struct{}) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("it has ended and never listened on %s", address)
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond): // nobody tells of a listener
		}
	}
}

// What cannot be adopted is refused with what to do, and nothing is touched.
func TestAdoptRefuses(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
	pid := strconv.Itoa(old.Process.Pid)
	elsewhere := strings.Replace(s.spec, portOf(s.address), strconv.Itoa(harness.FreePort(t)), 1)
	for name, c := range map[string]struct {
		spec  string
		args  []string
		code  int
		words []string
	}{
		"listens elsewhere": {elsewhere, []string{"--pid", pid}, 1, []string{"does not listen on", "it does on tcp://" + s.address}},
		"another form":      {strings.Replace(s.spec, "127.0.0.1", "0.0.0.0", 1), []string{"--pid", pid}, 1, []string{"declare that in place of", "tcp://" + s.address}},
		"unix":              {strings.Replace(s.spec, "tcp://"+s.address, "unix://"+filepath.Join(s.Dir, "s"), 1), []string{"--pid", pid}, 1, []string{"only tcp"}},
		"somebody else":     {s.spec, []string{"--pid", strconv.Itoa(os.Getpid())}, 1, []string{"in use by", "pid " + pid}},
		"no process":        {s.spec, []string{"--pid", "4194304"}, 1, []string{"no process 4194304"}},
		"no unit":           {s.spec, []string{"--unit", "no-such.service"}, 1, []string{"systemctl"}},
		"a strange unit":    {s.spec, []string{"--unit", "--help"}, 1, []string{"not the name of a unit"}},
		"both":              {s.spec, []string{"--unit", "x", "--pid", pid}, 2, []string{"--unit or --pid"}},
		"neither":           {s.spec, nil, 2, []string{"--unit or --pid"}},
		"init":              {s.spec, []string{"--pid", "1"}, 2, []string{"no program's"}},
	} {
		file := s.Spec(t, "name: web\nartifact: "+harness.Program(t, "plain", "v1")+"\n"+c.spec)
		r := s.Ctl(t, append([]string{"adopt", "-f", file}, c.args...)...)
		for _, w := range c.words {
			if r.Code != c.code || !strings.Contains(r.Stderr, w) {
				t.Errorf("%s: exit code %d, want %d and %q: %v", name, r.Code, c.code, w, r)
			}
		}
	}
	if r := s.Ctl(t, "adopt", "--dry-run", "-f", s.Spec(t, s.yaml("v1")), "--pid", pid); r.Code != 3 || !strings.Contains(r.Stderr, "would adopt") {
		t.Errorf("a dry run: %v", r)
	}
	if r := s.Ctl(t, "apply", "-f", s.Spec(t, s.yaml("v1"))); r.Code != 1 || !strings.Contains(r.Stderr, "gracectl adopt") {
		t.Errorf("apply beside it: %v", r)
	}
	if out := s.CtlOK(t, "status"); strings.Contains(out, "web") {
		t.Errorf("something is left of what was refused:\n%s", out)
	}
	if got := get(t, s.address); !strings.Contains(got, "pid="+pid) {
		t.Errorf("the program answers %q", got)
	}
	s.adopt(t, old)
	if r := s.Ctl(t, "adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", pid); r.Code != 1 || !strings.Contains(r.Stderr, "generations of its own") {
		t.Errorf("a second time: %v", r)
	}
}

// Several listeners on one address share connections by chance: there is no one to
// take over.
func TestAdoptSeveralListeners(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable, "python3", "-c", "import socket,time\nall=[]\nfor i in range(2):\n"+
		" s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1); all.append(s); s.bind(('127.0.0.1',int('ADDRESS'.split(':')[1])))\n"+
		"for s in all: s.listen()\ntime.sleep(1000)")
	r := s.Ctl(t, "adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", strconv.Itoa(old.Process.Pid))
	if r.Code != 1 || !strings.Contains(r.Stderr, "2 sockets that listen on") {
		t.Errorf("two listeners: %v", r)
	}
}

// An adopted program outlives whoever adopted it, and is upgraded after.
func TestAdoptedOutlives(t *testing.T) {
	for name, kills := range map[string]func(s *service){
		"the agent": func(s *service) { s.Kill9(s.t); s.Restart(s.t) },
		"the shim":  func(s *service) { s.killShims() },
		"both":      func(s *service) { s.Kill9(s.t); s.killShims(); s.Restart(s.t) },
	} {
		t.Run(name, func(t *testing.T) {
			s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
			l := s.load(100, 100, nil)
			s.adopt(t, old)
			answered(t, l, 50)
			kills(s)
			answered(t, l, 50)
			s.CtlOK(t, "upgrade", "web", "--soak", "1h", "--wait", "none")
			s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
			s.CtlOK(t, "abort", "web")
			if g := harness.Active(s.Status(t, "web")); g.GetPid() != old.pid() || !g.GetExternal() {
				t.Errorf("active is %v, want process %d", g, old.pid())
			}
			s.CtlOK(t, "upgrade", "web")
			answered(t, l, 50)
			unharmed(t, l)
			<-old.ended
			s.awaitAlone(awaitLimit)
		})
	}
}

// killShims kills what holds the service's sockets.
func (s *service) killShims() {
	for _, pid := range s.keepers() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// An adopted program that ends by itself leaves its queue to the agent's own.
func TestAdoptedEnds(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
	s.adopt(t, old)
	freeze(t, old.pid())
	waiting := s.clients(t, 20)
	kill(t, old.pid())
	allAnswered(t, waiting)
	g := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		a := harness.Active(st)
		return a.GetPid() != 0 && !a.GetExternal()
	}, awaitLimit).GetGenerations()[0]
	if g.GetNumber() != 1 || g.GetRestarts() != 1 || g.GetPid() == old.pid() || !g.GetGood() {
		t.Errorf("generation 1 is %v", g)
	}
	s.told(t, "the adopted program ended")
	s.restarted(t)
	s.CtlOK(t, "rollback", "web")
}

// A program that was adopted by mistake is given back, and may be adopted again.
func TestAdoptedIsGivenBack(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
	l := s.load(100, 100, nil)
	for range 3 {
		s.adopt(t, old)
		answered(t, l, 50)
		if r := s.Ctl(t, "delete", "web", "-y"); r.Code != 1 || !strings.Contains(r.Stderr, "is running") {
			t.Errorf("deleted: %v", r)
		}
		if r := s.Ctl(t, "delete", "web", "--keep-running", "--dry-run"); r.Code != 3 {
			t.Errorf("a dry run: %v", r)
		}
		s.CtlOK(t, "delete", "web", "--keep-running", "-y")
		answered(t, l, 50)
		if left := s.keepers(); len(left) > 0 {
			t.Errorf("shims are left: %v", left)
		}
	}
	s.adopt(t, old)
	s.CtlOK(t, "upgrade", "web")
	if r := s.Ctl(t, "delete", "web", "--keep-running", "-y"); r.Code != 1 || !strings.Contains(r.Stderr, "not adopted") {
		t.Errorf("a program of the agent's own is given back: %v", r)
	}
	answered(t, l, 50)
	unharmed(t, l)
	<-old.ended
}

// A stop is for an adopted program, too.
func TestAdoptedIsStopped(t *testing.T) {
	for _, args := range [][]string{{"stop", "web"}, {"stop", "web", "--now"}} {
		s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
		s.adopt(t, old)
		s.CtlOK(t, args...)
		<-old.ended
		s.awaitRefused(t)
	}
}
