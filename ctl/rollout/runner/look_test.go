package runner

import (
	"errors"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

func TestLook(t *testing.T) {
	story(t, 4, func(t *testing.T, f *fleet) {
		look := Looker{Dial: f.dialer("b")}
		if _, err := look.Look(t.Context(), "web", "", f.names); !errors.Is(err, ErrNoRollout) {
			t.Errorf("%v", err)
		}
		spec := f.spec(t, "1", func(s *rollout.Spec) { s.Policy.Pause, s.Policy.MaxUnreachable = time.Minute, rollout.Amount{N: 1} }, canary())
		done := make(chan rollout.State)
		go func() {
			s, _ := f.drive(t, t.Context(), spec, "a", nil)
			done <- s
		}()
		time.Sleep(20 * time.Second)
		f.agents["web4"].cut(true)
		sight, err := look.Look(t.Context(), "web", "", f.names)
		if err != nil {
			t.Fatal(err)
		}
		if sight.Spec.ID() != spec.ID() || sight.Driven().GetDriver() != "a" || sight.State.Verdict() != rollout.StillUnderWay || sight.Errors["web4"] == nil {
			t.Errorf("%+v", sight)
		}
		f.agents["web4"].cut(false)
		s := <-done
		if sight, err = look.Look(t.Context(), "web", spec.ID(), f.names); err != nil {
			t.Fatal(err)
		}
		if sight.Driven() != nil || sight.State.Verdict() != s.Verdict() || outcomes(&sight.State) != outcomes(&s) {
			t.Errorf("%+v", sight.State)
		}
	})
}

// An id stands for one spec. A host that has another under it is named, and neither
// believed nor in the way.
func TestAHostHasAnotherSpecUnderTheID(t *testing.T) {
	story(t, 4, func(t *testing.T, f *fleet) {
		spec := f.spec(t, "1", nil, rollout.Shape{})
		f.leaveIn(t, spec, rollout.Rolling)
		look := func(odd ...string) (*Sight, error) {
			for _, name := range odd {
				a := f.agents[name]
				a.mu.Lock()
				a.claim.report.SpecHash = "sha256:other"
				a.mu.Unlock()
			}
			return Looker{Dial: f.dialer("b")}.Look(t.Context(), "web", spec.ID(), f.names)
		}
		sight, err := look("web1", "web3") // the first that is asked is one of them
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range sight.State.Results() {
			named := sight.Errors[r.Host] != nil && sight.Reports[r.Host] == nil && strings.Contains(r.Message, "another spec")
			if odd := i == 0 || i == 2; named != odd || odd != (r.Outcome == rollout.OutcomeUnreachable) {
				t.Errorf("%+v, %v", r, sight.Errors[r.Host])
			}
		}
		if _, err := look("web2", "web4"); err == nil || !strings.Contains(err.Error(), "web4: ") || !strings.Contains(err.Error(), "another spec") {
			t.Errorf("%v", err)
		}
	})
}

// Who may claim one host does not have others believe in a rollout of theirs.
func TestAHostSpeaksForOthers(t *testing.T) {
	story(t, 3, func(t *testing.T, f *fleet) {
		all := f.names
		f.names = all[:2]
		spec := f.spec(t, "1", nil, rollout.Shape{})
		data, err := spec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		a := f.agents["web3"]
		a.mu.Lock()
		a.take(&pb.ClaimRolloutRequest{Service: "web", RolloutId: spec.ID(), Spec: data, SpecHash: spec.Hash()})
		a.mu.Unlock()
		if sight, err := (Looker{Dial: f.dialer("b")}).Look(t.Context(), "web", "", all); err == nil || !strings.Contains(err.Error(), "web3: it has a claim") {
			t.Errorf("%+v, %v", sight, err)
		}
	})
}
