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
