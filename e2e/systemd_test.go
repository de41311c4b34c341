//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/box"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

const boxedSpec = `name: web
artifact: /root/web
sockets: [{name: http, listen: "tcp://127.0.0.1:8080"}]
ready: {notify: {}}
upgrade: {soak: 0s}
drain: {mode: signal, timeout: 20s}
`

// boxed is a throw-away systemd with the agent installed as its page says.
type boxed struct {
	*box.Box
	t *testing.T
}

func bootWithAgent(t *testing.T) *boxed {
	t.Helper()
	b := bootAgent(t)
	b.Install(harness.Program(t, "runtime", "v1"), "/root/web")
	b.Install(harness.Program(t, "runtime", "v2"), "/root/web-v2")
	b.write("/root/web.yaml", boxedSpec)
	b.run("gracectl", "apply", "-f", "/root/web.yaml")
	return b
}

func bootAgent(t *testing.T) *boxed {
	t.Helper()
	b := &boxed{box.Up(t), t}
	for _, name := range []string{"graced", "graced-shim", "gracectl", "loadgen"} {
		b.Install(harness.Binary(t, name), "/usr/local/bin/"+name)
	}
	for _, unit := range []string{"graced.service", "graced-shutdown.service"} {
		b.Install(filepath.Join("../deploy", unit), "/etc/systemd/system/"+unit)
	}
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "graced.service")
	return b
}

func (b *boxed) run(args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	out, err := b.Exec(ctx, args...)
	if err != nil {
		b.t.Fatalf("%q: %v", args, err)
	}
	return out
}

// active is the active generation's number and pid.
func (b *boxed) active() (number, pid int) {
	b.t.Helper()
	var st struct {
		Generations []struct {
			Number, PID int
			State       string
		}
	}
	if err := json.Unmarshal([]byte(b.run("gracectl", "status", "web", "-o", "json")), &st); err != nil {
		b.t.Fatal(err)
	}
	for _, g := range st.Generations {
		if g.State == "ACTIVE" {
			return g.Number, g.PID
		}
	}
	b.t.Fatal("nothing is active")
	return 0, 0
}

// Services live on while systemd restarts their agent, or somebody kills it.
func TestSystemdRestartsTheAgentAlone(t *testing.T) {
	b := bootWithAgent(t)
	load := b.Command(t.Context(), "loadgen", "-address", "127.0.0.1:8080", "-fresh", "100", "-keep-alive", "100", "-duration", "4s")
	var report strings.Builder
	load.Stdout = &report
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	_, pid := b.active()
	b.run("systemctl", "restart", "graced.service")
	if _, now := b.active(); now != pid {
		t.Errorf("after a restart of the agent the program has pid %d, want %d", now, pid)
	}
	before := b.run("systemctl", "show", "-P", "MainPID", "graced.service")
	b.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", "graced.service")
	b.awaitOther("MainPID", before)
	b.run("gracectl", "upgrade", "web", "/root/web-v2")
	if number, now := b.active(); number != 2 || now == pid {
		t.Errorf("after an upgrade generation %d with pid %d is active", number, now)
	}
	if err := load.Wait(); err != nil {
		t.Errorf("requests were lost: %v\n%s", err, report.String())
	}
	if info := b.run("gracectl", "info", "-o", "json"); !strings.Contains(info, "cgroup_v2") || strings.Contains(info, `"name":"cgroup_v2","available":false`) {
		t.Errorf("the delegated cgroup is not used:\n%s", info)
	}
	b.run("systemctl", "stop", "graced.service")
	if out := b.run("curl", "-s", "http://127.0.0.1:8080/"); !strings.Contains(out, "gen=2") {
		t.Errorf("with the agent stopped the service answers %q", out)
	}
}

// awaitOther waits until a property of the agent's unit has another value, and
// the unit is active.
func (b *boxed) awaitOther(property, old string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`[ "$(systemctl show -P %s graced.service)" != %s ] && systemctl is-active -q graced.service`, property, strings.TrimSpace(old)))
}

// offTarget stops the agent's units in the way of shutdown.target, which nobody
// may start by hand.
const offTarget = `[Unit]
Conflicts=graced.service graced-shutdown.service
After=graced.service graced-shutdown.service
`

// A host that goes down waits for the requests under way; after the boot the
// services are back. One that an operator stopped stays stopped.
func TestHostShutdownDrains(t *testing.T) {
	b := bootWithAgent(t)
	b.write("/root/other.yaml", strings.NewReplacer("name: web", "name: other", ":8080", ":8081").Replace(boxedSpec))
	b.run("gracectl", "apply", "-f", "/root/other.yaml")
	b.run("gracectl", "stop", "other")
	b.write("/etc/systemd/system/off.target", offTarget)
	b.run("systemctl", "daemon-reload")

	slow := b.Command(t.Context(), "curl", "-sS", "http://127.0.0.1:8080/slow?d=2s")
	var answer strings.Builder
	slow.Stdout, slow.Stderr = &answer, &answer
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	b.until(`ss -Htn state established sport = :8080 | grep -q .`)
	b.run("systemctl", "start", "off.target")
	if err := slow.Wait(); err != nil || !strings.Contains(answer.String(), "gen=1") {
		t.Errorf("a request under way at the shutdown: %v, %q", err, answer.String())
	}
	if left, err := b.Exec(t.Context(), "pgrep", "-a", "web|graced"); err == nil {
		t.Errorf("after the shutdown these are left:\n%s", left)
	}
	if log := b.run("journalctl", "-u", "graced-shutdown.service", "-o", "cat"); strings.Contains(log, "ERROR") {
		t.Errorf("the drain went wrong:\n%s", log)
	}

	b.run("systemctl", "start", "graced.service")
	b.until(`gracectl status web | grep -q ACTIVE`)
	if out := b.run("curl", "-s", "http://127.0.0.1:8080/"); !strings.Contains(out, "gen=1") {
		t.Errorf("after the boot the service answers %q", out)
	}
	if out, err := b.Exec(t.Context(), "curl", "-s", "http://127.0.0.1:8081/"); err == nil {
		t.Errorf("a service that was stopped runs after the boot: %q", out)
	}
}

// A host that loses power while it drains has its services back after the boot.
func TestDrainCutShort(t *testing.T) {
	b := bootWithAgent(t)
	slow := b.Command(t.Context(), "curl", "-s", "http://127.0.0.1:8080/slow?d=1m")
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	b.until(`ss -Htn state established sport = :8080 | grep -q .`)
	b.run("systemctl", "stop", "graced.service")
	drain := b.Command(t.Context(), "graced", "--drain")
	if err := drain.Start(); err != nil {
		t.Fatal(err)
	}
	b.until(`grep -aq '"halted":true' /var/lib/gracefleet/records/web.?`)
	// All that ran is gone, and the next boot has another id.
	b.run("bash", "-c", "pkill -KILL -x graced; pkill -KILL -x graced-shim; pkill -KILL -x -f '/var/lib/gracefleet/.*'; rm -rf /run/gracefleet/*")
	_ = drain.Wait()
	_ = slow.Wait()
	b.run("bash", "-c", `id=$(mktemp) && cat /proc/sys/kernel/random/uuid >"$id" && mount --bind "$id" /proc/sys/kernel/random/boot_id`)
	b.run("systemctl", "start", "graced.service")
	b.until(`gracectl status web | grep -q ACTIVE`)
}

func (b *boxed) write(path, content string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.Install(file, path)
}

// until waits for a shell's condition to hold.
func (b *boxed) until(condition string) {
	b.t.Helper()
	b.run("bash", "-c", "for i in $(seq 1000); do { "+condition+"; } >/dev/null 2>&1 && exit 0; read -t 0.02 <> <(:); done; exit 1")
}
