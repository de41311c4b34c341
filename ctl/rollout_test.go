package ctl

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// steady replaces what differs from run to run.
func (r ran) steady() ran {
	for _, one := range [][2]string{
		{`r-[0-9a-f]{12}`, "r-ID"},
		{`\b([0-9]+[hm])*[0-9.]+(ms|s|m|h)\b`, "TIME"},
		{`TIME {2,}`, "TIME  "}, // a column is as wide as they were
		{`sha256:[0-9a-f]{64}`, "sha256:DIGEST"},
	} {
		form := regexp.MustCompile(one[0])
		r.out, r.err = form.ReplaceAllString(r.out, one[1]), form.ReplaceAllString(r.err, one[1])
	}
	return r
}

// newRolloutFleet is a fleet whose hosts have a history.
func newRolloutFleet(t *testing.T) (f *fleet, artifact string) {
	t.Helper()
	f = newFleet(t)
	ended := &pb.Generation{Number: 6, State: pb.Generation_STATE_STOPPED, EndTime: at(30)}
	past := &pb.Upgrade{FromGeneration: 6, ToGeneration: 7, State: pb.Upgrade_STATE_SUCCEEDED, EndTime: at(0)}
	f.on(&pb.ListGenerationsRequest{}, &pb.ListGenerationsResponse{Generations: []*pb.Generation{ended}})
	f.on(&pb.ListUpgradesRequest{}, &pb.ListUpgradesResponse{Upgrades: []*pb.Upgrade{past}})
	f.on(&pb.StartUpgradeRequest{}, &pb.StartUpgradeResponse{})
	f.on(&pb.RollbackServiceRequest{}, &pb.RollbackServiceResponse{})
	return f, f.withFile(t, "web-v2", "program")
}

// results are the outcomes of the last record, by host, and its exit code.
func results(t *testing.T, r ran) (int, map[string]string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var last struct {
		Type     string
		ExitCode int
		Hosts    []struct{ Host, Outcome string }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Type != "result" {
		t.Fatalf("%v: last line %s", err, lines[len(lines)-1])
	}
	outcomes := map[string]string{}
	for _, h := range last.Hosts {
		outcomes[h.Host] = h.Outcome
	}
	return last.ExitCode, outcomes
}

// id is the id of the only rollout that an agent knows.
func (h *rolloutHost) id(t *testing.T) string {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.claims) == 0 {
		t.Fatal("no rollout came here")
	}
	return h.claims[0].report.GetRolloutId()
}

func TestRolloutTellsEveryChange(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --waves 1,2,100% -m release").steady()
	if r.code != ExitDone {
		t.Errorf("exit %d", r.code)
	}
	golden(t, "rollout.out", r.out)
	golden(t, "rollout.err", r.err)
	for name, a := range f.agents {
		claims := asked[*pb.ClaimRolloutRequest](a)
		if len(claims) == 0 || claims[0].GetReason() != "release" || claims[0].GetChange().GetArtifact() == "" {
			t.Errorf("%s was asked %v", name, claims)
		}
	}
	golden(t, "rollout-status.txt", f.gracectl(t, "rollout status web").steady().out)
	if r := f.gracectl(t, "rollout list").steady(); r.code != ExitUnreachable || !strings.Contains(r.out, "r-ID  web      completed  upgraded 3  TIME  alice  release") || !strings.Contains(r.err, "gone: no agent listens at ") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "rollout watch web"); r.code != ExitDone || !strings.Contains(r.out, "completed: of 3 hosts upgraded 3") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "rollout abort web"); r.code != ExitError || !strings.Contains(r.err, "is over, completed: gracectl rollback web --rollout r-") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestRolloutRecords(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	f.agents["web-3"].rollouts.fails = "no such port"
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --waves 1,2,3 -o json")
	code, outcomes := results(t, r)
	if r.code != ExitRolledBack || code != r.code || outcomes["web-1"] != "rolled-back" || outcomes["web-2"] != "rolled-back" || outcomes["web-3"] != "failed" || len(outcomes) != 3 {
		t.Errorf("exit %d, %d: %v\n%s", r.code, code, outcomes, r.err)
	}
	types := map[string]int{}
	for line := range strings.SplitSeq(strings.TrimSpace(r.out), "\n") {
		var m struct{ Type, Time, Host *string }
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Type == nil || m.Time == nil || m.Host == nil {
			t.Fatalf("%v: %s", err, line)
		}
		types[*m.Type]++
	}
	if types["host"] < 6 || types["rollout"] < 4 || types["result"] != 1 {
		t.Errorf("records %v", types)
	}
}

func TestFailedRollout(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	f.agents["web-2"].rollouts.fails = "no such port"
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --waves 1,2,3").steady()
	if r.code != ExitRolledBack {
		t.Errorf("exit %d", r.code)
	}
	golden(t, "rollout-failed.out", r.out)
	r = f.gracectl(t, "status web --hosts @failed:"+f.agents["web-1"].rollouts.id(t))
	if r.code != ExitDone || !strings.Contains(r.out, "web-2") || strings.Contains(r.out, "web-1") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "status web --hosts @not-started:web"); r.code != ExitDone || !strings.Contains(r.out, "web-3") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "status web --hosts @upgraded:web"); r.code != ExitUsage || !strings.Contains(r.err, "has no such host") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "status web --hosts @failed:r-none"); r.code != ExitUsage || !strings.Contains(r.err, "no host that answers knows a rollout r-none; of 4 hosts 1 did not answer") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestDryRunOfRollout(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	f.agents["web-3"].on(&pb.StartUpgradeRequest{}, &pb.StartUpgradeResponse{Unchanged: true})
	r := f.gracectl(t, "upgrade web "+artifact+" --all --canary web-2 --max-unreachable 1 --dry-run").steady()
	if r.code != ExitWouldChange {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	golden(t, "rollout-plan.txt", r.out)
	if r := f.gracectl(t, "upgrade web --hosts web-3 --waves 1 --dry-run"); r.code != ExitDone || !strings.Contains(r.out, "would change nothing") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for name, a := range f.agents {
		if len(asked[*pb.ClaimRolloutRequest](a)) > 0 || len(asked[*pb.UploadHeader](a)) > 0 {
			t.Errorf("%s was asked %v", name, a.requests)
		}
	}
}

func TestRestartAndRollbackInWaves(t *testing.T) {
	f, _ := newRolloutFleet(t)
	for line, kind := range map[string]pb.RolloutChange_Kind{
		"restart web --hosts web-*":                                 pb.RolloutChange_KIND_RESTART,
		"rollback web --to v2.3 --hosts web-*":                      pb.RolloutChange_KIND_ROLLBACK,
		"rollback web --to " + digest7 + " --hosts web-* --waves 1": pb.RolloutChange_KIND_ROLLBACK,
	} {
		r := f.gracectl(t, line)
		claims := asked[*pb.ClaimRolloutRequest](f.agents["web-2"])
		if r.code != ExitDone || claims[len(claims)-1].GetChange().GetKind() != kind {
			t.Errorf("%s: exit %d: %s%s", line, r.code, r.out, r.err)
		}
	}
}

func TestMisuseOfRollouts(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	for line, want := range map[string]string{
		"upgrade web --hosts web-* --waves 5,2":                       "so they must rise",
		"upgrade web --hosts web-* --canary zone=q":                   "--canary zone=q: no host fits zone=q",
		"upgrade web --hosts web-* --max-failures x":                  "--max-failures: \"x\" is not an amount",
		"upgrade web --hosts web-* --wait drained":                    "--wait drained is for one host",
		"upgrade web --hosts web-* --force-oldest":                    "--force-oldest is for one host",
		"upgrade web --hosts web-* --break-glass -m x":                "--break-glass is for one host at a time",
		"upgrade web --hosts web-* --spread rack":                     "no such label",
		"upgrade web --hosts web-* --check-promql up":                 "want the server's URL, a blank and a query",
		"upgrade web --hosts web-* --check-http ftp://x":              "want http:// or https://",
		"upgrade web --hosts web-* --notify nowhere":                  "--notify: want an http:// or https:// URL",
		"upgrade web --agent unix:/x --waves 1":                       "--waves is for the hosts of an inventory",
		"rollback web --hosts web-* --to 7":                           "each host numbers its own generations",
		"rollback web --hosts web-* --back 2":                         "each host has a history of its own",
		"rollback web --hosts web-*":                                  "to what? --to sha256:HEX, --to VERSION, or --rollout ID",
		"rollback web --rollout r-1 --to v1":                          "--rollout says all",
		"upgrade web --hosts web-* --check-http http://a:b@x/":        "has a user or password in it: every host would store it",
		"rollout resume --take-over":                                  "--take-over goes with a reason",
		"rollout":                                                     "say what: rollout list",
		"logs web --hosts web-*":                                      "this command takes one host",
		"upgrade web " + artifact + " --hosts web-* --artifact other": "the artifact is given twice",
	} {
		r := f.gracectl(t, line)
		if r.code != ExitUsage || !strings.Contains(r.err, want) || r.out != "" {
			t.Errorf("%s: exit %d: %s%s; want %s", line, r.code, r.out, r.err, want)
		}
	}
	for name, a := range f.agents {
		if len(a.requests) > 0 {
			t.Errorf("%s was asked %v", name, a.requests)
		}
	}
}

// A rollout whose driver is gone is gone on with by the same command, by a resume
// elsewhere, and undone.
func TestAnotherGoesOn(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	command := "upgrade web " + artifact + " --hosts web-* --waves 1,3 --pause manual -m release"
	if r := f.until(t, "is through", command); r.code != ExitDetached || !strings.Contains(r.err, "next: gracectl rollout resume r-") {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	id := f.agents["web-1"].rollouts.id(t)
	if r := f.gracectl(t, "upgrade web "+f.withFile(t, "other", "other")+" --hosts web-*"); r.code != ExitHeld || !strings.Contains(r.err, "rollout "+id+" of alice since ") || !strings.Contains(r.err, ": release\nnext: gracectl rollout status "+id) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	f.lease()
	if r := f.meanwhile(t, "rollout pause -m wait", f.lapse); r.code != ExitDone || !strings.Contains(r.out, "nobody drives it, so nothing begins anyway") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.until(t, "nobody drives "+id+": this command does from now on", command); r.code != ExitDetached || !strings.Contains(r.err, "attached to it") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	f.lease()
	if r := f.gracectl(t, "rollout resume --dry-run -o json"); r.code != ExitWouldChange || !strings.Contains(r.out, `"outcome":"would-change","id":"`+id) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.until(t, "waiting until its driver hears it", "rollout abort"); r.code != ExitDetached || !strings.Contains(r.out, "the word is on 3 hosts, and whether a driver hears it is not known") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.meanwhile(t, "rollout pause -m wait", f.renew); r.code != ExitDone || !strings.Contains(r.out, "paused: hosts in flight finish, nothing more begins; its driver has heard it") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	// A word to a driver that has died, and has its lease still, is not lost.
	if r := f.meanwhile(t, "rollout abort -m 'wrong' -o json", f.lapse); r.code != ExitDone {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	} else if _, outcomes := results(t, r); outcomes["web-1"] != "rolled-back" || len(outcomes) != 3 {
		t.Errorf("%v", outcomes)
	}
}

func TestUndoOfARollout(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	if r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-*"); r.code != ExitDone {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	id := f.agents["web-1"].rollouts.id(t)
	if r := f.gracectl(t, "rollback web --rollout "+id[:6]+" --dry-run"); r.code != ExitWouldChange || !strings.Contains(r.out, "web-2: would return to generation 7") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "rollback api --rollout "+id); r.code != ExitUsage {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	r := f.gracectl(t, "rollback web --rollout "+id+" -m slow")
	if r.code != ExitDone || strings.Count(r.out, "rolled-back") != 4 || !strings.Contains(r.out, "why: rolled back by "+actor()+": slow\n") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "rollout abort "+id); r.code != ExitError || !strings.Contains(r.err, "is over, undone: gracectl rollout status "+id) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestInterruptDetachesFromARollout(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	for _, a := range f.agents {
		a.rollouts.slow = make(chan struct{})
	}
	r := f.until(t, "wave 1 of 1", "upgrade web "+artifact+" --hosts web-*")
	if r.code != ExitDetached || !strings.Contains(r.err, "interrupted: hosts in flight finish by themselves") || !strings.Contains(r.err, "next: gracectl rollout resume r-") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// Who is told of a rollout cannot hold it up.
func TestNotify(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	var mu sync.Mutex
	var events []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			Event, Rollout, Service, Outcome string
			Hosts                            map[string]int
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &m); err != nil || m.Service != "web" || m.Rollout == "" {
			t.Errorf("%v: %s", err, body)
		}
		mu.Lock()
		events = append(events, strings.TrimSpace(m.Event+" "+m.Outcome))
		mu.Unlock()
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --waves 1,3 --notify "+server.URL+" --notify "+server.URL+"/bad --notify http://127.0.0.1:1/?secret")
	if r.code != ExitDone || !strings.Contains(r.err, "was not told: it answered 418") || !strings.Contains(r.err, "127.0.0.1:1 was not told: dial tcp") || strings.Contains(r.err, "secret") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	want := []string{"begin", "wave", "wave", "end succeeded"}
	var twice []string
	for _, e := range want {
		twice = append(twice, e, e)
	}
	if !slices.Equal(events, twice) {
		t.Errorf("told %v, want %v", events, twice)
	}
}

// {address} of a check is where a host is, without its agent's port.
func TestChecksAskHostsWhereTheyAre(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	ca := certstest.NewCA(t)
	host := f.agents["web-1"]
	host.rollouts.soaks = true
	port := host.overTLS(t, ca, ca.Agent("web-1").Pair(t))
	f.withFile(t, "fleet.yaml", `hosts: [{name: web-1, address: "127.0.0.1:`+port+`", agent_id: spiffe://example.org/gracefleet/agent/web-1}]`)
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	defer server.Close()
	check := strings.Replace(server.URL, "127.0.0.1", "{address}", 1) + "/{host}"
	files := ca.ClientFiles("operator", "alice")
	r := f.gracectl(t, "upgrade web "+artifact+" --all --waves 1 --check-http "+check+" --tls-cert "+files.Cert+" --tls-key "+files.Key+" --tls-ca "+files.CA)
	if r.code != ExitDone || len(asked) != 1 || <-asked != "/web-1" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// Who limits the hosts asks the same one first, so that of two operators one wins.
func TestLimitedRolloutsMeet(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --limit web-2,web-3")
	claims := asked[*pb.ClaimRolloutRequest](f.agents["web-1"])
	if r.code != ExitDone || len(claims) == 0 || claims[0].GetChange() != nil || strings.Contains(r.out, "web-1") {
		t.Errorf("exit %d: %v\n%s%s", r.code, claims, r.out, r.err)
	}
}

// Another machine goes on with the file, as a program and with what travels with it.
func TestResumeWithTheFiles(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	file := f.withFile(t, "web.yaml", "name: web\nartifact: ./web-v2\nfiles: {conf: ./conf}\n")
	f.withFile(t, "conf", "port 80")
	for _, a := range f.agents {
		a.rollouts.slow = make(chan struct{})
	}
	if r := f.until(t, "web-1: upgrading", "upgrade -f "+file+" --hosts web-* --waves 1,3"); r.code != ExitDetached {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	digest, _, _ := hash(strings.NewReader("program"))
	for _, a := range f.agents {
		a.mu.Lock()
		clear(a.stored)
		a.mu.Unlock()
		a.rollouts.lapse()
		a.rollouts.mu.Lock()
		a.rollouts.slow = nil
		a.rollouts.again(pb.RolloutReport_PROGRESS_CLAIMED)
		a.rollouts.mu.Unlock()
	}
	if r := f.gracectl(t, "rollout resume web "+artifact); r.code != ExitDone {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for name, a := range f.agents {
		if string(a.stored[digest]) != "program" {
			t.Errorf("%s has %q", name, a.stored[digest])
		}
		for _, h := range asked[*pb.UploadHeader](a) {
			if h.GetDigest() == digest && h.GetData() {
				t.Errorf("%s got the program as a file: %v", name, h)
			}
		}
	}
}

// What a host lacks and nobody here has is an error of that host.
func TestResumeWithoutTheFile(t *testing.T) {
	f, _ := newRolloutFleet(t)
	r := f.gracectl(t, "upgrade web "+digest8+" --hosts web-*")
	if r.code != ExitError || !strings.Contains(r.out, digest8+" is not on this machine: give the file, as in gracectl rollout resume r-") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// What a host refuses is told in its words.
func TestARefusedUpload(t *testing.T) {
	f, artifact := newRolloutFleet(t)
	for _, a := range f.agents {
		a.breakAt, a.breakWith = 1, status.Error(codes.InvalidArgument, "web-v2: not an executable")
	}
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-*")
	if r.code != ExitError || !strings.Contains(r.out, "/web-v2: web-v2: not an executable (ARTIFACT_UNAVAILABLE)") || strings.Contains(r.out, "rpc error") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	f.agents["web-1"].breakAt = 1
	r = f.gracectl(t, "push "+f.withFile(t, "other", "other")+" --hosts web-1")
	if r.code != ExitError || !strings.Contains(r.err, "/other: web-v2: not an executable") || strings.Contains(r.err, "pushed other") || strings.Contains(r.err, "rpc error") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if code, outcomes := results(t, f.gracectl(t, "upgrade web ./nowhere --hosts web-* -o json")); code != ExitError || len(outcomes) > 0 {
		t.Errorf("exit %d: %v", code, outcomes)
	}
}

// Hosts get their own texts, and those that are alike one release.
func TestReleasesOfHosts(t *testing.T) {
	f, _ := newRolloutFleet(t)
	file := f.withFile(t, "web.yaml", "name: web\nartifact: ./web-v2\nenv: {ZONE: \"{host.labels.zone}\"}\n")
	if r := f.gracectl(t, "upgrade -f "+file+" --hosts web-*"); r.code != ExitDone {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for name, zone := range map[string]string{"web-1": "a", "web-2": "b", "web-3": "b"} {
		claim := asked[*pb.ClaimRolloutRequest](f.agents[name])[0]
		if claim.GetChange().GetSpec().GetEnv()["ZONE"] != zone {
			t.Errorf("%s gets %v", name, claim.GetChange().GetSpec())
		}
		spec, err := rollout.Decode(claim.GetSpec())
		if err != nil || len(spec.Releases) != 2 {
			t.Errorf("%d releases, %v", len(spec.Releases), err)
		}
	}
	bad := f.withFile(t, "bad.yaml", "name: web\nuser: \"{host.vars.user}\"\n")
	if r := f.gracectl(t, "upgrade -f "+bad+" --hosts web-*"); r.code != ExitError || !strings.Contains(r.err, "/dir/bad.yaml:2:7: user: {host.vars.user} on host web-1: it has no vars") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
