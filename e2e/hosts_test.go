//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// acrossHosts is what the README has one type, line by line, without its remarks.
func acrossHosts(t *testing.T) (lines []string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Across hosts\n")
	section, _, more := strings.Cut(section, "\n## ")
	if !found || !more {
		t.Fatal("the README has no section Across hosts any more")
	}
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, " #")
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// Two hosts, as far as the network can tell, set up by what the README says and
// nothing else. Names stand for their addresses: there is no name server.
func TestTwoHosts(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "network namespaces need root")
	for _, program := range []string{"ip", "nsenter"} {
		_, err := exec.LookPath(program)
		harness.Need(t, err == nil, program+" is not installed")
	}
	here, there := twoNetworks(t)
	names := strings.NewReplacer("web-1.example.org", "10.213.7.1", "ca.example.org", "10.213.7.2")
	ca := harness.NewAuthority(t, "10.213.7.2:7444", func(cmd *exec.Cmd) { harness.InNetwork(cmd, here) })
	host := t.TempDir()
	config := filepath.Join(host, "graced.yaml")
	var (
		s     *service
		token string
	)
	typed := func(line string) []string { return strings.Fields(names.Replace(line))[1:] }
	inHere := func(line string) string {
		t.Helper()
		r := harness.Run(ca.Command(t.Context(), typed(line)...))
		if r.Code != 0 {
			t.Fatal(r)
		}
		return strings.TrimSpace(r.Stdout)
	}
	upgrade := func(line string) { // and back, with requests all the time
		clients := s.clientsIn(t, here)
		inHere(strings.Replace(line, "./web-v2", harness.Program(t, "runtime", "v2"), 1))
		flags, _, _ := strings.Cut(line, " upgrade ")
		inHere(flags + " rollback web")
		inHere(flags + " status web --agent-id spiffe://example.org/gracefleet/agent/web-1")
		if r := harness.Run(ca.Command(t.Context(), typed(flags+" status --agent-id spiffe://example.org/gracefleet/agent/web-2")...)); r.Code != 1 {
			t.Errorf("another agent answers: %v", r)
		}
		clients()
	}
	steps := []struct {
		line string
		do   func(line string)
	}{
		{"gracectl cert init --trust-domain example.org", func(line string) { inHere(line) }},
		{"gracectl cert issue --role operator --name alice", func(line string) { inHere(line) }},
		{"gracectl cert serve &", func(line string) { ca.Run(ca.Command(t.Context(), typed(strings.TrimSuffix(line, " &"))...)) }},
		{"gracectl cert token --agent web-1 --host web-1.example.org --at ca.example.org:7444", func(line string) { token = inHere(line) }},
		{"gracectl host join TOKEN", func(line string) {
			cmd := exec.CommandContext(t.Context(), harness.Binary(t, "gracectl"), append(typed(strings.Replace(line, "TOKEN", token, 1)),
				"--dir", filepath.Join(host, "tls"), "--config", config)...)
			harness.InNetwork(cmd, there)
			if r := harness.Run(cmd); r.Code != 0 {
				t.Fatal(r)
			}
		}},
		{"systemctl restart graced.service", func(string) {
			s = serviceAt(t, harness.StartInNetwork(t, there, "--config", config), "10.213.7.1")
		}},
		{"gracectl --agent web-1.example.org:7443 --tls-cert alice.pem --tls-key alice.key --tls-ca ca.pem upgrade web ./web-v2", upgrade},
	}
	var known []string
	for _, step := range steps {
		known = append(known, step.line)
	}
	if lines := acrossHosts(t); !slices.Equal(lines, known) {
		t.Fatalf("the README says\n%s\nand this test does\n%s", strings.Join(lines, "\n"), strings.Join(known, "\n"))
	}
	for _, step := range steps {
		step.do(step.line)
	}
	if out := s.CtlOK(t, "audit"); !strings.Contains(out, "operator/alice") {
		t.Errorf("the record does not say who did it:\n%s", out)
	}
	if got := harness.Active(s.Status(t, "web")).GetNumber(); got != 3 {
		t.Errorf("generation %d is active, want 3", got)
	}
	eve := certstest.NewCA(t).ClientFiles("admin", "eve")
	cmd := ca.Command(t.Context(), "--agent", "10.213.7.1:7443", "--tls-cert", eve.Cert, "--tls-key", eve.Key, "--tls-ca", "ca.pem", "status")
	if r := harness.Run(cmd); r.Code != 1 || strings.Contains(r.Stdout, "web") {
		t.Errorf("a certificate of another CA: %v", r)
	}
}

// serviceAt runs a service on a host's address.
func serviceAt(t *testing.T, a *harness.Agent, host string) *service {
	t.Helper()
	s := &service{Agent: a, t: t, folder: "runtime", address: fmt.Sprintf("%s:%d", host, harness.FreePort(t))}
	s.spec = strings.ReplaceAll(signalDrain, "ADDRESS", "tcp://"+s.address)
	s.Apply(t, s.yaml("v1"))
	return s
}

// clientsIn send requests from a network until they are told to end, when none may
// be lost.
func (s *service) clientsIn(t *testing.T, network string) (end func()) {
	t.Helper()
	clients := exec.CommandContext(t.Context(), harness.Binary(t, "loadgen"), "-address", s.address, "-fresh", fmt.Sprint(rate()), "-keep-alive", fmt.Sprint(rate()), "-duration", "0")
	harness.InNetwork(clients, network)
	var figures bytes.Buffer
	clients.Stderr = &figures
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := clients.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := clients.Wait(); err != nil {
			t.Errorf("requests were lost (%v):\n%s", err, &figures)
		}
	}
}

// twoNetworks are namespaces with a cable between them, 10.213.7.2 and 10.213.7.1.
func twoNetworks(t *testing.T) (here, there string) {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	names := [2]string{fmt.Sprintf("gf-there-%d", os.Getpid()), fmt.Sprintf("gf-here-%d", os.Getpid())}
	for _, name := range names {
		ip("netns", "add", name)
		t.Cleanup(func() { ip("netns", "delete", name) }) // and with it its end of the cable
	}
	ip("link", "add", "gf0", "netns", names[0], "type", "veth", "peer", "name", "gf0", "netns", names[1])
	for i, name := range names {
		ip("-n", name, "address", "add", fmt.Sprintf("10.213.7.%d/24", i+1), "dev", "gf0")
		ip("-n", name, "link", "set", "gf0", "up")
		ip("-n", name, "link", "set", "lo", "up")
	}
	return names[1], names[0]
}
