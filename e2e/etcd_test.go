//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// A host of a fleet that keeps its hosts in an etcd: what its administrator writes, from
// the start of the agent to its death, and what operators see meanwhile.
func TestHostsRegisterThemselves(t *testing.T) {
	ca := certstest.NewCA(t)
	e := harness.StartEtcd(t, ca)
	e.EnableAuth("secret", "/gracefleet/")
	password := filepath.Join(t.TempDir(), "password")
	own, operator := ca.Agent("web-1"), ca.ClientFiles("operator", "alice")
	config := filepath.Join(t.TempDir(), "graced.yaml")
	write := func(labels string) {
		t.Helper()
		text := "registry:\n  etcd: [\"https://" + e.Address + "\"]\n  ca: " + own.CA + "\n  cert: " + own.Cert + "\n  key: " + own.Key +
			"\n  user: gracefleet\n  password_file: " + password + "\n  labels: " + labels + "\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	write("{role: web}")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := harness.Start(t, "--config", config, "--listen", listen, "--tls-cert", own.Cert, "--tls-key", own.Key, "--tls-ca", own.CA)
	for _, set := range [][2]string{
		{"GRACECTL_ETCD_CA", operator.CA},
		{"GRACECTL_ETCD_CERT", operator.Cert},
		{"GRACECTL_ETCD_KEY", operator.Key},
		{"GRACECTL_ETCD_USER", "gracefleet"},
		{"GRACECTL_ETCD_PASSWORD_FILE", password},
	} {
		t.Setenv(set[0], set[1])
	}
	hosts := func(selector string) (names []string, r harness.Result) {
		t.Helper()
		r = a.Ctl(t, "hosts", "--inventory", "etcds://"+e.Address, "--hosts", selector,
			"--tls-cert", operator.Cert, "--tls-key", operator.Key, "--tls-ca", operator.CA, "-o", "json")
		var list struct {
			Hosts []struct{ Host, Outcome string }
		}
		if err := json.Unmarshal([]byte(r.Stdout), &list); r.Code == 0 && err != nil {
			t.Fatalf("%v: %v", err, r)
		}
		for _, h := range list.Hosts {
			names = append(names, h.Host+" "+h.Outcome)
		}
		return names, r
	}
	await := func(selector, want string) {
		t.Helper()
		for limit := time.Now().Add(awaitLimit); ; time.Sleep(50 * time.Millisecond) {
			names, r := hosts(selector)
			if strings.Join(names, ",") == want {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("want %q of %s: %v", want, selector, r)
			}
		}
	}
	await("role=web", "web-1 unchanged")
	write("{role: db}") // holds without a restart
	await("role=db", "web-1 unchanged")
	a.Restart(t)
	if names, r := hosts("role=db"); strings.Join(names, ",") != "web-1 unchanged" {
		t.Errorf("after a restart: %v", r)
	}
	a.Kill9(t)
	if names, r := hosts("role=db"); strings.Join(names, ",") != "web-1 unreachable" || r.Code != 6 {
		t.Errorf("an agent that was just killed: %v", r)
	}
	const lease = 30 * time.Second
	for limit := time.Now().Add(lease + awaitLimit); ; time.Sleep(100 * time.Millisecond) {
		if _, r := hosts("role=db"); r.Code == 2 && strings.Contains(r.Stderr, "the inventory has no hosts") {
			break
		} else if time.Now().After(limit) {
			t.Fatalf("an agent that is away for good is still there: %v", r)
		}
	}
	if strings.Contains(a.Log(), "secret") {
		t.Error("the agent's log has the password")
	}
}

// An agent whose etcd is away starts, serves, and says so in the end.
func TestAgentWithoutItsRegistry(t *testing.T) {
	own := certstest.NewCA(t).Agent("web-1")
	config := filepath.Join(t.TempDir(), "graced.yaml")
	if err := os.WriteFile(config, []byte(`registry: {etcd: ["http://127.0.0.1:1"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a := harness.Start(t, "--config", config, "--listen", "127.0.0.1:0", "--tls-cert", own.Cert, "--tls-key", own.Key, "--tls-ca", own.CA)
	if out := a.CtlOK(t, "info"); strings.Contains(out, "registered") {
		t.Errorf("at once it says\n%s", out)
	}
	awaitText(t, a.Log, "the host could not be registered")
}
