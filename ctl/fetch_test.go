package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// FetchArtifact says what the script has, and at its end that it has everything.
func (a *agent) FetchArtifact(req *pb.FetchArtifactRequest, out grpc.ServerStreamingServer[pb.FetchArtifactResponse]) error {
	a.record(req)
	var script []any
	a.mu.Lock()
	if len(a.fetches) > 0 {
		script, a.fetches = a.fetches[0], a.fetches[1:]
	}
	a.mu.Unlock()
	for _, step := range script {
		switch step := step.(type) {
		case *api.Error:
			return step.GRPCStatus().Err()
		case error:
			return step
		case int:
			a.mu.Lock()
			a.stored[req.GetDigest()] = make([]byte, step)
			a.mu.Unlock()
			if err := out.Send(&pb.FetchArtifactResponse{CommittedBytes: int64(step), SizeBytes: 1 << 20}); err != nil {
				return err
			}
		}
	}
	a.rollouts.arrive(req.GetDigest())
	whole := &pb.Artifact{Digest: req.GetDigest(), SizeBytes: 1 << 20, FileName: "web"}
	return out.Send(&pb.FetchArtifactResponse{CommittedBytes: 1 << 20, SizeBytes: 1 << 20, Artifact: whole})
}

const (
	where      = "https://artifacts.example.org/releases/web?X-Amz-Signature=secret"
	somewhere  = where + "#sha256=" + hexOfAll
	hexOfAll   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestOfIt = "sha256:" + hexOfAll
)

// told fails the test if anything that is said has what only the agent may know.
func told(t *testing.T, r ran) ran {
	t.Helper()
	if strings.Contains(r.out+r.err, "secret") {
		t.Errorf("the URL's query is told: %s%s", r.out, r.err)
	}
	return r
}

// serviceFile writes one.
func serviceFile(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPushOfAURL(t *testing.T) {
	a := newAgent(t)
	a.fetches = [][]any{{0, 1000}}
	r := told(t, a.gracectl(t, "push", somewhere, "--version", "v2", "--label", "commit=abc"))
	if r.code != ExitDone || r.out != digestOfIt+"\n" {
		t.Fatalf("exit %d: %q %s", r.code, r.out, r.err)
	}
	q := asked[*pb.FetchArtifactRequest](a)[0]
	if q.GetUrl() != where || q.GetDigest() != digestOfIt || q.GetVersion() != "v2" || q.GetLabels()["commit"] != "abc" || q.GetTree() {
		t.Errorf("asked for %v", q)
	}
	if !strings.Contains(r.err, "fetching web (1.0 MiB)") || !strings.Contains(r.err, "from https://artifacts.example.org/releases/web\n") {
		t.Errorf("said %s", r.err)
	}
	if r := a.gracectl(t, "push", somewhere); r.code != ExitDone || r.err != "" {
		t.Errorf("of what the agent has: exit %d: %s", r.code, r.err)
	}
}

func TestFetchGoesOnWhereItBroke(t *testing.T) {
	a := newAgent(t)
	away := status.Error(codes.Unavailable, "restarting")
	a.fetches = [][]any{{0, 1000, away}, {1000, 2000, away}}
	if r := told(t, a.gracectl(t, "push", somewhere)); r.code != ExitDone || len(asked[*pb.FetchArtifactRequest](a)) != 3 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestRefusedFetch(t *testing.T) {
	for reason, code := range map[pb.Reason]int{
		pb.Reason_REASON_FETCH_FAILED: ExitError, pb.Reason_REASON_UPLOAD_BUSY: ExitHeld, pb.Reason_REASON_QUOTA_EXCEEDED: ExitError,
	} {
		for _, class := range []codes.Code{codes.Unavailable, codes.FailedPrecondition} {
			if reason != pb.Reason_REASON_FETCH_FAILED && class == codes.Unavailable {
				continue
			}
			a := newAgent(t)
			a.fetches = [][]any{{&api.Error{Code: class, Reason: reason, Message: "told why"}}}
			if r := told(t, a.gracectl(t, "push", somewhere)); r.code != code || !strings.Contains(r.err, "told why") || len(asked[*pb.FetchArtifactRequest](a)) != 1 {
				t.Errorf("%v %v: exit %d: %s", reason, class, r.code, r.err)
			}
		}
	}
}

func TestUpgradeToAURL(t *testing.T) {
	a := newAgent(t)
	a.on(&pb.StartUpgradeRequest{}, &pb.StartUpgradeResponse{Unchanged: true})
	told(t, a.gracectl(t, "upgrade", "web", strings.Replace(somewhere, "/web?", "/web.tar.gz?", 1)))
	file := serviceFile(t, "name: web\nartifact: "+somewhere+"\n")
	told(t, a.gracectl(t, "upgrade", "-f", file))
	fetched, upgrades := asked[*pb.FetchArtifactRequest](a), asked[*pb.StartUpgradeRequest](a)
	if len(fetched) != 2 || len(upgrades) != 2 || !fetched[0].GetTree() || fetched[1].GetTree() {
		t.Fatalf("fetched %v, upgraded %v", fetched, upgrades)
	}
	for _, u := range upgrades {
		if u.GetArtifact() != digestOfIt || u.GetSpec() != nil && u.GetSpec().GetArtifact() != digestOfIt {
			t.Errorf("upgraded to %v", u)
		}
	}
	r := told(t, a.gracectl(t, "push", somewhere, "--dry-run"))
	if r.code != ExitWouldChange || len(asked[*pb.FetchArtifactRequest](a)) != 2 {
		t.Errorf("a dry run: exit %d: %s", r.code, r.err)
	}
}

// Hosts of a rollout fetch by themselves, and never go on with what they had.
func TestHostsFetchByThemselves(t *testing.T) {
	f, _ := newRolloutFleet(t)
	for _, a := range f.agents {
		a.fetches, a.sizes[digestOfIt] = [][]any{{1 << 20}}, 1<<20
	}
	r := told(t, f.gracectl(t, "upgrade web "+somewhere+" --hosts web-*"))
	if r.code != ExitDone {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for name, a := range f.agents {
		fetched, claims := asked[*pb.FetchArtifactRequest](a), asked[*pb.ClaimRolloutRequest](a)
		if len(fetched) != 1 || len(claims) == 0 || claims[0].GetChange().GetArtifact() != digestOfIt {
			t.Errorf("%s fetched %v for %v", name, fetched, claims)
		}
	}
	r = told(t, f.gracectl(t, "push "+somewhere+" --hosts web-*"))
	if r.code != ExitDone || strings.TrimSpace(r.out) != digestOfIt {
		t.Errorf("push: exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestURLsThatAreNone(t *testing.T) {
	a := newAgent(t)
	for text, words := range map[string]string{
		where:                  "https://artifacts.example.org/releases/web: write what it has to be behind it",
		where + "#sha256=abc":  "#sha256=",
		where + "#" + hexOfAll: "#sha256=",
		"https://u:secret@h/web#sha256=" + hexOfAll:    "a user or a password",
		"https://h/a/../web?secret#sha256=" + hexOfAll: "..",
	} {
		for _, args := range [][]string{{"push", text}, {"upgrade", "web", text}} {
			if r := told(t, a.gracectl(t, args...)); r.code != ExitUsage || !strings.Contains(r.err, words) {
				t.Errorf("%v: exit %d: %s", args, r.code, r.err)
			}
		}
		if r := told(t, a.gracectl(t, "apply", "-f", serviceFile(t, "name: web\nartifact: \""+text+"\"\n"))); r.code == ExitDone || !strings.Contains(r.err, words) {
			t.Errorf("%s in a service file: exit %d: %s", text, r.code, r.err)
		}
	}
	if len(asked[*pb.FetchArtifactRequest](a)) > 0 {
		t.Error("the agent was asked")
	}
}
