package ctl

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// seedFleet is a fleet whose agents are on the network, and an artifact that they get by
// fetching as the script says.
func seedFleet(t *testing.T, script ...any) (f *fleet, artifact string) {
	t.Helper()
	f, artifact = newRolloutFleet(t)
	content, err := os.ReadFile(artifact)
	if err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	for name, a := range f.agents {
		network := &pb.AgentNetwork{Identity: "spiffe://example.org/gracefleet/agent/" + name}
		a.on(&pb.GetAgentInfoRequest{}, &pb.GetAgentInfoResponse{Agent: &pb.AgentInfo{Host: name, Network: network}})
		a.sizes[digest] = int64(len(content))
		a.fetches = [][]any{script}
		if script == nil {
			a.fetches = [][]any{{len(content)}}
		}
	}
	return f, artifact
}

// pushed are the hosts that got the artifact from here, and those that fetched it.
func (f *fleet) pushed() (pushed, fetched []string) {
	for name, a := range f.agents {
		if len(asked[*pb.UploadHeader](a)) > 0 {
			pushed = append(pushed, name)
		}
		if len(asked[*pb.FetchArtifactRequest](a)) > 0 {
			fetched = append(fetched, name)
		}
	}
	return pushed, fetched
}

func TestSeeds(t *testing.T) {
	f, artifact := seedFleet(t)
	r := told(t, f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --seeds 1"))
	pushed, fetched := f.pushed()
	if r.code != ExitDone || len(pushed) != 1 || len(fetched) != 2 || strings.Contains(r.err, "seeds:") {
		t.Fatalf("exit %d, pushed to %v, fetched by %v: %s%s", r.code, pushed, fetched, r.out, r.err)
	}
	for _, name := range fetched {
		for _, q := range asked[*pb.FetchArtifactRequest](f.agents[name]) {
			if s := q.GetSeed(); s.GetTicket() != "secret" || s.GetAddress() == "" || !strings.HasPrefix(s.GetAgentId(), "spiffe://example.org/gracefleet/agent/") || q.GetSizeBytes() == 0 || q.GetFileName() != "web-v2" {
				t.Errorf("%s fetched %v", name, q)
			}
		}
	}
}

// Whatever fails among the hosts is pushed from here.
func TestSeedsThatFail(t *testing.T) {
	for why, e := range map[string]*api.Error{
		"gone":    {Code: codes.Unavailable, Reason: pb.Reason_REASON_FETCH_FAILED, Message: "connection refused"},
		"refused": {Code: codes.FailedPrecondition, Reason: pb.Reason_REASON_FETCH_FAILED, Message: "fetch: {seeds: true}"},
	} {
		t.Run(why, func(t *testing.T) {
			f, artifact := seedFleet(t, e)
			r := told(t, f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --seeds 1"))
			pushed, fetched := f.pushed()
			if r.code != ExitDone || len(pushed) != 3 || len(fetched) == 0 || !strings.Contains(r.err, "got the artifact from here instead: "+e.Message) {
				t.Errorf("exit %d, pushed to %v, fetched by %v: %s%s", r.code, pushed, fetched, r.out, r.err)
			}
		})
	}
	f, artifact := seedFleet(t)
	for _, a := range f.agents {
		a.on(&pb.GetAgentInfoRequest{}, &pb.GetAgentInfoResponse{Agent: &pb.AgentInfo{}})
	}
	r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --seeds 1")
	if pushed, fetched := f.pushed(); r.code != ExitDone || len(pushed) != 3 || len(fetched) != 0 {
		t.Errorf("off the network: exit %d, pushed to %v, fetched by %v: %s%s", r.code, pushed, fetched, r.out, r.err)
	}
	if r := f.gracectl(t, "upgrade web "+artifact+" --hosts web-* --seeds -1"); r.code != ExitUsage {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// A seed serves a few at once, the one with the least to do first; those that fetched
// serve as well.
func TestTurnsOfSeeds(t *testing.T) {
	g := newSeeding(1)
	turn := func(name string) (*seed, func(string), bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it does not wait
		from, end, err := g.turn(ctx, inventory.Host{Name: name}, "d")
		return from, end, err == nil
	}
	from, end, ok := turn("a")
	if from != nil || !ok {
		t.Fatal("the first does not get it from here")
	}
	if _, _, ok := turn("b"); ok {
		t.Error("a second one gets it from here")
	}
	end("id-a")
	var ends []func(string)
	for range servedAtOnce {
		from, end, ok := turn("b")
		if !ok || from.id != "id-a" {
			t.Fatalf("%v, %v", from, ok)
		}
		ends = append(ends, end)
	}
	if _, _, ok := turn("c"); ok {
		t.Error("a seed serves too many")
	}
	ends[0]("id-b")
	from, _, ok = turn("c")
	if !ok || from.id != "id-b" {
		t.Errorf("%v, %v", from, ok)
	}
	for _, s := range g.files["d"].seeds {
		g.fell(s, true, context.Canceled)
	}
	if from, _, ok := turn("d"); !ok || from != nil {
		t.Errorf("with all seeds gone: %v, %v", from, ok)
	}
}
