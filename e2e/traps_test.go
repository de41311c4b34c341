//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// The traps that programs set for whoever upgrades them, each with the program
// that sets it. Others have tests where their subject is: a master that dies and
// leaves workers, a pid file that is shared, an address that does not match, wrong
// signals (nginx_test.go, presets_test.go), flags, paths and grandchildren
// (candidate_faults_test.go).
func TestTraps(t *testing.T) {
	for name, trap := range map[string]func(t *testing.T){
		"1 a program ends its parent":                   trapParentKiller,
		"2 a program that blocks beside one that polls": trapBlocking,
		"4 a unix path after a drain":                   trapUnixPath,
		"7 USR2 by hand":                                trapUSR2,
		"8 nginx without a master":                      trapNoMaster,
		"10 haproxy speaks for itself":                  trapHAProxyNotify,
		"12 an end by the drain signal":                 trapEndBySignal,
		"13 a backlog of its own":                       trapBacklog,
		"an address that is written otherwise":          trapAddress,
	} {
		t.Run(name, trap)
	}
}

// facebookgo/grace, beego and endless signal whoever started them.
func trapParentKiller(t *testing.T) {
	s := startKnown(t, "gracehttp", "upgrade: {soak: 0s}\n")
	for range 3 {
		s.CtlOK(t, "restart", "web") // by the agent that is there, or not at all
	}
	if g := harness.Active(s.Status(t, "web")); g.GetNumber() != 4 || g.GetRestarts() != 0 {
		t.Errorf("generation %d is active after %d restarts, want 4 and none", g.GetNumber(), g.GetRestarts())
	}
}

// With one socket for all generations, a program that sets O_NONBLOCK ends one
// that waits in accept(2). Here each has its own.
func trapBlocking(t *testing.T) {
	s := tutorial(t, compiled(t, "cc", "fd_argument.c"), "args: [\"{fd:http}\"]\nhandover: {dialect: env}\nupgrade: {soak: 1h}\n")
	old := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(100, 0, nil)
	answered(t, l, 20)
	app := filepath.Join(s.Dir, "app.js")
	if err := os.WriteFile(app, []byte(nodeApp), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := exec.LookPath("/usr/bin/node")
	harness.Need(t, err == nil, "node is not installed")
	s.CtlOK(t, "upgrade", "web", "--wait", "none", "-f", s.Spec(t, "name: web\npreset: node\nartifact: host:/usr/bin/node\nargs: ["+app+
		"]\nhandover: {env: {FD: '{fd:http}'}}\nsockets: [{name: http, listen: \"tcp://"+s.address+"\"}]\nupgrade: {soak: 1h}\n"))
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	answered(t, l, 20)
	s.CtlOK(t, "abort", "web")
	answered(t, l, 20)
	if now := harness.Active(s.Status(t, "web")); now.GetPid() != old || now.GetRestarts() != 0 {
		t.Errorf("the blocking program is pid %d after %d restarts, it was %d", now.GetPid(), now.GetRestarts(), old)
	}
	unharmed(t, l)
}

// Programs unlink the path of a socket that they think is theirs.
func trapUnixPath(t *testing.T) {
	_, err := exec.LookPath(gunicorn)
	harness.Need(t, err == nil, gunicorn+" is not installed")
	s := &service{Agent: harness.Start(t), t: t}
	path := filepath.Join(s.Dir, "web.sock")
	if err := os.WriteFile(filepath.Join(s.Dir, "app.py"), []byte(wsgi), 0o644); err != nil {
		t.Fatal(err)
	}
	s.address = "unix:" + path
	s.Apply(t, "name: web\nartifact: host:"+gunicorn+"\npreset: gunicorn\nargs: [--pythonpath, "+s.Dir+", 'app:app']\n"+
		"env: {VERSION: v1, PYTHONDONTWRITEBYTECODE: '1'}\nsockets: [{name: http, listen: \"unix://"+path+"\"}]\nupgrade: {soak: 0s}\n")
	s.await(1, pb.Generation_STATE_ACTIVE)
	l := s.load(100, 0, nil)
	answered(t, l, 20)
	for i := range 3 {
		s.CtlOK(t, "restart", "web")
		s.await(int32(i+1), pb.Generation_STATE_STOPPED)
		answered(t, l, 20)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the path is gone: %v", err)
	}
	unharmed(t, l)
}

// nginx's own upgrade does nothing under a parent: it is said in its log, and
// everything stays as it was.
func trapUSR2(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 0s}\n")
	l := s.load(100, 0, nil)
	answered(t, l, 20)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	workers := s.workersOf(t, pid)
	if err := syscall.Kill(int(pid), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	answered(t, l, 50)
	if now := s.workersOf(t, pid); now != workers {
		t.Errorf("after USR2 the master has children %q, it had %q", now, workers)
	}
	s.CtlOK(t, "restart", "web")
	answered(t, l, 20)
	unharmed(t, l)
}

// nginx 1.22 crashes at once with master_process off and inherited sockets: the
// old generation does not notice.
func trapNoMaster(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 0s}\n")
	s.editConf(t, func(good string) string { return "master_process off;\n" + good })
	l := s.load(100, 0, nil)
	answered(t, l, 20)
	if r := s.Ctl(t, "restart", "web"); r.Code != 0 && (r.Code != 4 || !strings.Contains(r.Stderr+r.Stdout, "generation 1 is active")) {
		t.Errorf("an nginx without a master: %v", r)
	}
	answered(t, l, 20)
	unharmed(t, l)
}

// haproxy -Ws sends READY=1 with MAINPID of its own, RELOADING=1 and STOPPING=1:
// none of it reaches anybody but its shim.
func trapHAProxyNotify(t *testing.T) {
	s := startKnown(t, "haproxy", "command: ['{artifact}', -Ws]\nready: {notify: {}}\nupgrade: {soak: 0s}\n")
	l := s.load(100, 100, nil)
	answered(t, l, 20)
	for range 2 {
		s.CtlOK(t, "restart", "web")
		answered(t, l, 20)
	}
	unharmed(t, l)
}

// puma ends by the very signal it handles: that is no failure.
func trapEndBySignal(t *testing.T) {
	s := startKnown(t, "puma", "upgrade: {soak: 0s}\n")
	s.CtlOK(t, "restart", "web")
	g := s.await(1, pb.Generation_STATE_STOPPED)
	if g.GetReason() != pb.Reason_REASON_UNSPECIFIED {
		t.Errorf("generation 1 ended as %v", g)
	}
}

// listen with a backlog of its own shrinks the queue of the shared socket.
func trapBacklog(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 1h}\n")
	s.editConf(t, func(good string) string {
		return strings.Replace(good, "listen "+s.address+";", "listen "+s.address+" backlog=7;", 1)
	})
	s.CtlOK(t, "restart", "web", "--wait", "none")
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	port := s.address[strings.LastIndex(s.address, ":")+1:]
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ss", "-Hltn", "sport = :"+port).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), " 7 ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the backlog stays small:\n%s", out)
		}
	}
	s.CtlOK(t, "abort", "web")
}

// Libraries that compare addresses as text fail at once: the operator reads what
// the program said, and nobody else notices.
func trapAddress(t *testing.T) {
	for name, says := range map[string]string{
		"tableflip":      "address already in use", // it listens by itself
		"server_starter": "is not in",
	} {
		t.Run(name, func(t *testing.T) {
			s := startKnown(t, name, "upgrade: {soak: 0s}\n")
			l := s.load(100, 0, nil)
			answered(t, l, 20)
			port := s.address[strings.LastIndex(s.address, ":"):]
			other := strings.Replace(s.spec, "-address="+s.address, "-address=localhost"+port, 1)
			r := s.Ctl(t, "upgrade", "-f", s.Spec(t, other))
			if r.Code != 4 || !strings.Contains(r.Stdout+r.Stderr, says) {
				t.Errorf("another spelling of the address: %v", r)
			}
			answered(t, l, 20)
			unharmed(t, l)
		})
	}
}
