package ctl

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// upgraded counts the hosts that were told to begin.
func (f *fleet) upgraded() (n int) {
	for _, a := range f.agents {
		for _, q := range asked[*pb.AdvanceRolloutRequest](a) {
			if q.GetStep() == pb.AdvanceRolloutRequest_STEP_UPGRADE {
				n++
				break
			}
		}
	}
	return n
}

// Every host fetches a rollout's artifact by itself, and no host has it written down
// from where.
func TestRolloutOfAURL(t *testing.T) {
	for name, upgrade := range map[string]func(*testing.T) string{
		"argument": func(*testing.T) string { return "upgrade web " + somewhere },
		"service file": func(t *testing.T) string {
			return "upgrade -f " + serviceFile(t, "name: web\nartifact: "+somewhere+"\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newRolloutFleet(t)
			f.agents["web-1"].fetches = [][]any{{away("503 Service Unavailable")}, {0, 1000}}
			dry := told(t, f.gracectl(t, upgrade(t)+" --hosts web-* --dry-run"))
			if dry.code != ExitWouldChange || len(f.claims()) > 0 || len(asked[*pb.FetchArtifactRequest](f.agents["web-1"])) > 0 {
				t.Errorf("a dry run: exit %d: %s%s", dry.code, dry.out, dry.err)
			}
			r := told(t, f.gracectl(t, upgrade(t)+" --hosts web-*"))
			if r.code != ExitDone || !strings.Contains(r.err, "web-1: still waits for what it lacks: 503 Service Unavailable") || f.upgraded() != 3 {
				t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
			}
			for host, a := range f.agents {
				fetched := asked[*pb.FetchArtifactRequest](a)
				if want := map[string]int{"web-1": 2}[host]; len(fetched) != max(want, 1) || fetched[0].GetUrl() != where || fetched[0].GetDigest() != digestOfIt {
					t.Errorf("%s fetched %v", host, fetched)
				}
			}
			for _, claim := range f.claims() {
				if text := claim.String() + string(claim.GetSpec()); claim.GetChange().GetArtifact() != digestOfIt || strings.Contains(text, "secret") || strings.Contains(text, "example.org") {
					t.Errorf("claimed with %s", text)
				}
			}
		})
	}
}

func away(why string) error {
	return &api.Error{Code: codes.Unavailable, Reason: pb.Reason_REASON_FETCH_FAILED, Message: why}
}

// A source that is away or refuses is no reason to touch a host, nor to return one.
func TestRolloutFromADeadSource(t *testing.T) {
	gone := &api.Error{Code: codes.NotFound, Reason: pb.Reason_REASON_FETCH_FAILED, Message: "404 Not Found"}
	for name, c := range map[string]struct {
		answer error
		tries  int
		note   string
	}{
		"away":      {away("connection refused"), 2, "no artifact within 3s: connection refused"},
		"not there": {gone, 1, "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newRolloutFleet(t)
			for _, a := range f.agents {
				for range 100 {
					a.fetches = append(a.fetches, []any{c.answer})
				}
			}
			r := told(t, f.gracectl(t, "upgrade web "+somewhere+" --hosts web-* --fetch-timeout 3s"))
			if r.code != ExitError || strings.Count(r.out, c.note) < 3 || f.upgraded() != 0 {
				t.Errorf("exit %d, %d hosts touched: %s%s", r.code, f.upgraded(), r.out, r.err)
			}
			for host, a := range f.agents {
				if n := len(asked[*pb.FetchArtifactRequest](a)); n < c.tries || c.tries == 1 && n > 1 {
					t.Errorf("%s fetched %d times", host, n)
				}
			}
		})
	}
}

// Whoever goes on elsewhere says again where hosts find it.
func TestResumeWithAURL(t *testing.T) {
	f, _ := newRolloutFleet(t)
	for _, a := range f.agents {
		for range 100 {
			a.fetches = append(a.fetches, []any{away("connection refused")})
		}
	}
	if r := told(t, f.gracectl(t, "upgrade web "+somewhere+" --hosts web-* --timeout 2s")); r.code != ExitDetached {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, a := range f.agents {
		a.rollouts.lapse()
		a.mu.Lock()
		a.fetches = nil
		a.mu.Unlock()
	}
	id := f.agents["web-1"].rollouts.id(t)
	r := told(t, f.gracectl(t, "rollout resume "+id+" "+strings.Replace(somewhere, "secret", "another-secret", 1)))
	if r.code != ExitDone || f.upgraded() != 3 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	q := asked[*pb.FetchArtifactRequest](f.agents["web-2"])
	if last := q[len(q)-1]; !strings.Contains(last.GetUrl(), "another-secret") {
		t.Errorf("fetched from %s", last.GetUrl())
	}
}
