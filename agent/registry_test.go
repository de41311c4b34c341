package agent

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/registry"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// What cannot be registered is said at the start, and what is derived is told.
func TestWhatIsRegistered(t *testing.T) {
	ca := certstest.NewCA(t)
	at := func(address string, files certstest.Files) *network {
		t.Helper()
		keeper, err := certs.Open(certs.Files(files), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return &network{certs: keeper, listener: l}
	}
	local, everywhere := at("127.0.0.1:0", ca.Agent("web-1")), at("0.0.0.0:0", ca.Agent("web-1"))
	mapped := at("127.0.0.1:0", ca.Agent("web-1", func(c *x509.Certificate) { c.URIs = nil }))
	nowhere := at("0.0.0.0:0", ca.Agent("web-1", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }))
	byIP := at("0.0.0.0:0", ca.Agent("web-1", func(c *x509.Certificate) { c.DNSNames = nil }))
	_, port, _ := net.SplitHostPort(everywhere.address())
	_, portByIP, _ := net.SplitHostPort(byIP.address())
	for n, want := range map[*network]string{local: local.address(), everywhere: "localhost:" + port, byIP: "127.0.0.1:" + portByIP, nowhere: ""} {
		if got := n.reachedAt(n.certs.Leaf()); got != want {
			t.Errorf("%s is reached at %q, want %q", n.address(), got, want)
		}
	}
	here := registry.Options{Etcd: []string{"http://127.0.0.1:2379"}}
	for name, row := range map[string]struct {
		network *network
		options registry.Options
		want    string
	}{
		"nothing":              {nil, registry.Options{}, ""},
		"nothing on a name":    {mapped, registry.Options{}, ""},
		"no network":           {nil, here, "registry: nobody reaches an agent that does not listen"},
		"no identity":          {mapped, here, "registry: clients could not know the agent"},
		"no address":           {nowhere, here, `registry: address ""`},
		"labels for no etcd":   {nil, registry.Options{Labels: map[string]string{"role": "web"}}, "registry: etcd is missing"},
		"plain on a network":   {local, registry.Options{Etcd: []string{"http://192.0.2.1:2379"}}, "http is for loopback alone"},
		"all that is needed":   {local, here, ""},
		"an address of choice": {nowhere, registry.Options{Etcd: here.Etcd, Address: "web-1.example.org:7443"}, ""},
	} {
		e, err := row.network.entry(Config{Registry: row.options})
		if (row.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
		if err == nil && (e != nil) != (len(row.options.Etcd) > 0) {
			t.Errorf("%s: %v", name, e)
		}
	}
}
