//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// adoptedNginx is Debian's nginx as its package has it: the addresses of its
// default site, and its own configuration less the pid file.
const adoptedNginx = `name: web
preset: nginx
artifact: host:/usr/sbin/nginx
args: [-c, "{file:nginx.conf}"]
files: {nginx.conf: /root/nginx.conf}
sockets:
  - {name: http, listen: "tcp://0.0.0.0:80"}
  - {name: http6, listen: "tcp://[::]:80", v6only: true}
upgrade: {soak: 0s}
drain: {timeout: 20s}
`

// boxedLoad is a load inside a box.
type boxedLoad struct {
	b      *boxed
	cmd    *exec.Cmd
	report strings.Builder
}

func (b *boxed) load(address, keepAlive string) *boxedLoad {
	b.t.Helper()
	l := &boxedLoad{b: b, cmd: b.Command(context.Background(), "loadgen", "-address", address, "-fresh", "200", "-keep-alive", keepAlive, "-duration", "0")}
	l.cmd.Stdout, l.cmd.Stderr = &l.report, &l.report
	if err := l.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = l.cmd.Process.Kill() })
	return l
}

// unharmed stops the load, which must have lost nothing.
func (l *boxedLoad) unharmed() {
	l.b.t.Helper()
	l.b.run("pkill", "-INT", "-x", "loadgen")
	if err := l.cmd.Wait(); err != nil {
		l.b.t.Errorf("requests were lost: %v\n%s", err, l.report.String())
	}
}

// A host's nginx, as its package started it, moves under the agent and on: its
// unit is stopped once nobody needs it, and stays off.
func TestAdoptNginxUnit(t *testing.T) {
	b := bootAgent(t)
	b.run("systemctl", "enable", "--now", "nginx.service")
	b.run("bash", "-c", "sed '/^pid /d' /etc/nginx/nginx.conf >/root/nginx.conf")
	b.write("/root/web.yaml", adoptedNginx)
	legacy := strings.TrimSpace(b.run("systemctl", "show", "-P", "MainPID", "nginx.service"))
	l := b.load("127.0.0.1:80", "200")

	out := b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "nginx")
	if status := b.run("gracectl", "status", "web"); !strings.Contains(status, "adopted /usr/sbin/nginx (pid "+legacy+", nginx.service)") {
		t.Errorf("adopted is\n%s%s", out, status)
	}
	b.run("gracectl", "upgrade", "web", "--soak", "1h", "--wait", "none")
	b.until(`gracectl status web | grep -q SOAKING`)
	b.run("gracectl", "abort", "web")
	if number, pid := b.active(); number != 1 || b.run("systemctl", "is-active", "nginx.service") != "active\n" {
		t.Errorf("after the abort generation %d, pid %d is active", number, pid)
	}
	b.run("gracectl", "upgrade", "web")
	b.run("curl", "-sf", "http://127.0.0.1/", "http://[::1]/")
	l.unharmed()

	b.until(`gracectl status web | grep -q STOPPED && ! systemctl is-active -q nginx.service && ! systemctl is-enabled -q nginx.service`)
	if number, pid := b.active(); number != 3 || pid == 0 {
		t.Errorf("generation %d with pid %d is active", number, pid)
	}
	if n := strings.TrimSpace(b.run("bash", "-c", "pgrep -fc '^nginx: master'")); n != "1" {
		t.Errorf("%s nginx masters run, want 1", n)
	}
	l = b.load("127.0.0.1:80", "200")
	b.run("gracectl", "restart", "web")
	l.unharmed()
	if out := b.run("gracectl", "events", "web"); !strings.Contains(out, "nginx.service is disabled and told to stop") {
		t.Errorf("no event tells of the unit:\n%s", out)
	}
}

const (
	triggered = "[Socket]\nListenStream=127.0.0.1:8080\n[Install]\nWantedBy=sockets.target\n"
	activated = "[Service]\nExecStart=/root/web\nRestart=always\nRestartSec=100ms\n[Install]\nWantedBy=multi-user.target\n"
	boxedWeb  = "name: web\nartifact: /root/web\nsockets: [{name: http, listen: 'tcp://127.0.0.1:8080'}]\nupgrade: {soak: 0s}\ndrain: {mode: patient, timeout: 20s}\n"
)

// bootUnit boots a box with a Go service as a unit.
func bootUnit(t *testing.T) *boxed {
	t.Helper()
	b := bootAgent(t)
	b.Install(harness.Program(t, "plain", "v1"), "/root/web")
	b.write("/etc/systemd/system/web.service", activated)
	b.write("/root/web.yaml", boxedWeb)
	return b
}

// What starts a unit is retired with it.
func TestAdoptActivatedUnit(t *testing.T) {
	b := bootUnit(t)
	b.write("/etc/systemd/system/web.socket", triggered)
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.socket", "web.service")
	l := b.load("127.0.0.1:8080", "100")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web.service")
	b.run("gracectl", "upgrade", "web")
	l.unharmed()
	b.until(`gracectl status web | grep -q STOPPED`)
	b.until(`for u in web.socket web.service; do ! systemctl is-active -q $u && ! systemctl is-enabled -q $u || exit 1; done`)
	l = b.load("127.0.0.1:8080", "100")
	b.run("gracectl", "restart", "web")
	l.unharmed()
}

// Somebody restarts the unit, as a package's upgrade does: the agent's own program
// takes its place, and what waits.
func TestAdoptedUnitIsRestarted(t *testing.T) {
	b := bootUnit(t)
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.service")
	pid := strings.TrimSpace(b.run("systemctl", "show", "-P", "MainPID", "web.service"))
	if _, err := b.Exec(t.Context(), "gracectl", "adopt", "-f", "/root/web.yaml", "--pid", pid); err == nil || !strings.Contains(err.Error(), "--unit web.service") {
		t.Errorf("a unit's process is adopted by its pid: %v", err)
	}
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web")
	l := b.load("127.0.0.1:8080", "0")
	_, _ = b.Exec(t.Context(), "systemctl", "restart", "web.service") // fails once it is retired
	b.until(`gracectl status web | grep ACTIVE | grep -qv adopted && ! systemctl is-active -q web.service && ! systemctl is-enabled -q web.service`)
	l.unharmed()
	b.run("gracectl", "restart", "web")
}

// A service is adopted by its unit's name, and stopped by way of it.
func TestAdoptedUnitIsStopped(t *testing.T) {
	b := bootUnit(t)
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.service")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web")
	b.run("gracectl", "stop", "web", "--now")
	b.until(`! systemctl is-active -q web.service`)
	if out, err := b.Exec(t.Context(), "curl", "-s", "http://127.0.0.1:8080/"); err == nil {
		t.Errorf("after the stop something answers %q", out)
	}
}

// forking is a unit whose child goes on for two seconds after the main process has
// ended.
const forking = `import socket,os,time,signal
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind(('127.0.0.1',8080)); s.listen(100)
if os.fork()==0:
 signal.signal(signal.SIGTERM, lambda *a: (time.sleep(2), os._exit(0)))
while True:
 c,_=s.accept(); c.recv(4096); c.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nold'); c.close()
`

// As long as anybody has an adopted listener, its place in the group is taken.
func TestAdoptedUnitEndsLate(t *testing.T) {
	b := bootUnit(t)
	b.write("/root/old.py", forking)
	b.write("/etc/systemd/system/web.service", "[Service]\nExecStart=/usr/bin/python3 /root/old.py\n[Install]\nWantedBy=multi-user.target\n")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.service")
	b.until("ss -Hltn 'sport = :8080' | grep -q .")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web.service")
	l := b.load("127.0.0.1:8080", "0")
	b.run("gracectl", "upgrade", "web")
	b.until(`gracectl status web | grep -q STOPPED`)
	b.until(`! systemctl is-active -q web.service && [ "$(ss -Hltn 'sport = :8080' | wc -l)" = 1 ]`)
	b.run("gracectl", "restart", "web")
	l.unharmed()
	if out := b.run("gracectl", "events", "web"); !strings.Contains(out, "its slot stays open, without new connections, until nobody else has its listeners") {
		t.Errorf("no event tells why the slot stays:\n%s", out)
	}
}

// handingOver is a unit that starts its successor on a reload, and ends.
const handingOver = `import socket,os,signal,threading,time
def say(m):
 n=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); n.connect(os.environ['NOTIFY_SOCKET']); n.send(m.encode())
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind(('127.0.0.1',8080)); s.listen(100)
def hup(*a):
 p=os.fork()
 if p==0: return
 say('MAINPID=%d\nREADY=1'%p); time.sleep(0.5); os._exit(0)
signal.signal(signal.SIGHUP,hup)
say('READY=1')
def serve(c):
 while c.recv(4096): c.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold')
 c.close()
s.settimeout(0.2)
while True:
 try: c,_=s.accept()
 except OSError: continue
 c.settimeout(None); threading.Thread(target=serve,args=(c,),daemon=True).start()
`

// A unit that reloads by starting its program anew has not ended.
func TestAdoptedUnitHandsOver(t *testing.T) {
	b := bootUnit(t)
	b.write("/root/old.py", handingOver)
	b.write("/etc/systemd/system/web.service", "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/usr/bin/python3 /root/old.py\nExecReload=/bin/kill -HUP $MAINPID\n[Install]\nWantedBy=multi-user.target\n")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.service")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web.service")
	was := strings.TrimSpace(b.run("systemctl", "show", "-P", "MainPID", "web.service"))
	b.run("systemctl", "reload", "web.service")
	b.until(`gracectl events web | grep -q 'handed over'`)
	now := strings.TrimSpace(b.run("systemctl", "show", "-P", "MainPID", "web.service"))
	if status := b.run("gracectl", "status", "web"); now == was || !strings.Contains(status, "adopted") || !strings.Contains(status, "(pid "+now+", web.service)") {
		t.Errorf("process %s handed over to %s:\n%s", was, now, status)
	}
	l := b.load("127.0.0.1:8080", "0")
	b.run("gracectl", "upgrade", "web")
	b.until(`gracectl status web | grep -q STOPPED && ! systemctl is-active -q web.service`)
	l.unharmed()
}

// twoListeners has one listener of a socket unit's and one of its own: connections
// carry the cgroup of whoever opened theirs.
const twoListeners = `import socket,threading,http.server,socketserver
class H(http.server.BaseHTTPRequestHandler):
 protocol_version='HTTP/1.1'
 def do_GET(self):
  self.send_response(200); self.send_header('Content-Length','3'); self.end_headers(); self.wfile.write(b'old')
 def log_message(self,*a): pass
class S(socketserver.ThreadingMixIn,http.server.HTTPServer): daemon_threads=True
a=S(('127.0.0.1',8080),H,bind_and_activate=False); a.socket=socket.socket(fileno=3); a.server_name='x'; a.server_port=8080
b=S(('127.0.0.1',8081),H)
threading.Thread(target=a.serve_forever,daemon=True).start()
b.serve_forever()
`

func TestAdoptedUnitOfTwoCgroups(t *testing.T) {
	b := bootUnit(t)
	b.write("/root/two.py", twoListeners)
	b.write("/etc/systemd/system/web.service", "[Service]\nExecStart=/usr/bin/python3 /root/two.py\n[Install]\nWantedBy=multi-user.target\n")
	b.write("/etc/systemd/system/web.socket", triggered)
	b.write("/root/web.yaml", strings.Replace(boxedWeb, "sockets: [", "sockets: [{name: own, listen: 'tcp://127.0.0.1:8081'}, ", 1))
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.socket", "web.service")
	b.until("curl -s http://127.0.0.1:8081/")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web.service")
	hold := b.Command(t.Context(), "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' >&3; read -r <&3; touch /root/held; cat <&3`)
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	b.until("[ -e /root/held ]")
	b.run("gracectl", "upgrade", "web")
	b.until(`gracectl status web -o json | tr -d ' ' | grep -q '"phase":"PATIENT"'`)
	if out := b.run("gracectl", "status", "web", "-o", "json"); !strings.Contains(strings.ReplaceAll(out, " ", ""), `"openConnections":1`) {
		t.Errorf("its one connection is not counted:\n%s", out)
	}
	b.run("pkill", "-x", "cat")
	_ = hold.Wait()
	b.until(`gracectl status web | grep -q STOPPED`)
}

// A host that goes down, by the book or by a power cut, comes up with the unit as
// long as nothing has replaced its program, and then with the agent's.
func TestAdoptedUnitAcrossReboots(t *testing.T) {
	b := bootUnit(t)
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.service")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web")
	b.write("/etc/systemd/system/off.target", offTarget)
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "start", "off.target")
	if out := b.run("bash", "-c", "systemctl is-enabled web.service; systemctl is-active web.service"); out != "enabled\nactive\n" {
		t.Errorf("after the agent's part of a shutdown its unit is %q", out)
	}
	b.run("systemctl", "start", "graced.service")
	b.until("gracectl events web | grep -q 'gracectl adopt takes it over'")
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web")

	hold := b.Command(t.Context(), "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/8080; touch /root/held; cat <&3`)
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	b.until("[ -e /root/held ]")
	b.run("gracectl", "upgrade", "web")
	b.until("! systemctl is-enabled -q web.service")
	b.run("gracectl", "rollback", "web")
	b.until("systemctl is-enabled -q web.service")
	b.run("gracectl", "upgrade", "web")
	b.until("! systemctl is-enabled -q web.service")
	b.run("systemctl", "enable", "web.service") // the power was faster
	b.run("bash", "-c", "systemctl stop graced; pkill -KILL -x graced-shim; pkill -KILL -x -f '/var/lib/gracefleet/.*'; systemctl kill -s KILL web.service; rm -rf /run/gracefleet/*")
	_ = hold.Process.Kill()
	_ = hold.Wait()
	b.run("bash", "-c", `id=$(mktemp) && cat /proc/sys/kernel/random/uuid >"$id" && mount --bind "$id" /proc/sys/kernel/random/boot_id`)
	b.until("systemctl is-active web.service")
	b.run("systemctl", "start", "graced.service")
	b.until("! systemctl is-enabled -q web.service && ! systemctl is-active -q web.service && gracectl status web | grep -q 'ACTIVE *100%' && curl -sf http://127.0.0.1:8080/")
}

// The unit is not retired for a program that never ran, and what hangs on it is
// named before.
func TestAdoptedUnitStaysUntilReplaced(t *testing.T) {
	b := bootUnit(t)
	b.write("/root/bad", "#!/bin/sh\nexit 3\n")
	b.write("/root/web.yaml", strings.Replace(boxedWeb, "/root/web", "/root/bad", 1))
	b.write("/etc/systemd/system/side.service", "[Unit]\nRequires=web.service\nAfter=web.service\n[Service]\nExecStart=/bin/sleep 1000\n")
	b.run("chmod", "755", "/root/bad")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "web.service")
	b.run("systemctl", "start", "side.service")
	if out := b.run("bash", "-c", "gracectl adopt -f /root/web.yaml --unit web --dry-run 2>&1 || true"); !strings.Contains(out, "side.service will be stopped with web.service") {
		t.Errorf("nothing warns of what hangs on the unit:\n%s", out)
	}
	b.run("gracectl", "adopt", "-f", "/root/web.yaml", "--unit", "web")
	b.run("systemctl", "kill", "-s", "KILL", "web.service")
	b.until("gracectl status web | grep -q 'down and starts again'")
	if out := b.run("bash", "-c", "systemctl is-enabled web.service; gracectl status web"); !strings.HasPrefix(out, "enabled\n") || !strings.Contains(out, "web.service)") {
		t.Errorf("before anything has replaced it:\n%s", out)
	}
}
