package agent

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/registry"
	"github.com/gracefleet/gracefleet/agent/internal/server"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

func TestNetworkIsRefusedWithoutProof(t *testing.T) {
	ca := certstest.NewCA(t)
	good := certs.Files(ca.Agent("web-1"))
	none := good
	none.Key = ""
	broken := good
	broken.CA = good.Key
	for name, row := range map[string]struct {
		listen string
		files  certs.Files
		words  string
	}{
		"no certificates":     {"127.0.0.1:0", certs.Files{}, "--tls-cert is missing"},
		"no key":              {"127.0.0.1:0", none, "--tls-key is missing"},
		"no CA in the file":   {"127.0.0.1:0", broken, "holds no certificate"},
		"nobody to serve":     {"", good, "without --listen"},
		"no port":             {"127.0.0.1", good, "want HOST:PORT"},
		"nobody's address":    {"192.0.2.1:0", good, "--listen 192.0.2.1:0"},
		"the host on its own": {"", certs.Files{}, ""},
		"whole":               {"127.0.0.1:0", good, ""},
	} {
		n, err := openNetwork(t.Context(), Config{Listen: row.listen, TLS: TLS{Files: row.files}, Log: hclog.NewNullLogger()})
		if (row.words == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v, want %q", name, err, row.words)
		}
		if err := n.close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadAccessIsNamed(t *testing.T) {
	for yaml, words := range map[string]string{
		"access: {roles: {ci: {may: [upgrades]}}}":     `access: roles.ci: may: "upgrades" is no permission`,
		"access: {groups: {deploy: nobody}}":           `access: groups.deploy: role "nobody" is not defined`,
		"access: {certificates: [{role: read}]}":       "access: certificates[0]",
		"access: {trust_domain: Example}":              "access: trust_domain",
		"access: {labels: {env: 'a b'}}":               "access: labels.env",
		"access: {role: {}}":                           `unknown field "role"`,
		"access: {roles: {ci: {services: [web]}}}":     "access: roles.ci: may: is missing",
		"access: {roles: {ci: {may: [read], on: []}}}": `unknown field "on"`,
	} {
		c := Config{StateDir: "/s", RuntimeDir: "/r", ShimBinary: "/x"}
		err := ReadConfig(configFile(t, yaml), true, &c)
		if err == nil {
			err = c.complete()
		}
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", yaml, err, words)
		}
	}
}

func configFile(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "graced.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The agent's own certificate says whose identities count, unless the
// configuration does.
func TestTrustDomain(t *testing.T) {
	ca := certstest.NewCA(t)
	nameless := ca.ClientFiles("operator", "x")
	for name, row := range map[string]struct {
		files  certstest.Files
		access Access
		want   string
		words  string
	}{
		"of the certificate":   {files: ca.Agent("web-1"), want: "example.org"},
		"of the configuration": {files: ca.Agent("web-1"), access: Access{TrustDomain: "example.net"}, want: "example.net"},
		"of neither":           {files: nameless, words: "access.trust_domain"},
		"needs no certificate": {files: nameless, access: Access{TrustDomain: "example.net"}, want: "example.net"},
	} {
		keeper, err := certs.Open(certs.Files(row.files), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		p, err := (&network{certs: keeper}).policy(Config{Access: row.access})
		if (row.words == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v, want %q", name, err, row.words)
		}
		if err == nil && p.TrustDomain != row.want {
			t.Errorf("%s: %s, want %s", name, p.TrustDomain, row.want)
		}
	}
}

// Members of one group are operators unless the configuration says who is what.
func TestDefaultGroup(t *testing.T) {
	for want, a := range map[string]Access{
		"operator": {},
		"read":     {Groups: map[string]string{socketGroup: "read"}},
		"":         {Groups: map[string]string{}},
	} {
		if got := a.policy().Groups[socketGroup]; got != want {
			t.Errorf("the group has the role %q, want %q", got, want)
		}
	}
}

// A changed file holds at once; a wrong one changes nothing.
func TestReadPolicies(t *testing.T) {
	path := configFile(t, "access: {roles: {ci: {may: [read]}}}")
	a := &agent{config: Config{File: path}, log: hclog.NewNullLogger(), registrar: registry.New("id", hclog.NewNullLogger())}
	a.supervisor = supervisor.New(nil, nil, a.log)
	defer a.supervisor.Close()
	a.fetcher = fetch.New(nil, "", &fetch.Policy{})
	srv := server.New(server.Options{Policy: &access.Policy{}, Log: a.log})
	read := func(yaml string) *access.Policy {
		t.Helper()
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		a.readPolicies(nil, srv)
		return srv.Policy()
	}
	first := read("access: {roles: {ci: {may: [read]}}}")
	if may := first.Roles["ci"].May; !reflect.DeepEqual(may, []access.Permission{access.Read}) {
		t.Fatalf("ci may %v", may)
	}
	for name, yaml := range map[string]string{
		"not read":           "access: {rolls: {}}",
		"wrong":              "access: {roles: {ci: {may: [everything]}}}",
		"about other things": "log_level: debug\naccess: {roles: {ci: {may: [read]}}}",
	} {
		if read(yaml) != first {
			t.Errorf("a file that is %s changed the policy", name)
		}
	}
	if a.supervisor.Signatures().Required("web") {
		t.Error("a signature is required, and nobody has said so")
	}
	const signed = "access: {roles: {ci: {may: [read]}}}\nrequire_signature: [web]\n"
	if p := read(signed); p != first || !a.supervisor.Signatures().Required("web") {
		t.Error("that a signature is required holds only from the next start, or ends watches")
	}
	for name, yaml := range map[string]string{
		"a key that is none":    signed + "signing_keys: [{key: x}]",
		"an end that is none":   signed + "signing_keys: [{key: RWQ58PEhXQM0ef/QDcd42vwgoWPRjxdjqIKRVXj8dTZM2K2RTjIAw9t4, not_after: soon}]",
		"a word that means no":  "require_signature: none",
		"a name that is no key": "require_signatures: []",
		"a mistake elsewhere":   "access: {rolls: {}}",
	} {
		if read(yaml); !a.supervisor.Signatures().Required("web") {
			t.Errorf("%s has lifted the requirement", name)
		}
	}
	if p := read(""); len(p.Roles) != 0 || a.supervisor.Signatures().Required("web") {
		t.Errorf("what was taken out is still there: %v", p.Roles)
	}
	read("fetch: {from: [https://h/releases/]}")
	allowed := a.fetcher.Policy()
	if reflect.DeepEqual(allowed, &fetch.Policy{}) {
		t.Error("what may be fetched holds only from the next start")
	}
	if read("fetch: {from: [https://h/releases/, http://h/]}"); a.fetcher.Policy() != allowed {
		t.Error("a wrong file has changed what may be fetched")
	}
	if read(""); !reflect.DeepEqual(a.fetcher.Policy(), &fetch.Policy{}) {
		t.Error("what was taken out may still be fetched")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	before := srv.Policy()
	if a.readPolicies(nil, srv); srv.Policy() != before {
		t.Error("a file that went away changed the policy")
	}
}

// What is wrong with a certificate is told to who asks, always, and to the log: once a
// day, in the end each hour.
func TestCertificateWarnings(t *testing.T) {
	if got := (*network)(nil).warnings(); len(got) != 0 {
		t.Errorf("without a network: %q", got)
	}
	for name, row := range map[string]struct {
		left  time.Duration // on the first of three days
		times int
		level string
	}{
		"weeks":   {20 * 24 * time.Hour, 4, "[WARN]"},
		"days":    {6 * 24 * time.Hour, 4, "[ERROR]"},
		"soon":    {8 * 24 * time.Hour, 4, "[ERROR]"},
		"the end": {2*24*time.Hour + time.Minute, 2 + 2*24, "[ERROR]"},
		"months":  {80 * 24 * time.Hour, 0, ""},
	} {
		synctest.Test(t, func(t *testing.T) { // in the year 2000
			n := &network{certs: ending(t, time.Now().Add(row.left))}
			var said strings.Builder
			log := hclog.New(&hclog.LoggerOptions{Output: &said})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				n.warn(ctx, log)
				close(ended)
			}()
			time.Sleep(3*warnEvery + time.Minute)
			cancel()
			<-ended
			if got := strings.Count(said.String(), "the agent's certificate "); got != row.times || !strings.Contains(said.String(), row.level) {
				t.Errorf("%s: in three days it was said %d times, want %d:\n%s", name, got, row.times, &said)
			}
			if got := n.warnings(); (len(got) == 1) != (row.times > 0) {
				t.Errorf("%s: warnings %q", name, got)
			}
		})
	}
}

// ending are certificates of 90 days, with such an end.
func ending(t *testing.T, end time.Time) *certs.Keeper {
	t.Helper()
	files := certstest.NewCA(t).Agent("web-1", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = end.Add(-90*24*time.Hour), end
	})
	keeper, err := certs.Open(certs.Files(files), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return keeper
}

// Of a file that is being written, half may be there.
func TestHalfAFileIsNotRead(t *testing.T) {
	path := configFile(t, "")
	write := func(yaml string, at int64) {
		t.Helper()
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Unix(at, 0)); err != nil {
			t.Fatal(err)
		}
	}
	const whole = "log_level: info\nrequire_signature: [web]\n"
	write(whole, 1)
	synctest.Test(t, func(t *testing.T) {
		log := hclog.NewNullLogger()
		a := &agent{config: Config{File: path}, log: log, supervisor: supervisor.New(nil, nil, log), fetcher: fetch.New(nil, "", &fetch.Policy{}), registrar: registry.New("id", log)}
		defer a.supervisor.Close()
		srv := server.New(server.Options{Policy: &access.Policy{}, Log: log})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			a.follow(ctx, nil, srv)
			close(ended)
		}()
		pass := func(looks int) bool {
			time.Sleep(time.Duration(looks)*lookEvery + lookEvery/2)
			synctest.Wait()
			return a.supervisor.Signatures().Required("web")
		}
		write(whole+"# more\n", 2)
		if !pass(3) {
			t.Error("a changed file is not read")
		}
		write("log_level: info\n", 3)
		if !pass(0) {
			t.Error("half a file has lifted the requirement")
		}
		write(whole, 4)
		if !pass(3) {
			t.Error("the whole file has lifted the requirement")
		}
		write("log_level: info\n", 5)
		if pass(3) {
			t.Error("what the administrator has taken out still holds")
		}
		cancel()
		<-ended
	})
}

// Between the reading of the file and the first look at it, services are restored, which
// may take long.
func TestChangedWhileTheAgentStarts(t *testing.T) {
	path := configFile(t, "require_signature: [web]\n") // the configuration is of before
	synctest.Test(t, func(t *testing.T) {
		log := hclog.NewNullLogger()
		a := &agent{config: Config{File: path}, log: log, supervisor: supervisor.New(nil, nil, log), fetcher: fetch.New(nil, "", &fetch.Policy{}), registrar: registry.New("id", log)}
		defer a.supervisor.Close()
		srv := server.New(server.Options{Policy: &access.Policy{}, Log: log})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			a.follow(ctx, nil, srv)
			close(ended)
		}()
		time.Sleep(3 * lookEvery)
		synctest.Wait()
		if !a.supervisor.Signatures().Required("web") {
			t.Error("the change is never read")
		}
		cancel()
		<-ended
	})
}
