//go:build linux

package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// agent stands in for graced, to see when systemd calls it and how.
const agent = `#!/bin/sh
echo "$@" >>/run/called
[ "$1" = --drain ] && { systemctl is-active graced.service >>/run/called; exit; }
sleep infinity & # a service, which must outlive the agent
systemd-notify --ready
trap 'echo stopped >>/run/called; exit' TERM
while :; do sleep 0.05; done
`

func installUnits(t *testing.T, b *Box) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "graced")
	write(t, program, agent, 0o755)
	b.Install(program, "/usr/local/bin/graced")
	for _, unit := range []string{"graced.service", "graced-shutdown.service"} {
		b.Install(filepath.Join("../../deploy", unit), "/etc/systemd/system/"+unit)
	}
	// The stand-in says that it is ready by a program of its own.
	dropIn := filepath.Join(t.TempDir(), "notify.conf")
	write(t, dropIn, "[Service]\nNotifyAccess=all\n", 0o644)
	b.Install(dropIn, "/etc/systemd/system/graced.service.d/notify.conf")
	b.must("systemctl", "daemon-reload")
}

func TestUnitsAreValid(t *testing.T) {
	b := Up(t)
	installUnits(t, b)
	out, err := b.Command(t.Context(), "systemd-analyze", "verify",
		"/etc/systemd/system/graced.service", "/etc/systemd/system/graced-shutdown.service").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func TestServicesOutliveTheAgentAndAreDrainedAtShutdown(t *testing.T) {
	b := Up(t)
	installUnits(t, b)
	b.must("systemctl", "enable", "--now", "graced.service")
	if got := b.must("systemctl", "is-active", "graced.service", "graced-shutdown.service"); got != "active\nactive\n" {
		t.Fatalf("the units are %q", got)
	}
	if _, err := b.Exec(t.Context(), "systemctl", "stop", "graced-shutdown.service"); err == nil {
		t.Error("an operator can drain the host by stopping graced-shutdown.service by mistake")
	}

	service := strings.TrimSpace(b.must("pgrep", "-x", "-f", "sleep infinity"))
	b.must("systemctl", "restart", "graced.service")
	if !strings.Contains(b.must("pgrep", "-x", "-f", "sleep infinity"), service) {
		t.Error("a restart of the agent ended its services")
	}

	// The way of shutdown.target, which nobody may start by hand.
	const units = "graced.service graced-shutdown.service"
	target := filepath.Join(t.TempDir(), "off.target")
	write(t, target, "[Unit]\nConflicts="+units+"\nAfter="+units+"\n", 0o644)
	b.Install(target, "/etc/systemd/system/off.target")
	b.must("systemctl", "daemon-reload")
	b.must("systemctl", "start", "off.target")
	called, err := os.ReadFile(b.Path("/run/called"))
	if err != nil {
		t.Fatal(err)
	}
	// Empty lines are starts without arguments.
	if want := "\nstopped\n\nstopped\n--drain\ninactive\n"; string(called) != want {
		t.Errorf("called:\n%s\nwant:\n%s", called, want)
	}
}
