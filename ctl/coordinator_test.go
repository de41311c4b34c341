//go:build linux

package ctl

import (
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// coordinated is a fleet with an etcd.
type coordinated struct {
	*fleet
	artifact string
	etcd     *harness.Etcd
	client   *etcd.Client // of somebody else
}

func newCoordinated(t *testing.T) coordinated {
	t.Helper()
	e := harness.StartEtcd(t, nil)
	f, artifact := newRolloutFleet(t)
	c, err := etcd.Open(t.Context(), etcd.Place{Endpoints: []string{e.Address}, Prefix: "/gracefleet/"}, etcd.Access{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return coordinated{f, artifact, e, c}
}

func (f coordinated) gracectl(t *testing.T, line string) ran {
	t.Helper()
	return f.fleet.gracectl(t, f.line(line))
}

func (f coordinated) line(line string) string {
	return line + " --hosts web-* --coordinator etcd://" + f.etcd.Address
}

func TestCoordinator(t *testing.T) {
	f := newCoordinated(t)
	r := f.gracectl(t, "upgrade web "+f.artifact+" -m release")
	if r.code != ExitDone {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, claim := range f.claims() {
		if claim.GetEpoch() < 2 { // the first revision of an etcd is 1
			t.Errorf("a host was claimed with the least epoch %d", claim.GetEpoch())
		}
	}
	if left := f.etcd.Ctl("get", "--prefix", "/gracefleet/drivers/"); left != "" {
		t.Errorf("the service was not given up: %s", left)
	}
	r = f.gracectl(t, "rollout list").steady()
	if r.code != ExitDone || !strings.Contains(r.out, "r-ID  web      completed  upgraded 3  TIME  TIME  ") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "rollout list api -o json"); r.code != ExitDone || !strings.Contains(r.out, `"history": []`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.fleet.gracectl(t, "rollout list --hosts web-* -o json"); strings.Contains(r.out, "history") {
		t.Errorf("without a coordinator: %s", r.out)
	}

	// Somebody else has the service, on hosts that these here know nothing of.
	before := len(f.claims())
	hold, err := f.client.Acquire(t.Context(), etcd.Drive{Service: "web", Rollout: "r-far", SpecHash: "other", Actor: "bob\x1b[2J", Driver: "b", Reason: "far away", Since: time.Now()}, false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	r = f.gracectl(t, "restart web")
	if r.code != ExitHeld || !strings.Contains(r.err+r.out, `bob\x1b[2J drives rollout r-far`) || !strings.Contains(r.err+r.out, "far away") || strings.Contains(r.err+r.out, "\x1b") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "restart web -o json"); r.code != ExitHeld || !strings.Contains(r.out, "drives rollout r-far") {
		t.Errorf("as a record: exit %d: %s%s", r.code, r.out, r.err)
	}
	if len(f.claims()) != before {
		t.Error("a host was claimed for a rollout that may not be")
	}
	if err := hold.Release(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if r := f.gracectl(t, "restart web"); r.code != ExitDone {
		t.Errorf("then: exit %d: %s%s", r.code, r.out, r.err)
	}
}

// Who cannot ask begins nothing, unless that is what they say.
func TestCoordinatorIsAway(t *testing.T) {
	f := newCoordinated(t)
	f.etcd.Kill()
	r := f.gracectl(t, "upgrade web "+f.artifact)
	if r.code != ExitError || !strings.Contains(r.err, "coordinator: etcd "+f.etcd.Address) || !strings.Contains(r.err, "nothing was begun; with --no-coordinator") || len(f.claims()) != 0 {
		t.Errorf("exit %d, %d claims: %s", r.code, len(f.claims()), r.err)
	}
	if r := f.gracectl(t, "rollout list"); r.code != ExitError || !strings.Contains(r.out, "ROLLOUT") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	env := map[string]string{"GRACECTL_INVENTORY": f.file, "GRACECTL_COORDINATOR": "etcd://" + f.etcd.Address}
	if r := gracectl(t, t.Context(), env, "restart", "web", "--hosts", "web-*"); r.code != ExitError || len(f.claims()) != 0 {
		t.Errorf("by the environment: exit %d: %s", r.code, r.err)
	}
	if r := gracectl(t, t.Context(), env, "restart", "web", "--hosts", "web-*", "--no-coordinator"); r.code != ExitDone || len(f.claims()) == 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	home, _ := configured(t, "current: prod\ncontexts: {prod: {inventory: "+f.file+", coordinator: \"etcd://"+f.etcd.Address+"\"}}")
	before := len(f.claims())
	r = gracectl(t, t.Context(), map[string]string{"XDG_CONFIG_HOME": home}, "restart", "web", "--hosts", "web-*")
	if r.code != ExitError || !strings.Contains(r.err, "coordinator: etcd "+f.etcd.Address) || len(f.claims()) != before {
		t.Errorf("by a context: exit %d: %s", r.code, r.err)
	}
	secured, _ := configured(t, "current: prod\ncontexts: {prod: {inventory: "+f.file+", coordinator: etcds://localhost, etcd_ca: absent.pem}}")
	if r := gracectl(t, t.Context(), map[string]string{"XDG_CONFIG_HOME": secured}, "restart", "web", "--hosts", "web-*"); r.code != ExitError || !strings.Contains(r.err, "absent.pem") {
		t.Errorf("without its CA: exit %d: %s", r.code, r.err)
	}
	for args, want := range map[string]string{
		"--no-coordinator --coordinator etcd://localhost": "say one of them",
		"--coordinator etcd://db.example.org":             "etcds:// for db.example.org",
		"--coordinator db":                                "want etcds://",
	} {
		if r := f.fleet.gracectl(t, "upgrade web "+f.artifact+" --hosts web-* "+args); r.code != ExitUsage || !strings.Contains(r.err, want) {
			t.Errorf("%s: exit %d: %s", args, r.code, r.err)
		}
	}
}

// A rollout that has begun ends, whatever becomes of its coordinator.
func TestCoordinatorDiesMeanwhile(t *testing.T) {
	f := newCoordinated(t)
	r := f.when(t, t.Context(), f.line("upgrade web "+f.artifact+" --waves 1,3 --pause 15s"), "wave 1 of 2", f.etcd.Kill)
	if r.code != ExitDone || !strings.Contains(r.err, "the rollout goes on without it") || !strings.Contains(r.err, "may be missing in its history") || !strings.Contains(r.out, "upgraded 3") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// The driver has died; the hosts know that, and etcd will in a moment.
func TestResumeWaitsForTheCoordinator(t *testing.T) {
	f := newCoordinated(t)
	if r := f.until(t, "is through", f.line("upgrade web "+f.artifact+" --waves 1,3 --pause manual")); r.code != ExitDetached {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, a := range f.agents {
		a.rollouts.lapse()
	}
	id := f.agents["web-1"].rollouts.id(t)
	dead, err := f.client.Acquire(t.Context(), etcd.Drive{Service: "web", Rollout: id, Driver: "dead", Since: time.Now()}, false, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	r := f.when(t, t.Context(), f.line("rollout promote "+id), "is gone: the coordinator will know within", func() {
		if err := dead.Release(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
	if r.code != ExitDone || !strings.Contains(r.out, "upgraded 3") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if value := f.etcd.Ctl("get", "--print-value-only", "/gracefleet/rollouts/web/"+id); !strings.Contains(value, `"completed"`) {
		t.Errorf("the history has %s", value)
	}
}
