package ctl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// withFile writes a file beside the inventory and returns its path.
func (f *fleet) withFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// on scripts the answer of every agent.
func (f *fleet) on(req proto.Message, answer any) {
	for _, a := range f.agents {
		a.on(req, answer)
	}
}

func TestOnePushToManyHosts(t *testing.T) {
	f := newFleet(t)
	path := f.withFile(t, "web-v2", strings.Repeat("x", 3*api.MaxChunk))
	digest, n, _ := hash(strings.NewReader(strings.Repeat("x", 3*api.MaxChunk)))
	f.agents["web-3"].stored[digest], f.agents["web-3"].sizes[digest] = []byte(strings.Repeat("x", int(n))), n
	r := f.gracectl(t, "push "+path+" --hosts web-*")
	if r.code != ExitDone || r.out != digest+"\n" || !strings.Contains(r.err, "web-1: pushed: moved ") || !strings.Contains(r.err, "web-3: unchanged\n") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for name, a := range f.agents {
		if int64(len(a.stored[digest])) != n {
			t.Errorf("%s has %d bytes", name, len(a.stored[digest]))
		}
	}
	if got := len(asked[*pb.UploadHeader](f.agents["web-3"])); got != 0 {
		t.Error("what was there is sent again")
	}
	r = f.gracectl(t, "push "+path+" --all -o json")
	var report struct {
		Hosts []struct{ Host, Outcome, Digest, Error string }
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != ExitUnreachable || len(report.Hosts) != 4 || report.Hosts[1].Digest != digest {
		t.Errorf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if r := f.gracectl(t, "push "+f.withFile(t, "other", "y")+" --hosts web-* --dry-run"); r.code != ExitWouldChange || !strings.Contains(r.err, "web-1: would-change: would push 1 B") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// Each host gets its own values, and the files are read once.
func TestApplyOnManyHosts(t *testing.T) {
	f := newFleet(t)
	f.on(&pb.ApplyServiceRequest{}, &pb.ApplyServiceResponse{Changes: []*pb.FieldChange{{Field: "env.ZONE", From: "", To: "a"}}})
	file := f.withFile(t, "web.yaml", "name: web\nartifact: host:/bin/true\nenv: {ZONE: \"{host.labels.zone}\", ME: \"{host.name}\"}\nsockets: [{name: http, listen: \"tcp://127.0.0.1:8080\"}]\n")
	r := f.gracectl(t, "apply -f "+file+" --hosts web-*")
	if r.code != ExitDone || strings.Count(r.out, "recorded") != 3 || !strings.Contains(r.out, "env.ZONE: unset -> a") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for name, zone := range map[string]string{"web-1": "a", "web-3": "b"} {
		req := asked[*pb.ApplyServiceRequest](f.agents[name])
		if len(req) != 1 || req[0].GetSpec().GetEnv()["ZONE"] != zone || req[0].GetSpec().GetEnv()["ME"] != name {
			t.Errorf("%s was asked %v", name, req)
		}
	}
	if r := f.gracectl(t, "apply -f "+file+" --hosts web-2"); r.code != ExitDone || r.out != "web: recorded\n  env.ZONE: unset -> a (with the next generation)\n" {
		t.Errorf("one host: exit %d: %s%s", r.code, r.out, r.err)
	}
	bad := f.withFile(t, "bad.yaml", "name: web\nenv: {A: \"{host.vars.port}\"}\n")
	r = f.gracectl(t, "apply -f "+bad+" --hosts web-*")
	if r.code != ExitError || !strings.Contains(r.out, "/dir/bad.yaml:2:10: env.A: {host.vars.port} on host web-1: it has no vars") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestStopOnManyHostsWantsItsName(t *testing.T) {
	f := newFleet(t)
	stopped := &pb.ServiceStatus{Service: &pb.Service{Name: "web", State: pb.Service_STATE_STOPPED}}
	f.on(&pb.StopServiceRequest{}, &pb.StopServiceResponse{Status: story()[4]})
	f.on(&pb.DeleteServiceRequest{}, &pb.DeleteServiceResponse{})
	for _, a := range f.agents {
		a.looks = []*pb.ServiceStatus{stopped}
	}
	for _, verb := range []string{"stop", "delete"} {
		for _, confirm := range []string{"", " --confirm api", " -y"} {
			r := f.gracectl(t, verb+" web --hosts web-*"+confirm)
			if r.code != ExitUsage || !strings.Contains(r.err, verb+" web on 3 hosts, web-1, web-2, web-3: if that is meant, say --confirm web") {
				t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
			}
		}
	}
	for _, a := range f.agents {
		if len(a.requests) > 0 {
			t.Errorf("an agent was asked %v", a.requests)
		}
	}
	if r := f.gracectl(t, "stop web --hosts web-* --confirm web"); r.code != ExitDone || strings.Count(r.out, "stopped") != 3 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "delete web --hosts web-* --confirm web"); r.code != ExitDone || strings.Count(r.out, "deleted") != 3 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "stop web --hosts web-* --dry-run"); r.code != ExitWouldChange {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// The result comes last, and has every host.
func TestRecordsOfManyHosts(t *testing.T) {
	f := newFleet(t)
	f.on(&pb.ReloadServiceRequest{}, &pb.ReloadServiceResponse{Status: story()[4], Confirmed: true})
	f.on(&pb.StartServiceRequest{}, &pb.StartServiceResponse{Status: story()[4]})
	f.agents["web-3"].on(&pb.StartServiceRequest{}, &api.Error{Code: codes.Aborted, Reason: pb.Reason_REASON_ROLLOUT_CLAIMED, Message: "web is claimed by r-1 of bob"})
	r := f.gracectl(t, "start web --all -o json")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var last struct {
		Type     string
		ExitCode int
		Hosts    []struct{ Host, Outcome, Error string }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	outcomes := []string{}
	for _, h := range last.Hosts {
		outcomes = append(outcomes, h.Host+" "+h.Outcome)
	}
	if r.code != ExitHeld || last.Type != "result" || last.ExitCode != ExitHeld || len(lines) != 5 || !slices.Equal(outcomes, []string{"gone unreachable", "web-1 unchanged", "web-2 unchanged", "web-3 held"}) {
		t.Errorf("exit %d: %v\n%s%s", r.code, outcomes, r.out, r.err)
	}
	if r := f.gracectl(t, "reload web --hosts web-*"); r.code != ExitDone || strings.Count(r.out, "reloaded") != 3 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// An upgrade that another one has followed is told as it ended.
func TestStartsThatOthersFollowed(t *testing.T) {
	for state, want := range map[pb.Upgrade_State]struct {
		code    int
		outcome string
	}{
		pb.Upgrade_STATE_SUCCEEDED: {ExitDone, "started"},
		pb.Upgrade_STATE_FAILED:    {ExitError, "failed"},
	} {
		f := newFleet(t)
		up := &pb.Upgrade{Id: "up-9", Service: "web", ToGeneration: 9, State: pb.Upgrade_STATE_STARTING}
		f.on(&pb.StartServiceRequest{}, &pb.StartServiceResponse{Status: &pb.ServiceStatus{Upgrade: up}})
		f.on(&pb.GetUpgradeRequest{}, &pb.GetUpgradeResponse{Upgrade: &pb.Upgrade{Id: "up-9", Service: "web", ToGeneration: 9, State: state}})
		for _, a := range f.agents {
			a.looks = []*pb.ServiceStatus{{Service: &pb.Service{Name: "web"}, Upgrade: &pb.Upgrade{Id: "up-10", Service: "web"}}}
		}
		if r := f.gracectl(t, "start web --hosts web-*"); r.code != want.code || strings.Count(r.out, " "+want.outcome) != 3 {
			t.Errorf("%v: exit %d: %s%s", state, r.code, r.out, r.err)
		}
	}
}

func TestFreeze(t *testing.T) {
	f := newFleet(t)
	if r := f.gracectl(t, "freeze --all"); r.code != ExitUsage || !strings.Contains(r.err, "say with -m why") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "freeze -m peak --hosts web-1,web-2"); r.code != ExitDone || strings.Count(r.out, "frozen") != 2 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	r := f.gracectl(t, "freeze -m again --all")
	if r.code != ExitUnreachable || strings.Count(r.out, "unchanged     frozen by alice since 2026-05-01 12:00 UTC: peak") != 2 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "unfreeze -m over --hosts web-1"); r.code != ExitDone || !strings.Contains(r.out, "unfrozen") || f.agents["web-1"].rollouts.freeze != nil {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "unfreeze -m over --hosts web-2 --dry-run"); r.code != ExitWouldChange || f.agents["web-2"].rollouts.freeze == nil {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
