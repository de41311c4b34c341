//go:build linux

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// pythonServer answers NAME on the address; what is in SETUP goes before bind.
const pythonServer = "import socket,os,threading\nSETUP\ns=socket.socket()\nfor o in OPTIONS: s.setsockopt(socket.SOL_SOCKET,o,1)\n" +
	"s.bind(('127.0.0.1',int('ADDRESS'.split(':')[1]))); s.listen(100)\n" +
	"def one(c):\n c.recv(4096); c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nNAME'); c.close()\n" +
	"while True:\n c,_=s.accept(); threading.Thread(target=one,args=(c,),daemon=True).start()\n"

// Some parts of a program are not the program: to replace one of them would leave
// the others, which have the listener as well.
func TestAdoptWorker(t *testing.T) {
	s, master := unadopted(t, "tcp://127.0.0.1:PORT", adoptable, "python3", "-c", "import socket,os,signal\ns=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n"+
		"s.bind(('127.0.0.1',int('ADDRESS'.split(':')[1])))\n"+
		"if os.fork()==0: signal.pause()\ns.listen(); os.wait()")
	worker := strings.Fields(s.workersOf(t, master.pid()))
	if len(worker) != 1 {
		t.Fatalf("workers %q", worker)
	}
	pid, err := strconv.Atoi(worker[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill(t, int32(pid))
		gone(t, []int{pid})
	})
	r := s.Ctl(t, "adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", worker[0])
	if r.Code != 1 || !strings.Contains(r.Stderr, "process "+strconv.Itoa(master.Process.Pid)) {
		t.Errorf("a worker is adopted: %v", r)
	}
}

// Without overlap there would be no way back to a program that only somebody else
// can start.
func TestAdoptWithoutOverlap(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
	alone := s.Spec(t, strings.Replace(s.yaml("v1"), "soak: 0s", "overlap: none", 1))
	if r := s.Ctl(t, "adopt", "-f", alone, "--pid", strconv.Itoa(old.Process.Pid)); r.Code != 1 || !strings.Contains(r.Stderr, "overlap: none") {
		t.Errorf("adopted: %v", r)
	}
	s.adopt(t, old)
	if r := s.Ctl(t, "upgrade", "-f", alone); r.Code != 1 || !strings.Contains(r.Stderr, "overlap: none") || !old.alive() {
		t.Errorf("upgraded: %v, it lives: %v", r, old.alive())
	}
}

// Whose program was adopted cannot join its group: another process of the same
// user would get a share of the connections.
func TestAdoptedPortIsNobodysElse(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "becoming another user needs root")
	program := func(name, options string) string {
		return strings.NewReplacer("NAME", name, "OPTIONS", options, "SETUP", "os.setuid(65534)").Replace(pythonServer)
	}
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable, "python3", "-c", program("old", "[socket.SO_REUSEADDR]"))
	thief := func(when string) {
		out, err := exec.Command("timeout", "5", "python3", "-c", strings.ReplaceAll(program("bad", "[socket.SO_REUSEADDR,socket.SO_REUSEPORT]"), "ADDRESS", s.address)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Address already in use") {
			t.Errorf("%s another process has joined: %v\n%s", when, err, out)
		}
	}
	s.adopt(t, old)
	thief("adopted")
	idle, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	s.CtlOK(t, "upgrade", "web")
	thief("while it drains")
	idle.Close()
	<-old.ended
	s.awaitAlone(awaitLimit)
	thief("once it has ended")
}

// Agent and shims die while a new generation proves itself: it goes with them, the
// adopted program serves on.
func TestAdoptedOutlivesACandidate(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable)
	s.adopt(t, old)
	s.CtlOK(t, "upgrade", "web", "--soak", "1h", "--wait", "none")
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	candidate := harness.Active(s.Status(t, "web")).GetPid()
	s.Kill9(t)
	s.killShims()
	s.Restart(t)
	s.Await(t, "web", func(st *pb.ServiceStatus) bool { return harness.Active(st).GetPid() == old.pid() }, awaitLimit)
	if !s.hasCgroups() {
		kill(t, candidate) // nobody else can tell whose it is
	}
	gone(t, []int{int(candidate)})
	l := s.load(100, 100, nil)
	answered(t, l, 50)
	if !old.alive() {
		t.Error("the adopted program was ended")
	}
	s.CtlOK(t, "upgrade", "web")
	answered(t, l, 50)
	unharmed(t, l)
	<-old.ended
}

func (s *service) hasCgroups() bool {
	return !strings.Contains(s.Log(), "no cgroups")
}

// A request that is repeated is answered with what came of it.
func TestAdoptRepeated(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable, "python3", "-c", "import socket\ns=socket.socket(); s.bind(('127.0.0.1',int('ADDRESS'.split(':')[1]))); s.listen()\nall=[]\nwhile True: all.append(s.accept())")
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		r := s.Ctl(t, "adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", strconv.Itoa(old.Process.Pid), "--request-id", "same")
		if r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, "without SO_REUSEADDR") {
			t.Errorf("adopted: %v", r)
		}
	}
	if !old.alive() {
		t.Error("what could not be adopted was ended")
	}
}

// An adopted listener that has refused for a while listens again as soon as there is
// a program for it.
func TestAdoptedRefusesAndReturns(t *testing.T) {
	s, old := unadopted(t, "tcp://127.0.0.1:PORT", adoptable+"restart: {hold: 200ms, backoff: 100ms, max_backoff: 100ms}\n")
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	script := "#!/bin/sh\n[ -e " + dir + "/ok ] || exit 3\nexec " + harness.Program(t, "plain", "v1") + "\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.CtlOK(t, "adopt", "-f", s.Spec(t, "name: web\nartifact: "+program+"\n"+s.spec), "--pid", strconv.Itoa(old.Process.Pid))
	kill(t, old.pid())
	s.awaitRefused(t)
	if err := os.WriteFile(filepath.Join(dir, "ok"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return len(st.GetService().GetWarnings()) == 0 && harness.Active(st).GetPid() != 0
	}, awaitLimit)
	get(t, s.address)
}
