//go:build linux

package fetch

import (
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

func TestRegisteredHosts(t *testing.T) {
	e := harness.StartEtcd(t, nil)
	source, err := Parse("etcd://"+e.Address+"/fleet", etcd.Access{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, value string) { e.Ctl("put", "/fleet/hosts/"+name, value) }
	host := func(name, rest string) string {
		return `{"name": "` + name + `", "agent_id": "spiffe://example.org/gracefleet/agent/` + name + `"` + rest + `}`
	}
	if i, err := source.Read(t.Context()); err != nil || len(i.Hosts) != 0 {
		t.Fatalf("%v, %v", i, err)
	}
	put("web-2", host("web-2", ""))
	put("web-1", host("web-1", `, "address": "192.0.2.1:7000", "labels": {"role": "web"}`))
	e.Ctl("put", "/other/hosts/x", "another's")
	i, err := source.Read(t.Context())
	if err != nil || names(i) != "web-1@192.0.2.1:7000 web-2@web-2:7443" || i.Hosts[0].Labels["role"] != "web" || i.Hosts[1].AgentID != "spiffe://example.org/gracefleet/agent/web-2" {
		t.Fatalf("%v, %v", i, err)
	}
	for name, row := range map[string]struct{ value, want string }{
		"nothing":               {"", "it has 0 hosts"},
		"no JSON":               {"{", "/fleet/hosts/web-3:1"},
		"a label that is none":  {host("web-3", `, "labels": {"role": "a b"}`), `"a b" is not a label's value`},
		"another key":           {host("web-3", `, "command": "x"`), "unknown key"},
		"another host":          {host("web-1", ""), "it is about web-1"},
		"another's identity":    {`{"name": "web-3", "agent_id": "spiffe://example.org/gracefleet/agent/web-1"}`, "is not the identity of web-3"},
		"an operator's":         {`{"name": "web-3", "agent_id": "spiffe://example.org/gracefleet/operator/web-3"}`, "is not an agent's identity"},
		"nobody's":              {`{"name": "web-3", "address": "192.0.2.66"}`, "is not the identity of web-3"},
		"two":                   {host("web-3", "") + "," + host("web-4", ""), "it has 2 hosts"},
		"two that seem one":     {host("web-3", "") + `], "groups": {}, "hosts": [` + host("web-4", ""), "web-3"},
		"a path":                {"../../etc/passwd", "web-3"},
		"an address of another": {host("web-3", `, "address": "192.0.2.1:7000"`), "both web-1 and web-3 are at 192.0.2.1:7000"},
	} {
		put("web-3", row.value)
		if i, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, %v; want %s", name, i, err, row.want)
		}
	}
}
