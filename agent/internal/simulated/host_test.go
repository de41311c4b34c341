package simulated

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fated is a machine on which each program is called what becomes of it.
func fated(t *testing.T) *supervisor.Supervisor {
	t.Helper()
	fates := map[string]Fate{"host:/serves": Serves, "host:/serves-too": Serves, "host:/fails": Fails, "host:/hangs": Hangs}
	machine := New(Conduct{Ready: time.Millisecond, Drain: 5 * time.Millisecond, Fate: func(a string) Fate { return fates[a] }},
		func(service.Spec) (string, error) { return "v1", nil })
	s := supervisor.New(machine, NewRecords(NewRollouts()), hclog.NewNullLogger())
	t.Cleanup(func() { end(t, s) })
	spec := spectest.Minimal()
	spec.Artifact = "host:/serves"
	spec.Readiness = service.Readiness{Timeout: time.Minute, Probe: service.Probe{Notify: true}}
	spec.Upgrade.Soak = 10 * time.Millisecond
	if _, err := s.Apply(t.Context(), supervisor.ApplyRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	await(t, s, func(st supervisor.Status) bool { return st.Active == 1 && st.Upgrade.State.Ended() })
	return s
}

// await returns the first status that is as wanted.
func await(t *testing.T, s *supervisor.Supervisor, wanted func(supervisor.Status) bool) (found supervisor.Status) {
	t.Helper()
	come := errors.New("it has come")
	err := s.Watch(t.Context(), "web", 0, func(st supervisor.Status, _ string) error {
		if found = st; wanted(st) {
			return come
		}
		return nil
	})
	if !errors.Is(err, come) {
		t.Fatal(err)
	}
	return found
}

func upgrade(t *testing.T, s *supervisor.Supervisor, artifact string) supervisor.Status {
	t.Helper()
	if _, err := s.Upgrade(t.Context(), supervisor.UpgradeRequest{Service: "web", Artifact: artifact}); err != nil {
		t.Fatal(err)
	}
	return await(t, s, func(st supervisor.Status) bool { return st.Upgrade.State.Ended() })
}

func TestAProgramThatServesIsPromotedAndTheOldOneDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fated(t)
		if got := upgrade(t, s, "host:/serves-too").Upgrade; got.State != lifecycle.UpgradeSucceeded {
			t.Fatalf("%v: %s", got.State, got.Message)
		}
		st := await(t, s, func(st supervisor.Status) bool { return st.Generations[1].State.Ended() })
		if old := st.Generations[1]; old.Number != 1 || old.Exit == nil || old.Exit.Code != 0 || old.Exit.Signal != 0 || old.Drain != nil && old.Drain.Forced > 0 {
			t.Errorf("the old generation did not end by itself: %+v", old)
		}
		if active := st.Generations[0]; st.Active != 2 || active.Connections == nil || *active.Connections != 1 {
			t.Errorf("generation %d is active: %+v", st.Active, active)
		}
	})
}

func TestAProgramThatFailsOrHangsIsTurnedAway(t *testing.T) {
	for artifact, reason := range map[string]lifecycle.Reason{"host:/fails": lifecycle.ReasonExitedEarly, "host:/hangs": lifecycle.ReasonReadyTimeout} {
		synctest.Test(t, func(t *testing.T) {
			st := upgrade(t, fated(t), artifact)
			if st.Upgrade.State != lifecycle.UpgradeFailed || st.Upgrade.Reason != reason || st.Active != 1 {
				t.Errorf("%s: %v, %v: %s; generation %d is active", artifact, st.Upgrade.State, st.Upgrade.Reason, st.Upgrade.Message, st.Active)
			}
		})
	}
}

// end closes a supervisor.
func end(t *testing.T, s *supervisor.Supervisor) {
	t.Helper()
	const limit = 10 * time.Second
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Close()
	}()
	select {
	case <-ended:
	case <-time.After(limit):
		t.Errorf("it has not ended after %v", limit)
	}
}

// An agent may be told to end while a generation is being turned away.
func TestASupervisorEndsAtAnyInstant(t *testing.T) {
	const often = 30
	for range often {
		s := fated(t)
		upgrade(t, s, "host:/fails")
		if end(t, s); t.Failed() {
			return
		}
	}
}
