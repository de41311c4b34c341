//go:build linux

package e2e

import (
	"context"
	"encoding/json"
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
	b := &boxed{box.Up(t), t}
	for _, name := range []string{"graced", "graced-shim", "gracectl", "loadgen"} {
		b.Install(harness.Binary(t, name), "/usr/local/bin/"+name)
	}
	for _, unit := range []string{"graced.service", "graced-shutdown.service"} {
		b.Install(filepath.Join("../deploy", unit), "/etc/systemd/system/"+unit)
	}
	b.Install(harness.Program(t, "runtime", "v1"), "/root/web")
	b.Install(harness.Program(t, "runtime", "v2"), "/root/web-v2")
	spec := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(spec, []byte(boxedSpec), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Install(spec, "/root/web.yaml")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "--now", "graced.service")
	b.run("gracectl", "apply", "-f", "/root/web.yaml")
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
	const wait = `for i in $(seq 500); do
	[ "$(systemctl show -P "$1" graced.service)" != "$2" ] && systemctl is-active -q graced.service && exit 0
	read -t 0.02 <> <(:)
done; exit 1`
	b.run("bash", "-c", wait, "await", property, strings.TrimSpace(old))
}
