//go:build linux

package registry

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const web1 = "spiffe://example.org/gracefleet/agent/web-1"

func entry(t *testing.T, o Options) *Entry {
	t.Helper()
	e, err := o.Entry("web-1", web1, "192.0.2.1:7443")
	if err != nil || e == nil {
		t.Fatalf("%v, %v", e, err)
	}
	return e
}

func plain(e *harness.Etcd, o Options) Options {
	o.Etcd = []string{"http://" + e.Address}
	return o
}

// running is a registrar that runs until it is ended.
type running struct {
	*Registrar
	log *strings.Builder
	end func()
}

func run(t *testing.T, stateID string, e *Entry) running {
	t.Helper()
	var said strings.Builder
	r := New(stateID, hclog.New(&hclog.LoggerOptions{Output: &said}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	end := func() {
		cancel()
		<-ended
	}
	t.Cleanup(end)
	r.Set(e)
	return running{r, &said, end}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(ttl + 30*time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (r running) awaitRegistered(t *testing.T) {
	t.Helper()
	await(t, "the host is registered", func() bool { return !r.State().Contact.IsZero() })
}

func TestRegistered(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	first := entry(t, plain(e, Options{Labels: map[string]string{"role": "web"}}))
	r := run(t, "one", first)
	r.awaitRegistered(t)
	var got Host
	value := e.Ctl("get", "--print-value-only", "/gracefleet/hosts/web-1")
	if err := json.Unmarshal([]byte(value), &got); err != nil || got.Name != "web-1" || got.Address != "192.0.2.1:7443" || got.AgentID != web1 || got.Labels["role"] != "web" {
		t.Fatalf("%s: %v", value, err)
	}
	if s := r.State(); s.Err != nil || s.Since != s.Contact || r.Warning(time.Now().Add(time.Hour)) != "" {
		t.Errorf("%+v: %s", s, r.Warning(time.Now().Add(time.Hour)))
	}

	// Another agent with a certificate of the same name leaves it alone, and says so at once.
	other := run(t, "two", first)
	await(t, "the other one says so", func() bool { return strings.Contains(other.Warning(time.Now()), "is another agent's") })
	other.end()

	// The agent itself, after a restart, takes it over, with other labels too.
	r.end()
	second := entry(t, plain(e, Options{Labels: map[string]string{"role": "db"}}))
	again := run(t, "one", second)
	again.awaitRegistered(t)
	if value := e.Ctl("get", "--print-value-only", "/gracefleet/hosts/web-1"); !strings.Contains(value, `"role":"db"`) {
		t.Errorf("after a restart: %s", value)
	}

	// What the administrator changes, moves or takes out holds at once.
	again.Set(entry(t, plain(e, Options{Prefix: "/prod", Address: "web-1.example.org:1"})))
	again.awaitRegistered(t)
	if all := e.Ctl("get", "--prefix", "/"); strings.Contains(all, "/gracefleet/hosts/") || !strings.Contains(all, "web-1.example.org:1") {
		t.Errorf("after a move: %s", all)
	}
	again.Set(nil)
	await(t, "nothing is registered", func() bool { return e.Ctl("get", "--prefix", "/") == "" })
	again.end()
	if text := again.log.String(); strings.Count(text, "the host is registered") != 2 || strings.Contains(text, "[WARN]") {
		t.Errorf("the log:\n%s", text)
	}
}

// A key that is gone, and a lease that is, come back: etcd may be restored or cleaned.
func TestDeletedByHand(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	r := run(t, "one", entry(t, plain(e, Options{})))
	r.awaitRegistered(t)
	e.Ctl("del", "/gracefleet/hosts/web-1")
	await(t, "the key is back", func() bool { return e.Ctl("get", "/gracefleet/hosts/web-1") != "" })
	_, lease, _ := strings.Cut(e.Ctl("lease", "list"), "\n")
	e.Ctl("lease", "revoke", lease)
	await(t, "the lease is back", func() bool { return e.Ctl("get", "/gracefleet/hosts/web-1") != "" })
}

// While etcd is away nothing happens but that it is told, and after it all is well.
func TestOutage(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	r := run(t, "one", entry(t, plain(e, Options{Etcd: nil})))
	r.awaitRegistered(t)
	for name, outage := range map[string][2]func(){"hangs": {e.Stop, e.Continue}, "is killed": {e.Kill, e.Start}} {
		outage[0]()
		await(t, "the outage is noticed", func() bool { return r.State().Err != nil })
		s := r.State()
		if r.Warning(s.Since.Add(warnAfter-time.Second)) != "" {
			t.Errorf("etcd %s: a warning at once", name)
		}
		if text := r.Warning(s.Since.Add(warnAfter)); !strings.Contains(text, "the host is not registered since "+s.Contact.UTC().Format(time.RFC3339)) || !strings.Contains(text, e.Address) {
			t.Errorf("etcd %s: %q", name, text)
		}
		outage[1]()
		await(t, "it is registered again", func() bool { return r.State().Err == nil })
	}
	if e.Ctl("get", "/gracefleet/hosts/web-1") == "" {
		t.Error("it is not there")
	}
	r.end()
	if text := r.log.String(); strings.Count(text, "[WARN]") != 2 {
		t.Errorf("the log:\n%s", text)
	}
}

// An agent that is away for good vanishes, one that is nobody's does not take long either.
func TestVanishes(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	r := run(t, "one", entry(t, plain(e, Options{})))
	r.awaitRegistered(t)
	r.end()
	if e.Ctl("get", "/gracefleet/hosts/web-1") == "" {
		t.Fatal("an agent that restarts is gone in between")
	}
	await(t, "the key vanishes", func() bool { return e.Ctl("get", "/gracefleet/hosts/web-1") == "" })
}

func TestProof(t *testing.T) {
	t.Parallel()
	ca := certstest.NewCA(t)
	e := harness.StartEtcd(t, ca)
	e.EnableAuth("secret", "/gracefleet/")
	password := func(text string) string {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := ca.Agent("web-1")
	right := Options{Etcd: []string{"https://127.0.0.1:1", "https://" + e.Address}, CA: own.CA, Cert: own.Cert, Key: own.Key, User: "gracefleet", PasswordFile: password("secret\n")}
	r := run(t, "one", entry(t, right)) // also though the first of the members is away
	r.awaitRegistered(t)
	for want, change := range map[string]func(*Options){
		"authentication failed":            func(o *Options) { o.PasswordFile = password("guessed") },
		"permission denied":                func(o *Options) { o.Prefix = "/elsewhere/" },
		"signed by unknown authority":      func(o *Options) { o.CA = certstest.NewCA(t).File() },
		"etcd 127.0.0.1":                   func(o *Options) { o.Cert, o.Key = "", "" },
		"ca: open /nonexistent":            func(o *Options) { o.CA = "/nonexistent" },
		"holds no certificate":             func(o *Options) { o.CA = o.PasswordFile },
		"password_file: open /nonexistent": func(o *Options) { o.PasswordFile = "/nonexistent" },
	} {
		o := right
		o.Etcd = o.Etcd[1:]
		change(&o)
		r.Set(entry(t, o))
		await(t, want, func() bool { return r.State().Err != nil })
		if err := r.State().Err; !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "guessed") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	if e, err := (Options{}).Entry("web-1", web1, ""); e != nil || err != nil {
		t.Errorf("nothing: %v, %v", e, err)
	}
	good := func() Options {
		return Options{Etcd: []string{"https://a.example.org", "https://[2001:db8::1]:7"}, CA: "/ca.pem", Prefix: "/prod", Labels: map[string]string{"topology/zone": "b"}}
	}
	e := entry(t, good())
	if e.key != "/prod/hosts/web-1" || e.members[0].address != "a.example.org:2379" || e.members[1].address != "[2001:db8::1]:7" || !e.members[1].tls {
		t.Errorf("%+v", e)
	}
	another, elsewhere := good(), good()
	another.Etcd, elsewhere.Etcd = append(another.Etcd[:1], "https://c.example.org"), []string{"https://c.example.org"}
	if !e.same(entry(t, another)) || e.same(entry(t, elsewhere)) || e.same(nil) {
		t.Error("an etcd that gets another member is another one, or the other way round")
	}
	if e.lease("one") == e.lease("two") || e.lease("one") <= 0 {
		t.Error("leases do not tell agents apart")
	}
	for want, change := range map[string]func(*Options){
		"etcd is missing":                   func(o *Options) { o.Etcd = nil },
		"at most 32":                        func(o *Options) { o.Etcd = make([]string, 33) },
		"ca is missing":                     func(o *Options) { o.CA = "" },
		"cert and key":                      func(o *Options) { o.Cert = "x" },
		"user and password_file":            func(o *Options) { o.User = "x" },
		"http is for loopback":              func(o *Options) { o.Etcd[0] = "http://a.example.org" },
		"http://127.0.0.1.example.org:2379": func(o *Options) { o.Etcd[0] = "http://127.0.0.1.example.org" },
		"as https://HOST:PORT":              func(o *Options) { o.Etcd[0] = "a.example.org:2379" },
		"a.example.org: the user":           func(o *Options) { o.Etcd[0] = "https://u:p@a.example.org" },
		"prefix":                            func(o *Options) { o.Prefix = "prod" },
		"address":                           func(o *Options) { o.Address = "web-1" },
		"by itself":                         func(o *Options) { o.Labels["name"] = "x" },
		`"a b" is none`:                     func(o *Options) { o.Labels["a b"] = "x" },
		"role: \"a b\"":                     func(o *Options) { o.Labels["role"] = "a b" },
	} {
		o := good()
		change(&o)
		if e, err := o.Entry("web-1", web1, "192.0.2.1:7443"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want %s", e, err, want)
		}
	}
}

func TestWaits(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: renewEvery, 1: firstRetry, 2: 2 * firstRetry, 5: 16 * firstRetry, 6: ttl, 1000: ttl} {
		if got := waitAfter(failures, 0); got != want {
			t.Errorf("%d failures: %v, want %v", failures, got, want)
		}
		if got := waitAfter(failures, 1); got != want/2 {
			t.Errorf("%d failures, at best: %v, want %v", failures, got, want/2)
		}
	}
}

// What is written here is what etcd's own package reads, and the other way round.
func TestWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, n := rapid.String(), rapid.Int64()
		key, value, lease, revision := text.Draw(t, "key"), text.Draw(t, "value"), n.Draw(t, "lease"), n.Draw(t, "revision")
		want := &etcdserverpb.TxnRequest{
			Compare: []*etcdserverpb.Compare{{
				Target: etcdserverpb.Compare_MOD, Result: etcdserverpb.Compare_EQUAL, Key: []byte(key),
				TargetUnion: &etcdserverpb.Compare_ModRevision{ModRevision: revision},
			}},
			Success: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}}}},
		}
		var got etcdserverpb.TxnRequest
		if err := proto.Unmarshal(putUnchanged(key, value, lease, revision), &got); err != nil {
			t.Fatal(err)
		}
		if got.Compare[0].Key == nil { // an empty text, which is no key
			got.Compare[0].Key, got.Success[0].GetRequestPut().Key = []byte{}, []byte{}
		}
		if !proto.Equal(want, &got) {
			t.Fatalf("%v, want %v", &got, want)
		}
		answer, err := proto.Marshal(&etcdserverpb.RangeResponse{
			Header: &etcdserverpb.ResponseHeader{Revision: n.Draw(t, "now")}, Count: 1, More: true,
			Kvs: []*mvccpb.KeyValue{{Key: []byte(key), Value: []byte(value), Lease: lease, ModRevision: revision, CreateRevision: 7, Version: 9}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := pairOf(answer); err != nil || p != (pair{value, revision, lease}) {
			t.Fatalf("%+v, %v", p, err)
		}
	})
}

// Whatever an etcd answers, the agent lives.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x0a\x02\x08\x01\x12\x04\x28\x01\x30\x02"))
	f.Fuzz(func(_ *testing.T, answer []byte) {
		_, _ = pairOf(answer)
		_, _ = message(answer).numberOf(3)
		_, _ = message(answer).textOf(2)
	})
}
