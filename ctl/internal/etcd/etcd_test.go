//go:build linux

package etcd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// TestMain is also the driver that a test below kills.
func TestMain(m *testing.M) {
	if at := os.Getenv("ETCD_TEST_DRIVER"); at != "" {
		driveUntilKilled(at)
	}
	goleak.VerifyTestMain(m)
}

// shortTTL is about the shortest that an etcd grants.
const shortTTL = 3 * time.Second

func open(t *testing.T, e *harness.Etcd) *Client {
	t.Helper()
	p, a := Place{Endpoints: []string{e.Address}, Prefix: defaultPrefix}, Access{}
	if e.Files.CA != "" {
		p.TLS, a = true, Access{CAFile: e.Files.CA, CertFile: e.Files.Cert, KeyFile: e.Files.Key}
	}
	return openWith(t, p, a)
}

func openWith(t *testing.T, p Place, a Access) *Client {
	t.Helper()
	c, err := Open(t.Context(), p, a)
	if err != nil {
		t.Fatal(err)
	}
	c.ttl = shortTTL
	t.Cleanup(func() { c.Close() })
	return c
}

func drive(rollout, driver string) Drive {
	return Drive{Service: "web", Rollout: rollout, SpecHash: "h" + rollout, Actor: "actor of " + driver, Driver: driver, Reason: "because", Since: time.Unix(1e9, 0)}
}

// silent is for those to whom nothing may be told.
func silent(t *testing.T) func(string) {
	return func(text string) { t.Errorf("told: %s", text) }
}

// heard collects what is told.
type heard chan string

func (h heard) await(t *testing.T, want string) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	select {
	case text := <-h:
		if !strings.Contains(text, want) {
			t.Fatalf("told %q, want %q", text, want)
		}
	case <-limit.C:
		t.Fatalf("nothing was told, want %q", want)
	}
}

func listening() heard { return make(heard, 100) }

func (h heard) tell(text string) { h <- text }

func TestTwoContenders(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	a, b := open(t, e), open(t, e)
	var last int64
	for round := range 50 {
		holds, errs := make([]*Hold, 2), make([]error, 2)
		var both sync.WaitGroup
		for i, c := range []*Client{a, b} {
			both.Go(func() {
				// Disjoint hosts or not: nobody asks.
				holds[i], errs[i] = c.Acquire(t.Context(), drive(fmt.Sprintf("r%d-%d", round, i), fmt.Sprint(i)), false, silent(t))
			})
		}
		both.Wait()
		winner, loser := 0, 1
		if errs[0] != nil {
			winner, loser = 1, 0
		}
		var held *HeldError
		if errs[winner] != nil || !errors.As(errs[loser], &held) {
			t.Fatalf("round %d: %v", round, errs)
		}
		if want := fmt.Sprintf("actor of %d drives rollout r%d-%d since 2001-09-09T01:46:40Z (\"because\")", winner, round, winner); !strings.Contains(held.Error(), want) {
			t.Fatalf("the loser is told %v, want %s", held, want)
		}
		if epoch := holds[winner].Epoch(); epoch <= last {
			t.Fatalf("epoch %d after %d", epoch, last)
		}
		last = holds[winner].Epoch()
		if err := holds[winner].Release(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// driveUntilKilled says its epoch when it has the service.
func driveUntilKilled(at string) {
	c, err := Open(context.Background(), Place{Endpoints: []string{at}, Prefix: defaultPrefix}, Access{})
	if err == nil {
		c.ttl = shortTTL
		var h *Hold
		if h, err = c.Acquire(context.Background(), drive("r1", "killed"), false, func(string) {}); err == nil {
			fmt.Println(h.Epoch())
			select {}
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestDriverIsKilled(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	c := open(t, e)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ETCD_TEST_DRIVER="+e.Address)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var epoch int64
	if _, err := fmt.Fscan(out, &epoch); err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	for range 2 { // it is kept alive for longer than a lease
		if _, err := c.Acquire(t.Context(), drive("r1", "next"), false, silent(t)); !errors.As(err, &held) || held.By.Driver != "killed" {
			t.Fatalf("while it lives: %v", err)
		}
		time.Sleep(shortTTL)
	}
	cmd.Process.Kill()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		// Of the same rollout or another: it is nobody's.
		h, err := c.Acquire(t.Context(), drive("r2", "next"), false, silent(t))
		if err == nil {
			if h.Epoch() <= epoch {
				t.Errorf("epoch %d after %d", h.Epoch(), epoch)
			}
			h.Release(t.Context(), nil)
			return
		}
		if !errors.As(err, &held) || time.Now().After(limit) {
			t.Fatal(err)
		}
	}
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	a, b := open(t, e), open(t, e)
	told := listening()
	first, err := a.Acquire(t.Context(), drive("r1", "a"), false, told.tell)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := b.Acquire(t.Context(), drive("r1", "b"), false, silent(t)); !errors.As(err, &held) {
		t.Fatalf("the same rollout, not to take it over: %v", err)
	}
	if _, err := b.Acquire(t.Context(), drive("r2", "b"), true, silent(t)); !errors.As(err, &held) {
		t.Fatalf("another rollout: %v", err)
	}
	unsaid := drive("r1", "b")
	unsaid.Reason = ""
	if _, err := b.Acquire(t.Context(), unsaid, true, silent(t)); err == nil || errors.As(err, &held) {
		t.Fatalf("without a reason: %v", err)
	}
	second, err := b.Acquire(t.Context(), drive("r1", "b"), true, silent(t))
	if err != nil || second.Epoch() <= first.Epoch() {
		t.Fatalf("%v, epoch %d after %d", err, second.Epoch(), first.Epoch())
	}
	told.await(t, "actor of b drives rollout r1")
	if err := first.Release(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Acquire(t.Context(), drive("r3", "a"), false, silent(t)); !errors.As(err, &held) {
		t.Fatalf("the driver of before gave up what is another's: %v", err)
	}
	if err := second.Release(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	third, err := a.Acquire(t.Context(), drive("r3", "a"), false, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	third.Release(t.Context(), nil)
}

// A rollout hears that etcd is away, and goes on. When it is back, the service is this
// rollout's again, though the lease may have ended.
func TestOutage(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	a, b := open(t, e), open(t, e)
	told := listening()
	h, err := a.Acquire(t.Context(), drive("r1", "a"), false, told.tell)
	if err != nil {
		t.Fatal(err)
	}
	for name, outage := range map[string][2]func(){"hangs": {e.Stop, e.Continue}, "is killed": {e.Kill, e.Start}} {
		outage[0]()
		told.await(t, "the rollout goes on without it")
		if _, err := b.Acquire(t.Context(), drive("r2", "b"), false, silent(t)); err == nil || !strings.Contains(err.Error(), "etcd "+e.Address) {
			t.Errorf("etcd %s: %v", name, err)
		}
		outage[1]()
		told.await(t, "etcd answers again")
		var held *HeldError
		if _, err := b.Acquire(t.Context(), drive("r2", "b"), false, silent(t)); !errors.As(err, &held) || held.By.Driver != "a" {
			t.Errorf("etcd %s: then it is not the driver's: %v", name, err)
		}
	}
	e.Ctl("del", "/gracefleet/drivers/web") // as by hand, or by an etcd that has forgotten
	for limit := time.Now().Add(20 * time.Second); e.Ctl("get", "/gracefleet/drivers/web") == ""; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("what was deleted did not come back")
		}
	}
	if err := h.Release(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if out := e.Ctl("get", "--prefix", "/gracefleet/"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

// However long etcd was away, who asks it when it is back gets its answer.
func TestBackAtOnce(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	c := open(t, e)
	e.Kill()
	for away := time.Now().Add(6 * time.Second); time.Now().Before(away); {
		if _, err := c.get(t.Context(), "/gracefleet/none"); err == nil || !strings.Contains(err.Error(), "etcd "+e.Address) {
			t.Fatalf("away: %v", err)
		}
	}
	e.Start()
	if _, err := c.get(t.Context(), "/gracefleet/none"); err != nil {
		t.Errorf("back: %v", err)
	}
}

// Somebody else may get the service while etcd has lost sight of its driver. That one
// is told, and does not take it back.
func TestLostMeanwhile(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	a, b := open(t, e), open(t, e)
	told := listening()
	h, err := a.Acquire(t.Context(), drive("r1", "a"), false, told.tell)
	if err != nil {
		t.Fatal(err)
	}
	var other *Hold
	for other == nil {
		e.Ctl("del", "/gracefleet/drivers/web")
		if other, err = b.Acquire(t.Context(), drive("r2", "b"), false, silent(t)); err != nil && !errors.As(err, new(*HeldError)) {
			t.Fatal(err)
		}
	}
	told.await(t, "service web: actor of b drives rollout r2")
	if err := h.Release(t.Context(), &Record{Service: "web", Rollout: "r1"}); err != nil {
		t.Error(err)
	}
	if value := e.Ctl("get", "--print-value-only", "/gracefleet/drivers/web"); !strings.Contains(value, `"r2"`) {
		t.Errorf("the driver of before has changed it: %s", value)
	}
	if err := other.Release(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	c := open(t, e)
	at := time.Unix(1e9, 0).UTC()
	for i := range keptRollouts + 3 {
		r := Record{
			Service: "web", Rollout: fmt.Sprintf("r%d", i), SpecHash: "h", Actor: "alice", Reason: "new", Begun: at, Ended: at.Add(time.Duration(i) * time.Second),
			Ending: "done", Hosts: map[string]int{"upgraded": i, "failed": 1},
		}
		if err := c.write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	h, err := c.Acquire(t.Context(), Drive{Service: "api", Rollout: "r0", Driver: "a"}, false, silent(t))
	if err == nil {
		err = h.Release(t.Context(), &Record{Service: "api", Rollout: "r0", Ending: "done", Ended: at.Add(time.Hour)})
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.History(t.Context(), "web")
	if err != nil || len(all) != keptRollouts {
		t.Fatalf("%d, %v", len(all), err)
	}
	if first, last := all[0], all[len(all)-1]; first.Rollout != "r102" || last.Rollout != "r3" || first.Hosts["upgraded"] != 102 || first.Actor != "alice" || !first.Begun.Equal(at) {
		t.Errorf("from %+v to %+v", first, last)
	}
	e.Ctl("put", "/gracefleet/rollouts/web/r50", "{")
	e.Ctl("put", "/gracefleet/rollouts/web/r51", `{"service": "api", "rollout": "r51"}`)
	all, err = c.History(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "/gracefleet/rollouts/web/r50 is damaged") || !strings.Contains(err.Error(), "r51 is damaged") {
		t.Errorf("%v", err)
	}
	if len(all) != keptRollouts-1 || all[0].Service != "api" {
		t.Errorf("%d, the first %+v", len(all), all[0])
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t, nil)
	c := open(t, e)
	const count = 2*pageKeys + 7
	for i := range count {
		if _, err := c.etcd.Put(t.Context(), fmt.Sprintf("/gracefleet/hosts/web-%04d", i), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	e.Ctl("put", "/gracefleet/hostsX/y", "another's")
	hosts, err := c.Hosts(t.Context(), count, 1<<20)
	if err != nil || len(hosts) != count {
		t.Fatalf("%d, %v", len(hosts), err)
	}
	if last := hosts[count-1]; last.Name != "web-1006" || last.Key != "/gracefleet/hosts/web-1006" || string(last.Value) != "1006" {
		t.Errorf("%+v", last)
	}
	for _, limits := range [][2]int{{count - 1, 1 << 20}, {count, 100}} {
		if _, err := c.Hosts(t.Context(), limits[0], limits[1]); err == nil || !strings.Contains(err.Error(), "below /gracefleet/hosts/") {
			t.Errorf("%v: %v", limits, err)
		}
	}
}

// Certificates and passwords count, and what is missing is named.
func TestAccess(t *testing.T) {
	t.Parallel()
	ca := certstest.NewCA(t)
	e := harness.StartEtcd(t, ca)
	p := Place{Endpoints: []string{e.Address}, TLS: true, Prefix: defaultPrefix}
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Without a name in it that an etcd takes for its user.
	own := ca.ClientFiles("operator", "alice", func(c *x509.Certificate) { c.Subject.CommonName = "" })
	proved := Access{CAFile: own.CA, CertFile: own.Cert, KeyFile: own.Key}
	if hosts, err := openWith(t, p, proved).Hosts(t.Context(), 1, 1); err != nil || len(hosts) != 0 {
		t.Fatal(err)
	}
	e.EnableAuth("secret", defaultPrefix)
	named := proved
	named.User, named.PasswordFile = "gracefleet", file("secret\nnot this")
	c := openWith(t, p, named)
	if h, err := c.Acquire(t.Context(), drive("r1", "a"), false, silent(t)); err != nil {
		t.Error(err)
	} else if err := h.Release(t.Context(), &Record{Service: "web", Rollout: "r1"}); err != nil {
		t.Error(err)
	}
	other := named
	other.PasswordFile = file("guessed")
	elsewhere := p
	elsewhere.Prefix = "/elsewhere/"
	stranger := named
	stranger.CAFile = certstest.NewCA(t).File()
	unproved := named
	unproved.CertFile, unproved.KeyFile = "", ""
	for name, row := range map[string]struct {
		place  Place
		access Access
		want   string
	}{
		"nobody":               {p, proved, envUser},
		"a wrong password":     {p, other, "does not know that user"},
		"another's keys":       {elsewhere, named, "may not use keys below /elsewhere/"},
		"another CA":           {p, stranger, "certificate signed by unknown authority"},
		"no certificate":       {p, unproved, "etcd 127.0.0.1"}, // the end of a handshake comes as what it likes
		"no CA":                {p, Access{}, envCA + " is missing"},
		"half a pair":          {p, Access{CAFile: own.CA, CertFile: own.Cert}, "one is missing"},
		"half an account":      {p, Access{CAFile: own.CA, User: "gracefleet"}, "one is missing"},
		"an empty password":    {p, Access{CAFile: own.CA, User: "gracefleet", PasswordFile: file("")}, "is empty"},
		"a CA without TLS":     {Place{Endpoints: []string{e.Address}, Prefix: defaultPrefix}, proved, "are for etcds://"},
		"a CA that is none":    {p, Access{CAFile: named.PasswordFile}, "no certificate in PEM form"},
		"files that are away":  {p, Access{CAFile: own.CA, CertFile: "/nonexistent", KeyFile: "/nonexistent"}, "/nonexistent"},
		"an etcd that is away": {Place{Endpoints: []string{"127.0.0.1:1"}, Prefix: defaultPrefix}, Access{}, "connection refused"},
	} {
		c, err := Open(t.Context(), row.place, row.access)
		if err == nil {
			_, err = c.Hosts(t.Context(), 1, 1)
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", name, err, row.want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "guessed")) {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	for text, want := range map[string]string{
		"etcd://127.0.0.1":                   "etcd://127.0.0.1:2379/gracefleet/",
		"etcd://localhost:1/":                "etcd://localhost:1/gracefleet/",
		"etcd://[::1]:2379/x/y/":             "etcd://[::1]:2379/x/y/",
		"etcds://[2001:db8::1]/x":            "etcds://[2001:db8::1]:2379/x/",
		"etcds://a.example.org,b:7/prod":     "etcds://a.example.org:2379,b:7/prod/",
		"etcds://a.example.org:2379,b:02379": "etcds://a.example.org:2379,b:2379/gracefleet/",
	} {
		p, err := ParsePlace(text)
		if err != nil || p.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, p, err, want)
		}
		if again, err := ParsePlace(want); err != nil || again.String() != want {
			t.Errorf("%s: %v, %v", want, again, err)
		}
	}
	for text, want := range map[string]string{
		"":                           "want etcds://",
		"http://a":                   "want etcds://",
		"etcd://":                    "not HOST",
		"etcds://":                   "not HOST",
		"etcds://a,,b":               "not HOST",
		"etcds://a:0":                "port",
		"etcds://a:65536":            "port",
		"etcds://a//b":               "prefix",
		"etcds://a/b?c":              "prefix",
		"etcd://a.example.org":       "etcds:// for a.example.org",
		"etcd://localhost,192.0.2.1": "etcds:// for 192.0.2.1",
		"etcd://localhost.example":   "etcds:// for",
		"etcds://u:geheim@a":         envPasswordFile,
		"etcds://" + strings.Repeat("a,", maxEndpoints) + "a": "at most 32",
	} {
		_, err := ParsePlace(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	f.Add("etcds://a.example.org:2379,[::1]:7/x/y/")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlace(text)
		if err != nil {
			return
		}
		again, err := ParsePlace(p.String())
		if err != nil || again.String() != p.String() || !strings.HasSuffix(p.Prefix, "/") {
			t.Errorf("%q is %v, and that is %v, %v", text, p, again, err)
		}
	})
}
