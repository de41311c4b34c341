//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// factsSpec is a service that writes down what it may, first by itself, then by a
// copy of id(1) that belongs to root and is set-user-ID.
const factsSpec = `name: %s
artifact: host:/bin/sh
args:
  - -c
  - |
    cat /proc/self/status; echo "umask $(umask) oom $(cat /proc/self/oom_score_adj)"
    ls -l /proc/$$/fd | sed -n 's/.* -> /fd /p'
    env
    echo "helper $(%s/usr/local/bin/setuid-id -u)"
    node -e 'let n = 0; for (let i = 0; i < 3e6; i++) n += i %% 7; console.log("node", n)'
    echo complete
    exec sleep infinity
user: %s
sockets: [{name: http, listen: "tcp://127.0.0.1:%d"}]
ready: {alive_for: 500ms}
upgrade: {soak: 0s}
`

// facts starts such a service and returns what it wrote.
func (b *boxed) facts(name, user, prefix string, port int) string {
	b.t.Helper()
	path := "/root/" + name + ".yaml"
	b.write(path, fmt.Sprintf(factsSpec, name, prefix, user, port))
	b.run("gracectl", "apply", "-f", path)
	b.until("gracectl logs " + name + " | grep -q complete")
	return b.run("gracectl", "logs", name)
}

// becomeOther is how a program that was started by root drops that by itself.
const becomeOther = "setpriv --reuid www-data --regid www-data --clear-groups "

func bootForFacts(t *testing.T) *boxed {
	t.Helper()
	_, err := exec.LookPath("node")
	harness.Need(t, err == nil, "node is not installed")
	b := bootWithAgent(t)
	b.run("install", "-m", "4755", "/usr/bin/id", "/usr/local/bin/setuid-id")
	return b
}

func want(t *testing.T, facts string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p + `$`).MatchString(facts) {
			t.Errorf("%q is not in\n%s", p, facts)
		}
	}
}

// A service of another user has nothing of the agent's. One of root's is what it
// would be under systemd without any sandbox: the unit takes nothing from it.
func TestWhatServicesInherit(t *testing.T) {
	b := bootForFacts(t)
	facts := b.facts("other", "www-data", "", 8090)
	want(t, facts,
		`Uid:\t33\t33\t33\t33`, `Gid:\t33\t33\t33\t33`, `Groups:\t33 `,
		`CapInh:\t0+`, `CapPrm:\t0+`, `CapEff:\t0+`, `CapAmb:\t0+`, `NoNewPrivs:\t1`, `Seccomp:\t0`,
		`SigBlk:\t0+`, `SigIgn:\t0+`, `umask 0022 oom 0`, "helper 33", "node 8999994",
	)
	for _, never := range []string{"INVOCATION_ID", "SYSTEMD_EXEC_PID", "NOTIFY_SOCKET=/run/systemd", "JOURNAL_STREAM", "RUNTIME_DIRECTORY"} {
		if strings.Contains(facts, never) {
			t.Errorf("the agent's %s is in\n%s", never, facts)
		}
	}
	// /dev/null, the log twice, and its listener.
	if n := strings.Count(facts, "| fd "); n != 4 || strings.Count(facts, "| fd socket:") != 1 || strings.Count(facts, "/logs/other/") != 2 {
		t.Errorf("%d descriptors in\n%s", n, facts)
	}
	want(t, b.facts("own", "root", becomeOther, 8091), `CapEff:\t[0-9a-f]*f`, `NoNewPrivs:\t0`, `Seccomp:\t0`, "helper 0", "node 8999994")

	want(t, b.run("stat", "-c", "%n %a", "/var/lib/gracefleet", "/run/gracefleet", "/var/lib/gracefleet/records", "/var/lib/gracefleet/logs"),
		"/var/lib/gracefleet 711", "/run/gracefleet 711", "records 700", "logs 700")
}

// With the strict drop-in everything goes on as ever: what runs outlives the
// change and every restart, upgrades lose nothing, and a program whose shim died is
// taken over. What is started from then on is confined, root's programs, too.
func TestStrictDropIn(t *testing.T) {
	b := bootForFacts(t)
	_, before := b.active()
	load := b.Command(t.Context(), "loadgen", "-address", "127.0.0.1:8080", "-fresh", "100", "-keep-alive", "100", "-duration", "8s")
	var report strings.Builder
	load.Stdout = &report
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	b.Install("../deploy/graced.service.d/strict.conf", "/etc/systemd/system/graced.service.d/strict.conf")
	b.run("systemctl", "daemon-reload")
	const unit = "/etc/systemd/system/graced.service"
	if out, err := b.Command(t.Context(), "systemd-analyze", "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	b.run("systemd-analyze", "security", "--offline=true", "--threshold=45", "--no-pager", unit) // 4.5
	b.run("mkdir", "-p", "-m", "0700", "/etc/gracefleet/tls")                                    // as gracectl host join does
	b.run("systemctl", "restart", "graced.service")
	// An agent that has joined puts its next certificate there. All else is closed to it.
	b.run("sh", "-c", `nsenter -m -t "$(systemctl show -p MainPID --value graced.service)" sh -c 'touch /etc/gracefleet/tls/agent.pem && ! touch /etc/planted'`)
	if _, now := b.active(); now != before {
		t.Errorf("after the change the program has pid %d, want %d", now, before)
	}
	b.run("gracectl", "upgrade", "web", "/root/web-v2")
	if number, _ := b.active(); number != 2 {
		t.Errorf("after an upgrade generation %d is active", number)
	}
	b.run("pkill", "-KILL", "-x", "graced-shim")
	b.run("gracectl", "rollback", "web") // while another shim takes the program over
	b.run("systemctl", "restart", "graced.service")
	b.adoptAndUpgrade(8092)
	if err := load.Wait(); err != nil {
		t.Errorf("requests were lost: %v\n%s", err, report.String())
	}
	confined := []string{`NoNewPrivs:\t1`, `Seccomp:\t2`, `CapBnd:\t0+[0-9a-f]{7}`, "helper 33", "node 8999994"}
	want(t, b.facts("other", "www-data", "", 8090), confined...)
	want(t, b.facts("own", "root", becomeOther, 8091), append(confined, `CapEff:\t0+[0-9a-f]{7}`)...)
}

// adoptAndUpgrade takes a listener from a program of another user.
func (b *boxed) adoptAndUpgrade(port int) {
	b.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	b.Install(harness.Program(b.t, "plain", "v1"), "/usr/local/bin/plain")
	b.run("systemd-run", "--unit=old.service", "--uid=www-data", "/usr/local/bin/plain", "-listen", address)
	b.until("curl -sf http://" + address + "/")
	b.write("/root/old.yaml", fmt.Sprintf(`name: old
artifact: /usr/local/bin/plain
user: www-data
sockets: [{name: http, listen: "tcp://%s"}]
upgrade: {soak: 0s}
`, address))
	b.run("gracectl", "adopt", "-f", "/root/old.yaml", "--unit", "old.service")
	b.run("gracectl", "upgrade", "old")
	if out := b.run("curl", "-s", "http://"+address+"/"); !strings.Contains(out, "gen=2") {
		b.t.Errorf("what was adopted and upgraded answers %q", out)
	}
}
