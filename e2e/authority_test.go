//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/box"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// The CA as its unit runs it, locked in, beside the agent of the same host: what its
// page has one type, from nothing to an agent that answers over the network.
func TestAuthorityUnit(t *testing.T) {
	b := &boxed{box.Up(t), t}
	for _, name := range []string{"graced", "graced-shim", "gracectl"} {
		b.Install(harness.Binary(t, name), "/usr/local/bin/"+name)
	}
	for _, unit := range []string{"graced.service", "graced-shutdown.service", "gracefleet-ca.service"} {
		b.Install("../deploy/"+unit, "/etc/systemd/system/"+unit)
	}
	b.run("systemctl", "daemon-reload")
	b.run("useradd", "--system", "--home-dir", "/var/lib/gracefleet-ca", "--create-home", "--shell", "/usr/sbin/nologin", "gracefleet-ca")
	cert := func(line string) string {
		t.Helper()
		args := []string{"setpriv", "--reuid", "gracefleet-ca", "--regid", "gracefleet-ca", "--clear-groups", "gracectl", "cert", "--dir", "/var/lib/gracefleet-ca/ca"}
		return strings.TrimSpace(b.run(append(args, strings.Fields(line)...)...))
	}
	cert("init --trust-domain example.org")
	b.run("systemctl", "enable", "--now", "gracefleet-ca.service")
	b.until(`ss -Htln sport = :7444 | grep -q .`)
	token := cert("token --agent web-1 --host 127.0.0.1 --at 127.0.0.1:7444")
	b.run("gracectl", "host", "join", token)
	b.run("systemctl", "enable", "--now", "graced.service")
	cert("issue --role operator --name alice --out /tmp/alice")
	info := b.run("gracectl", "--agent", "127.0.0.1:7443", "--tls-cert", "/tmp/alice/alice.pem", "--tls-key", "/tmp/alice/alice.key", "--tls-ca", "/tmp/alice/ca.pem", "info")
	if !strings.Contains(info, "as spiffe://example.org/gracefleet/agent/web-1") {
		t.Errorf("the agent says\n%s", info)
	}
	b.until(`gracectl info | grep -q 'renewed by 127.0.0.1:7444, which answered'`)
	if out, err := b.Exec(t.Context(), "gracectl", "cert", "--dir", "/var/lib/gracefleet-ca/ca", "crl"); err == nil {
		t.Errorf("root wrote into the CA's directory: %s", out)
	}
	b.run("systemctl", "stop", "gracefleet-ca.service")
	b.until(`journalctl -u gracefleet-ca.service -o cat | grep -q 'the CA answers no longer'`)
	if log := b.run("journalctl", "-u", "gracefleet-ca.service", "-o", "cat"); !strings.Contains(log, "a host joined") || strings.Contains(log, "[ERROR]") {
		t.Errorf("the CA says\n%s", log)
	}
}
