package ctl

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// idle scripts an agent on which every command succeeds.
func idle(t *testing.T) *agent {
	done := story()[4]
	aborted := web(pb.Upgrade_STATE_ABORTED, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_FAILED, 0, 1)
	a := newAgent(t).begins(done)
	a.on(&pb.PromoteUpgradeRequest{}, &pb.PromoteUpgradeResponse{Upgrade: done.Upgrade})
	a.on(&pb.AbortUpgradeRequest{}, &pb.AbortUpgradeResponse{Upgrade: done.Upgrade})
	a.on(&pb.RollbackServiceRequest{}, &pb.RollbackServiceResponse{Upgrade: done.Upgrade})
	a.on(&pb.GetUpgradeRequest{}, &pb.GetUpgradeResponse{Upgrade: aborted.Upgrade})
	a.on(&pb.ReloadServiceRequest{}, &pb.ReloadServiceResponse{Status: done, Confirmed: true})
	a.on(&pb.DeleteServiceRequest{}, &pb.DeleteServiceResponse{})
	a.on(&pb.DeleteArtifactRequest{}, &pb.DeleteArtifactResponse{})
	a.on(&pb.ListArtifactsRequest{}, &pb.ListArtifactsResponse{Artifacts: []*pb.Artifact{
		{Digest: digest7, SizeBytes: 1 << 20, CreateTime: at(0), FileName: "web", UsedBy: []string{"web"}}, {Digest: digest8, SizeBytes: 2048},
	}})
	return a
}

func TestFlagsBecomeRequests(t *testing.T) {
	for line, want := range map[string]proto.Message{
		"upgrade web --request-id r -m why":                            &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Reason: "why"},
		"upgrade web --request-id r --artifact " + digest8:             &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Artifact: digest8},
		"upgrade web --request-id r sha256:7777":                       &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Artifact: digest7},
		"upgrade web --request-id r host:/usr/sbin/nginx":              &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Artifact: "host:/usr/sbin/nginx"},
		"upgrade web --request-id r --steps none --force-oldest":       &pb.StartUpgradeRequest{Service: "web", RequestId: "r", NoSteps: true, ForceOldest: true},
		"upgrade web --request-id r --steps 1%,0.5% --hold 1s":         &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Steps: []*pb.CanaryStep{{Weight: 100}, {Weight: 50}}, Hold: durationpb.New(time.Second)},
		"upgrade web --request-id r --soak 0s --force":                 &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Soak: durationpb.New(0), Force: true},
		"restart web --request-id r":                                   &pb.StartUpgradeRequest{Service: "web", RequestId: "r", Restart: true},
		"promote web --request-id r --step":                            &pb.PromoteUpgradeRequest{Service: "web", RequestId: "r", Step: true},
		"abort web --request-id r -m bad":                              &pb.AbortUpgradeRequest{Service: "web", RequestId: "r", Reason: "bad"},
		"rollback web --request-id r":                                  &pb.RollbackServiceRequest{Service: "web", RequestId: "r"},
		"rollback web --request-id r --back 2":                         &pb.RollbackServiceRequest{Service: "web", RequestId: "r", Target: &pb.RollbackServiceRequest_Back{Back: 2}},
		"rollback web --request-id r --steps 2":                        &pb.RollbackServiceRequest{Service: "web", RequestId: "r", Target: &pb.RollbackServiceRequest_Back{Back: 2}},
		"rollback web --request-id r --to 5":                           &pb.RollbackServiceRequest{Service: "web", RequestId: "r", Target: &pb.RollbackServiceRequest_Generation{Generation: 5}},
		"rollback web --request-id r --to v2.3.1":                      &pb.RollbackServiceRequest{Service: "web", RequestId: "r", Target: &pb.RollbackServiceRequest_Version{Version: "v2.3.1"}},
		"rollback web --request-id r --to sha256:77":                   &pb.RollbackServiceRequest{Service: "web", RequestId: "r", Target: &pb.RollbackServiceRequest_Artifact{Artifact: digest7}},
		"reload web --request-id r":                                    &pb.ReloadServiceRequest{Name: "web", RequestId: "r"},
		"delete web --request-id r -y":                                 &pb.DeleteServiceRequest{Name: "web", RequestId: "r"},
		"artifact delete " + digest7[7:] + " --request-id r":           &pb.DeleteArtifactRequest{Digest: digest7, RequestId: "r"},
		"logs web -f -n 5 --generation 7 --since 2026-05-01T12:00:00Z": &pb.ReadLogsRequest{Service: "web", Follow: true, Lines: 5, Generation: 7, Since: at(0)},
		"events web": &pb.WatchEventsRequest{Service: "web", NoFollow: true},
		"events -w":  &pb.WatchEventsRequest{},
	} {
		a := idle(t)
		r := a.gracectl(t, strings.Fields(line)...)
		if r.code != ExitDone {
			t.Errorf("%s: exit %d: %s", line, r.code, r.err)
		}
		found := false
		for _, got := range a.requests {
			if got.ProtoReflect().Descriptor() == want.ProtoReflect().Descriptor() {
				found = true
				if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
					t.Errorf("%s: %s", line, diff)
				}
			}
		}
		if !found {
			t.Errorf("%s: no %T", line, want)
		}
		a.stop()
		a.start(t)
	}
}

func TestRequestIDsAreNew(t *testing.T) {
	a := idle(t)
	a.gracectl(t, "restart", "web")
	a.gracectl(t, "restart", "web")
	got := asked[*pb.StartUpgradeRequest](a)
	if len(got) != 2 || got[0].GetRequestId() == "" || got[0].GetRequestId() == got[1].GetRequestId() {
		t.Errorf("asked %v", got)
	}
}

func TestMisuse(t *testing.T) {
	a := idle(t)
	for _, line := range []string{
		"nonsense", "upgrade", "upgrade web a b", "upgrade web --steps 5", "upgrade web --wait x", "upgrade web a --artifact b",
		"apply", "apply web", "rollback web --to 0", "rollback web --back 0", "rollback web --to 1 --back 2", "rollback",
		"status a b", "status -o xml", "push", "logs web --since yesterday", "delete web", "explain", "explain nothing", "artifact", "--nope",
		"upgrade web --hold 10", "promote",
	} {
		r := a.gracectl(t, strings.Fields(line)...)
		if r.code != ExitUsage || !strings.Contains(r.err, "hint: gracectl") || r.out != "" {
			t.Errorf("%q: exit %d: %s%s", line, r.code, r.out, r.err)
		}
	}
	if len(a.requests) > 0 {
		t.Errorf("the agent was asked %v", a.requests)
	}
}

func TestDryRuns(t *testing.T) {
	a := idle(t)
	stopped := &pb.ServiceStatus{Service: &pb.Service{Name: "web", State: pb.Service_STATE_STOPPED}}
	a.on(&pb.StopServiceRequest{}, &pb.StopServiceResponse{Status: story()[4]})
	a.on(&pb.GetServiceRequest{}, &pb.GetServiceResponse{Status: stopped})
	a.on(&pb.StartServiceRequest{}, &pb.StartServiceResponse{Status: stopped})
	for _, command := range []string{"upgrade web", "restart web", "promote web", "abort web", "rollback web", "stop web", "start web", "reload web", "delete web", "artifact delete " + digest8} {
		r := a.gracectl(t, append(strings.Fields(command), "--dry-run")...)
		if r.code != ExitWouldChange || r.out == "" {
			t.Errorf("%s: exit %d: %s%s", command, r.code, r.out, r.err)
		}
		a.mu.Lock()
		last := a.requests[len(a.requests)-1].ProtoReflect()
		a.mu.Unlock()
		if !last.Get(last.Descriptor().Fields().ByName("validate_only")).Bool() {
			t.Errorf("%s: asked %v", command, last)
		}
	}
	a.on(&pb.StopServiceRequest{}, &pb.StopServiceResponse{Status: stopped})
	if r := a.gracectl(t, "stop", "web", "--dry-run"); r.code != ExitDone {
		t.Errorf("stop of a stopped service: exit %d", r.code)
	}
	path, _, _ := binary(t, 10)
	if r := a.gracectl(t, "push", path, "--dry-run"); r.code != ExitWouldChange || len(asked[*pb.UploadHeader](a)) > 0 {
		t.Errorf("push: exit %d", r.code)
	}
}

func TestAbortIsSuccess(t *testing.T) {
	aborted := web(pb.Upgrade_STATE_ABORTED, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_FAILED, 0, 1)
	a := newAgent(t).on(&pb.AbortUpgradeRequest{}, &pb.AbortUpgradeResponse{Upgrade: aborted.Upgrade})
	a.on(&pb.RollbackServiceRequest{}, &pb.RollbackServiceResponse{Upgrade: aborted.Upgrade, Aborted: true})
	a.looks = []*pb.ServiceStatus{aborted}
	for _, command := range []string{"abort", "rollback"} {
		r := a.gracectl(t, command, "web")
		if r.code != ExitDone || r.out != "web: upgrade 7 -> 8 aborted, generation 7 is active\n" {
			t.Errorf("%s: exit %d: %s%s", command, r.code, r.out, r.err)
		}
	}
}

func TestStopWaitsForTheDrain(t *testing.T) {
	draining := story()[4]
	draining.Generations[0].State = pb.Generation_STATE_STOPPED
	gone := proto.Clone(draining).(*pb.ServiceStatus)
	gone.Generations[1].State = pb.Generation_STATE_STOPPED
	gone.Generations[1].Drain.ForcedConnections = 2
	a := newAgent(t).on(&pb.StopServiceRequest{}, &pb.StopServiceResponse{Status: draining})
	a.looks = []*pb.ServiceStatus{draining, gone}
	if r := a.gracectl(t, "stop", "web"); r.code != ExitDone || r.out != "web: stopped, 2 connections cut\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	a.looks = a.looks[:1]
	if r := a.gracectl(t, "stop", "web", "--now", "--timeout", "50ms"); r.code != ExitDetached {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestApply(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yaml")
	os.WriteFile(file, []byte("name: web\nartifact: host:/bin/true\nfiles: {a: web.yaml}\n"), 0o644)
	created := story()[4]
	created.Upgrade.FromGeneration, created.Upgrade.Kind = 0, pb.Upgrade_KIND_CREATE
	a := newAgent(t).on(&pb.ApplyServiceRequest{}, &pb.ApplyServiceResponse{Service: created.Service, Created: true, Upgrade: created.Upgrade})
	a.looks = []*pb.ServiceStatus{created}
	if r := a.gracectl(t, "apply", "-f", file); r.code != ExitDone || r.out != "web: generation 8 is active, start succeeded in 10.2s\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	req := asked[*pb.ApplyServiceRequest](a)[0]
	if req.GetName() != "web" || req.GetSpec().GetArtifact() != "host:/bin/true" || !strings.HasPrefix(req.GetSpec().GetFiles()["a"], "sha256:") {
		t.Errorf("asked %v", req)
	}
	changes := []*pb.FieldChange{{Field: "args", From: "a", To: "b"}, {Field: "drain.timeout", To: "1m", Immediate: true}}
	a.on(&pb.ApplyServiceRequest{}, &pb.ApplyServiceResponse{Service: created.Service, Changes: changes})
	want := "web: recorded\n  args: a -> b (with the next generation)\n  drain.timeout: unset -> 1m (at once)\n"
	if r := a.gracectl(t, "apply", "-f", file); r.code != ExitDone || r.out != want || !strings.Contains(r.err, "next: gracectl upgrade web") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := a.gracectl(t, "apply", "-f", file, "--dry-run"); r.code != ExitWouldChange {
		t.Errorf("exit %d", r.code)
	}
	a.on(&pb.ApplyServiceRequest{}, &pb.ApplyServiceResponse{Service: created.Service})
	if r := a.gracectl(t, "apply", "-f", file, "--dry-run"); r.code != ExitDone {
		t.Errorf("exit %d", r.code)
	}
	os.WriteFile(file, []byte("name: web\nnope: 1\n"), 0o644)
	if r := a.gracectl(t, "apply", "-f", file, "-o", "json"); r.code != ExitError || !strings.HasPrefix(r.err, file+":2:1: nope: unknown key") || !strings.Contains(r.out, `"type":"result"`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestViolationsAreListed(t *testing.T) {
	refusal := &api.Error{
		Code: codes.InvalidArgument, Reason: pb.Reason_REASON_INVALID, Message: "web: the specification is not valid",
		Violations: []api.Violation{{Field: "sockets[0].listen", Reason: "bad"}, {Field: "user", Reason: "no such user"}},
	}
	a := newAgent(t).on(&pb.StartUpgradeRequest{}, refusal)
	r := a.gracectl(t, "upgrade", "web")
	if r.code != ExitError || r.err != "gracectl: web: the specification is not valid\n  sockets[0].listen: bad\n  user: no such user\n" {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestAdopt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	os.WriteFile(file, []byte("name: web\nartifact: host:/bin/true\n"), 0o644)
	look := story()[4]
	look.Upgrade.FromGeneration, look.Upgrade.Kind = 0, pb.Upgrade_KIND_ADOPT
	program := &pb.ExternalProgram{Pid: 812, Path: "/usr/sbin/nginx", Unit: "nginx.service"}
	answer := &pb.AdoptServiceResponse{Status: look, Program: program, Upgrade: look.Upgrade}
	a := newAgent(t).on(&pb.AdoptServiceRequest{}, answer)
	a.looks = []*pb.ServiceStatus{look}
	r := a.gracectl(t, "adopt", "-f", file, "--unit", "nginx", "--reason", "because")
	if want := "adopted /usr/sbin/nginx (pid 812, nginx.service), which serves on\nnext: gracectl upgrade web\n"; r.code != ExitDone || !strings.Contains(r.err, want) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if want := "web: generation 8 is active, adoption succeeded in 10.2s\n"; r.out != want {
		t.Errorf("said %q, want %q", r.out, want)
	}
	if req := asked[*pb.AdoptServiceRequest](a)[0]; req.GetUnit() != "nginx" || req.GetName() != "web" || req.GetReason() != "because" || req.GetRequestId() == "" {
		t.Errorf("asked %v", req)
	}
	a.gracectl(t, "adopt", "-f", file, "--pid", "812")
	if req := asked[*pb.AdoptServiceRequest](a)[1]; req.GetPid() != 812 || req.GetUnit() != "" {
		t.Errorf("asked %v", req)
	}
	if r := a.gracectl(t, "adopt", "-f", file, "--pid", "812", "--dry-run"); r.code != ExitWouldChange || !strings.Contains(r.err, "would adopt /usr/sbin/nginx") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	program.Dependents = []string{"side.service"}
	if r := a.gracectl(t, "adopt", "-f", file, "--unit", "nginx"); r.code != ExitDone || !strings.Contains(r.err, "warning: side.service will be stopped with nginx.service") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, args := range [][]string{{"--unit", "x"}, {"-f", file}, {"-f", file, "--unit", "x", "--pid", "5"}, {"-f", file, "--unit", ""}, {"-f", file, "--pid", "1"}} {
		if r := a.gracectl(t, append([]string{"adopt"}, args...)...); r.code != ExitUsage {
			t.Errorf("%v: exit %d: %s", args, r.code, r.err)
		}
	}
}

func TestNoAgent(t *testing.T) {
	dir := shortDir(t)
	stale := filepath.Join(dir, "stale")
	a := newAgent(t)
	a.stop()
	os.WriteFile(stale, nil, 0o600)
	for _, socket := range []string{filepath.Join(dir, "absent"), a.socket, stale} {
		r := gracectl(t, context.Background(), nil, "status", "--agent", "unix:"+socket)
		if r.code != ExitError || !strings.Contains(r.err, socket) || !strings.Contains(r.err, "start graced") {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
	}
	a.start(t)
}

// Whoever reads a help has 100 columns.
func TestHelpFitsOnATerminal(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		var help strings.Builder
		cmd.SetOut(&help)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(help.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(newRoot(&session{stdio: Stdio{Getenv: os.Getenv}}))
}

func TestEveryCommandHasAnExample(t *testing.T) {
	root := newRoot(&session{stdio: Stdio{Out: io.Discard, Err: io.Discard}})
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !strings.Contains(sub.Example, cmd.CommandPath()) || sub.Short == "" {
				t.Errorf("%s has no example or no summary", sub.CommandPath())
			}
			check(sub)
		}
	}
	check(root)
}

func TestCompletion(t *testing.T) {
	a := newAgent(t).on(&pb.ListServicesRequest{}, &pb.ListServicesResponse{Services: story()[4:]})
	if r := a.gracectl(t, "__complete", "upgrade", ""); !strings.HasPrefix(r.out, "web\n") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := a.gracectl(t, "completion", "bash"); r.code != ExitDone || !strings.Contains(r.out, "__start_gracectl") {
		t.Errorf("exit %d", r.code)
	}
}
