package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestUpgradeTellsEveryChange(t *testing.T) {
	a := newAgent(t).begins(story()...)
	r := a.gracectl(t, "upgrade", "web", "--artifact", digest8)
	if r.code != ExitDone {
		t.Fatalf("exit %d\n%s", r.code, r.err)
	}
	golden(t, "upgrade.out", r.out)
	// The time left depends on when the test runs.
	golden(t, "upgrade.err", strings.ReplaceAll(r.err, until(at(40*time.Second), time.Now()), "TIME"))
}

func TestUpgradeRecords(t *testing.T) {
	a := newAgent(t).begins(story()...)
	r := a.gracectl(t, "upgrade", "web", "--artifact", digest8, "-o", "json")
	if r.code != ExitDone {
		t.Fatalf("exit %d\n%s", r.code, r.err)
	}
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(lines) != len(story())+1 {
		t.Fatalf("%d lines:\n%s", len(lines), r.out)
	}
	for i, line := range lines {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		want := "status"
		if i == len(lines)-1 {
			want = "result"
		}
		if m["type"] != want || m["host"] != "h1" {
			t.Errorf("line %d: type %v of host %v", i, m["type"], m["host"])
		}
		if _, err := time.Parse(time.RFC3339Nano, m["time"].(string)); err != nil {
			t.Error(err)
		}
	}
	_, rest, _ := strings.Cut(lines[len(lines)-1], `"host":"h1",`)
	golden(t, "result.json", rest+"\n")
}

func TestUpgradeFailure(t *testing.T) {
	a := newAgent(t).begins(failed())
	r := a.gracectl(t, "upgrade", "web")
	if r.code != ExitRolledBack {
		t.Errorf("exit %d", r.code)
	}
	golden(t, "failed.out", r.out)
	golden(t, "failed.err", r.err)
}

func TestExitCodes(t *testing.T) {
	first := failed()
	first.Upgrade.FromGeneration, first.Upgrade.Kind = 0, pb.Upgrade_KIND_CREATE
	aborted := web(pb.Upgrade_STATE_ABORTED, pb.Generation_STATE_ACTIVE, pb.Generation_STATE_FAILED, 0, 1)
	held := &api.Error{Code: codes.Aborted, Reason: pb.Reason_REASON_UPGRADE_IN_PROGRESS, Message: "web: upgrade up-0 of alice is in progress"}
	missing := &api.Error{Code: codes.NotFound, Reason: pb.Reason_REASON_SERVICE_NOT_FOUND, Message: "no service web"}
	for name, test := range map[string]struct {
		looks  []*pb.ServiceStatus
		answer any
		code   int
		out    string
		err    string
	}{
		"succeeded":        {story(), nil, ExitDone, "generation 8 is active", ""},
		"failed":           {[]*pb.ServiceStatus{failed()}, nil, ExitRolledBack, "generation 7 is active", "panic: no config"},
		"first one failed": {[]*pb.ServiceStatus{first}, nil, ExitError, "nothing was running before", ""},
		"aborted":          {[]*pb.ServiceStatus{aborted}, nil, ExitRolledBack, "aborted", ""},
		"held":             {nil, held, ExitHeld, "", "up-0 of alice"},
		"missing":          {nil, missing, ExitError, "", "no service web"},
		"unchanged":        {nil, &pb.StartUpgradeResponse{Unchanged: true, Upgrade: story()[4].Upgrade}, ExitDone, "unchanged", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			if test.looks != nil {
				a.begins(test.looks...)
			} else {
				a.on(&pb.StartUpgradeRequest{}, test.answer)
			}
			r := a.gracectl(t, "upgrade", "web")
			if r.code != test.code || !strings.Contains(r.out, test.out) || !strings.Contains(r.err, test.err) {
				t.Errorf("exit %d, want %d\n%s\n%s", r.code, test.code, r.out, r.err)
			}
			var m map[string]any
			lines := strings.Split(strings.TrimSpace(a.gracectl(t, "upgrade", "web", "-o", "json").out), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
				t.Fatal(err)
			}
			if m["type"] != "result" || m["exitCode"] != float64(test.code) || m["hosts"] == nil {
				t.Errorf("last line %v", m)
			}
		})
	}
}

func TestDryRunOfUpgrade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web-v2")
	os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755)
	change := &pb.FieldChange{Field: "drain.timeout", From: "30s", To: "1m", Immediate: true}
	gone := &api.Error{Code: codes.NotFound, Reason: pb.Reason_REASON_ARTIFACT_NOT_FOUND, Message: "no artifact"}
	for name, test := range map[string]struct {
		answer any
		code   int
	}{
		"change":        {&pb.StartUpgradeResponse{Changes: []*pb.FieldChange{change}}, ExitWouldChange},
		"nothing":       {&pb.StartUpgradeResponse{Unchanged: true}, ExitDone},
		"not yet there": {gone, ExitWouldChange},
	} {
		a := newAgent(t).on(&pb.StartUpgradeRequest{}, test.answer)
		r := a.gracectl(t, "upgrade", "web", file, "--dry-run")
		if r.code != test.code {
			t.Errorf("%s: exit %d, want %d: %s", name, r.code, test.code, r.err)
		}
		if len(asked[*pb.UploadHeader](a)) > 0 {
			t.Errorf("%s: pushed", name)
		}
		if req := asked[*pb.StartUpgradeRequest](a); len(req) != 1 || !req[0].GetValidateOnly() {
			t.Errorf("%s: asked %v", name, req)
		}
		if name == "change" && !strings.Contains(r.out, "drain.timeout: 30s -> 1m (at once)") {
			t.Errorf("difference is missing: %s", r.out)
		}
	}
}

func TestInterruptDetaches(t *testing.T) {
	for _, format := range []string{"table", "json"} {
		a := newAgent(t).begins(story()[:2]...)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-a.watched
			cancel()
		}()
		r := gracectl(t, ctx, map[string]string{"GRACECTL_AGENT": "unix:" + a.socket}, "upgrade", "web", "-o", format)
		if r.code != ExitDetached {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
		if format == "table" && !strings.Contains(r.err, "gracectl status web -w") {
			t.Errorf("does not say how to go on: %s", r.err)
		}
		if format == "json" && !strings.Contains(r.out, `"exitCode":8,"outcome":"detached","id":"up-1"`) {
			t.Errorf("no result: %s", r.out)
		}
		if n := len(asked[*pb.AbortUpgradeRequest](a)); n > 0 {
			t.Error("the upgrade was aborted")
		}
	}
}

func TestTimeoutBoundsTheWait(t *testing.T) {
	a := newAgent(t).begins(story()[:2]...)
	if r := a.gracectl(t, "upgrade", "web", "--timeout", "50ms"); r.code != ExitDetached {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestWatchOutlivesTheAgent(t *testing.T) {
	a := newAgent(t).begins(story()[:2]...)
	done := make(chan ran)
	go func() { done <- a.gracectl(t, "upgrade", "web") }()
	<-a.watched
	a.stop()
	a.mu.Lock()
	a.looks = story()[4:]
	a.mu.Unlock()
	a.start(t)
	if r := <-done; r.code != ExitDone || !strings.Contains(r.out, "generation 8 is active (was 7)") {
		t.Errorf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}

func TestUpgradeThatWasOvertaken(t *testing.T) {
	other := story()[0]
	other.Upgrade.Id = "up-2"
	a := newAgent(t).begins(story()[0])
	a.looks = []*pb.ServiceStatus{other}
	a.on(&pb.GetUpgradeRequest{}, &pb.GetUpgradeResponse{Upgrade: failed().Upgrade})
	if r := a.gracectl(t, "upgrade", "web"); r.code != ExitRolledBack {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestWait(t *testing.T) {
	gone := story()[4]
	gone.Generations[1].State = pb.Generation_STATE_STOPPED
	a := newAgent(t).begins(append(story(), gone)...)
	if r := a.gracectl(t, "upgrade", "web", "--wait", "drained"); r.code != ExitDone || strings.Contains(r.out, "draining") {
		t.Errorf("exit %d: %s", r.code, r.out)
	}
	if r := a.gracectl(t, "upgrade", "web", "--wait", "none"); r.code != ExitDone || !strings.Contains(r.out, "up-1 started") {
		t.Errorf("exit %d: %s", r.code, r.out)
	}
	if r := a.gracectl(t, "upgrade", "web", "--wait", "nine"); r.code != ExitUsage {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestUpgradePushesFirst(t *testing.T) {
	dir := t.TempDir()
	body := bytes.Repeat([]byte("x"), 3*api.MaxChunk+7)
	os.WriteFile(filepath.Join(dir, "web-v2"), body, 0o755)
	os.WriteFile(filepath.Join(dir, "web.yaml"), []byte("name: web\nartifact: ./web-v2\nready: {notify: {}}\n"), 0o644)
	digest, _, _ := hash(bytes.NewReader(body))
	a := newAgent(t).begins(story()...)
	if r := a.gracectl(t, "upgrade", "-f", filepath.Join(dir, "web.yaml"), "-m", "try"); r.code != ExitDone {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if !slices.Equal(a.stored[digest], body) {
		t.Error("the artifact was not pushed whole")
	}
	req := asked[*pb.StartUpgradeRequest](a)[0]
	if req.GetService() != "web" || req.GetArtifact() != digest || req.GetSpec().GetArtifact() != digest || req.GetSpec().GetReadiness().GetProbe().GetNotify() == nil {
		t.Errorf("asked for %v", req)
	}
	if r := a.gracectl(t, "upgrade", "api", "-f", filepath.Join(dir, "web.yaml")); r.code != ExitUsage {
		t.Errorf("another service's file: exit %d", r.code)
	}
}
