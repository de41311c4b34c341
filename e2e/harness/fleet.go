//go:build linux

package harness

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gracefleet/gracefleet/internal/certstest"
)

// Fleet is the hosts of a test: each a network of its own with an agent, which runs
// the service web, and an inventory that lists them.
type Fleet struct {
	Hosts []*Host
	// Here and Elsewhere are operators at machines that share nothing.
	Here, Elsewhere *Driver

	t         testing.TB
	ca        *certstest.CA
	network   *network
	inventory string
	clients   string // the namespace of users
}

// Host is one of a fleet.
type Host struct {
	*Agent
	// Name is how the inventory calls it: web-01 is the first.
	Name string

	number int
	zone   string
	files  certstest.Files
	config string // the path of its graced.yaml
}

// servicePort is where every host's service answers.
const servicePort = 8080

// Numbers on the network; hosts begin at firstHost.
const (
	clientsNumber = iota
	hereNumber
	elsewhereNumber
	etcdNumber
	firstHost = 10
)

// StartFleet starts so many hosts, two at least, of the role web and of the zones a, b
// and c in turn. Their service is declared by a service file without name, artifact and
// sockets; DIR in it becomes the host's Dir. version is which of the testserver
// runtime it runs first, and config is what the agents' graced.yaml says.
func StartFleet(t testing.TB, hosts int, version, yaml string, config ...string) *Fleet {
	t.Helper()
	f := &Fleet{t: t, network: newNetwork(t), ca: certstest.NewCA(t), inventory: filepath.Join(t.TempDir(), "fleet.yaml")}
	f.clients = f.network.add(t, "clients", clientsNumber, users)
	f.Here = f.driver("here", hereNumber, f.ca.ClientFiles("operator", "alice"))
	f.Elsewhere = f.driver("elsewhere", elsewhereNumber, f.ca.ClientFiles("operator", "bob"))
	for i := range hosts {
		f.Hosts = append(f.Hosts, f.host(fmt.Sprintf("web-%02d", i+1), firstHost+i, config))
	}
	t.Cleanup(func() {
		f.each(func(h *Host) error { h.cleanup(); return nil })
	})
	f.writeInventory()
	f.every(func(h *Host) error { return h.begin(t) })
	artifact := Program(t, "runtime", version)
	declared := make(map[*Host]string)
	for _, h := range f.Hosts {
		declared[h] = h.Spec(t, fmt.Sprintf("name: web\nartifact: %s\nsockets: [{name: http, listen: \"tcp://0.0.0.0:%d\"}]\n%s",
			artifact, servicePort, strings.ReplaceAll(yaml, "DIR", h.Dir)))
	}
	f.every(func(h *Host) error {
		ctx, cancel := context.WithTimeout(t.Context(), ctlLimit)
		defer cancel()
		if r := h.ctl(ctx, "apply", "-f", declared[h]); r.Code != 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	return f
}

// host prepares one.
func (f *Fleet) host(name string, number int, config []string) *Host {
	f.t.Helper()
	namespace, ip := f.network.add(f.t, name, number, agents, users), address(agents, number)
	cert := f.ca.Agent(name, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(ip)} })
	path := filepath.Join(f.t.TempDir(), "graced.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(config, "")), 0o600); err != nil {
		f.t.Fatal(err)
	}
	flags := []string{"--listen", ip + ":7443", "--tls-cert", cert.Cert, "--tls-key", cert.Key, "--tls-ca", cert.CA, "--config", path}
	there := func(_ testing.TB, a *Agent, _ string) { InNetwork(a.cmd, namespace) }
	return &Host{Agent: prepare(f.t, Binary(f.t, "graced"), there, "", flags), Name: name, number: number, zone: string(rune('a' + (number-firstHost)%3)), files: cert, config: path}
}

// Register has all hosts register themselves with an etcd, and operators find them
// there instead of in a file.
func (f *Fleet) Register(e *Etcd) {
	f.t.Helper()
	f.every(func(h *Host) error {
		return os.WriteFile(h.config, fmt.Appendf(nil, "registry:\n  etcd: [\"https://%s\"]\n  ca: %s\n  cert: %s\n  key: %s\n  labels: {role: web, zone: %s}\n",
			e.Address, h.files.CA, h.files.Cert, h.files.Key, h.zone), 0o600)
	})
	e.Await(len(f.Hosts), "/gracefleet/hosts/")
	for _, d := range []*Driver{f.Here, f.Elsewhere} {
		d.inventory = "etcds://" + e.Address
	}
}

func (f *Fleet) writeInventory() {
	f.t.Helper()
	var b strings.Builder
	b.WriteString("hosts:\n")
	for _, h := range f.Hosts {
		fmt.Fprintf(&b, "  - {name: %s, address: %s:7443, labels: {role: web, zone: %s}}\n", h.Name, address(agents, h.number), h.zone)
	}
	if err := os.WriteFile(f.inventory, []byte(b.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// each has all hosts do something at the same time, and returns what went wrong.
func (f *Fleet) each(do func(h *Host) error) []error {
	errs := make([]error, len(f.Hosts))
	var all sync.WaitGroup
	for i, h := range f.Hosts {
		all.Go(func() { errs[i] = do(h) })
	}
	all.Wait()
	return errs
}

// every is each, where nothing may go wrong.
func (f *Fleet) every(do func(h *Host) error) {
	f.t.Helper()
	failed := false
	for i, err := range f.each(do) {
		if err != nil {
			failed = true
			f.t.Errorf("%s: %v", f.Hosts[i].Name, err)
		}
	}
	if failed {
		f.t.FailNow()
	}
}

// Host returns one by its name.
func (f *Fleet) Host(name string) *Host {
	f.t.Helper()
	for _, h := range f.Hosts {
		if h.Name == name {
			return h
		}
	}
	f.t.Fatalf("no host is called %s", name)
	return nil
}

// Cut keeps hosts from all operators. Users still reach them.
func (f *Fleet) Cut(hosts ...*Host) {
	f.t.Helper()
	f.network.plug(f.t, agents, "down", numbers(hosts)...)
}

// Heal takes Cut back.
func (f *Fleet) Heal(hosts ...*Host) {
	f.t.Helper()
	f.network.plug(f.t, agents, "up", numbers(hosts)...)
}

func numbers(hosts []*Host) (all []int) {
	for _, h := range hosts {
		all = append(all, h.number)
	}
	return all
}
