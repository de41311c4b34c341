package contexts

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

const sample = `
current: prod
contexts:
  prod: {inventory: fleet.yaml, tls_cert: alice.pem, tls_key: /keys/alice.key, tls_ca: ../ca.pem}
  cloud: {inventory: 'exec:["/usr/local/bin/hosts","--region","eu"]'}
  one: {agent: "web-1:7443", agent_id: spiffe://example.org/gracefleet/agent/web-1}
  etcd: {inventory: etcds://db, coordinator: etcds://db/web, etcd_ca: etcd.pem, etcd_cert: alice.pem, etcd_key: alice.key, etcd_user: alice, etcd_password_file: /run/password}
  empty:
`

func TestContexts(t *testing.T) {
	f, err := Parse("/home/alice/.config/gracefleet/gracectl.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	dir := "/home/alice/.config/gracefleet/"
	for name, want := range map[string]Context{
		"":      {Inventory: dir + "fleet.yaml", TLSCert: dir + "alice.pem", TLSKey: "/keys/alice.key", TLSCA: "/home/alice/.config/ca.pem"},
		"cloud": {Inventory: `exec:["/usr/local/bin/hosts","--region","eu"]`},
		"one":   {Agent: "web-1:7443", AgentID: "spiffe://example.org/gracefleet/agent/web-1"},
		"etcd": {
			Inventory: "etcds://db", Coordinator: "etcds://db/web", EtcdCA: dir + "etcd.pem", EtcdCert: dir + "alice.pem", EtcdKey: dir + "alice.key",
			EtcdUser: "alice", EtcdPasswordFile: "/run/password",
		},
		"empty": {},
	} {
		got, err := f.Find(name)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", name, err, diff)
		}
	}
	if _, err := f.Find("prdo"); err == nil || err.Error() != `no context is called "prdo": did you mean "prod"?` {
		t.Errorf("%v", err)
	}
	if c, err := (&File{}).Find(""); err != nil || c != (Context{}) {
		t.Errorf("%v, %v", c, err)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "f:1:1: the file is empty",
		"contexts: {a: {inventroy: x}}": `f:1:16: contexts.a.inventroy: unknown key: did you mean "inventory"?`,
		"current: b\ncontexts: {a: {}}": `f:1:1: current: no context is called "b": use one of a`,
		"current: a":                    `f:1:1: current: no context is called "a": there are none`,
		`contexts: {"": {}}`:            "a context needs a name",
		"contexts: {a: {agent: x, inventory: y}}": "f:1:26: contexts.a.inventory: agent is set too",
		"contexts: {a: {agent_id: x}}":            "contexts.a.agent_id: agent is not set",
		"contexts: {a: {tls_ca: [x]}}":            "contexts.a.tls_ca: want text, got a list",
	} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("contexts: {a: {agent: x, inventory: [y]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f", data)
		var all strict.Errors
		switch {
		case err != nil && !errors.As(err, &all):
			t.Fatalf("%T is not strict.Errors: %v", err, err)
		case err == nil && file.Current != "":
			if _, err := file.Find(file.Current); err != nil {
				t.Error(err)
			}
		}
	})
}
