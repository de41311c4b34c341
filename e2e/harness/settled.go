//go:build linux

package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// settleLimit is how long after a rollout's command has ended a host may be in
// between.
const settleLimit = 30 * time.Second

// Report is how a rollout's command says that it ended.
type Report struct {
	ID string
	// Hosts have what became of each targeted host, in a word.
	Hosts map[string]string
	// Foreseen and Taken are empty where nothing was foreseen.
	Foreseen, Taken Figures
}

// Figures are what a rollout takes.
type Figures struct {
	Bytes, HostsWithoutDrains  int64
	Seconds, SecondsWithDrains float64
}

// Report reads the last line of a gracectl -o json.
func (r Result) Report(t testing.TB) Report {
	t.Helper()
	out := strings.TrimSpace(r.Stdout)
	var line struct {
		Type, ID string
		ExitCode int
		Hosts    []struct{ Host, Outcome string }

		Foreseen, Taken Figures
	}
	if err := json.Unmarshal([]byte(out[strings.LastIndexByte(out, '\n')+1:]), &line); err != nil || line.Type != "result" {
		t.Fatalf("no result at the end (%v): %v", err, r)
	}
	if line.ExitCode != r.Code {
		t.Errorf("the result has exit code %d: %v", line.ExitCode, r)
	}
	report := Report{ID: line.ID, Hosts: map[string]string{}, Foreseen: line.Foreseen, Taken: line.Taken}
	for _, h := range line.Hosts {
		if report.Hosts[h.Host] != "" {
			t.Errorf("%s is in the result twice: %v", h.Host, r)
		}
		report.Hosts[h.Host] = h.Outcome
	}
	return report
}

// Count says how many hosts of a report became something.
func (r Report) Count(outcome string) (n int) {
	for _, o := range r.Hosts {
		if o == outcome {
			n++
		}
	}
	return n
}

// Runs is the artifact of each host's active generation, by the host's name.
func (f *Fleet) Runs() map[string]string {
	f.t.Helper()
	runs := map[string]string{}
	for _, h := range f.Hosts {
		runs[h.Name] = Active(h.Status(f.t, "web")).GetArtifact()
	}
	return runs
}

// Settled fails the test unless soon after a rollout's command has ended no host is in
// between: one active generation has every connection, no upgrade is in progress, the
// claim is given up where the report does not say that the host was out of reach, and
// what runs is what the report says: the artifact, or that of before.
func (f *Fleet) Settled(r Report, before map[string]string, artifact string) {
	f.t.Helper()
	if len(r.Hosts) != len(f.Hosts) {
		f.t.Errorf("of %d hosts the report lists %v", len(f.Hosts), r.Hosts)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), settleLimit)
	defer cancel()
	for i, err := range f.each(func(h *Host) error { return h.settles(ctx, f.t, r.Hosts[h.Name], before[h.Name], artifact) }) {
		if err != nil {
			f.t.Errorf("%s, %s in the report, is in limbo: %v", f.Hosts[i].Name, r.Hosts[f.Hosts[i].Name], err)
		}
	}
}

func (h *Host) settles(ctx context.Context, t testing.TB, outcome, before, artifact string) (err error) {
	for {
		if err = h.settled(t, outcome, before, artifact); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (h *Host) settled(t testing.TB, outcome, before, artifact string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	answer, err := pb.NewSupervisorServiceClient(h.Client(t)).GetService(ctx, &pb.GetServiceRequest{Name: "web"}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if err := inLimbo(answer.GetStatus()); err != nil {
		return err
	}
	if err := asReported(Active(answer.GetStatus()).GetArtifact(), outcome, before, artifact); err != nil {
		return err
	}
	if outcome == "unreachable" {
		return nil
	}
	return h.claimed(ctx, t)
}

// inLimbo says what keeps a service from being at rest.
func inLimbo(s *pb.ServiceStatus) error {
	active := 0
	for _, g := range s.GetGenerations() {
		switch g.GetState() {
		case pb.Generation_STATE_ACTIVE:
			active++
			if g.GetWeight() != 10000 {
				return fmt.Errorf("generation %d is active with weight %d", g.GetNumber(), g.GetWeight())
			}
		case pb.Generation_STATE_STARTING, pb.Generation_STATE_CANDIDATE, pb.Generation_STATE_STANDBY:
			return fmt.Errorf("generation %d is %v", g.GetNumber(), g.GetState())
		}
	}
	if active != 1 {
		return fmt.Errorf("%d generations are active", active)
	}
	switch s.GetUpgrade().GetState() {
	case pb.Upgrade_STATE_STARTING, pb.Upgrade_STATE_CANARY, pb.Upgrade_STATE_SOAKING:
		return fmt.Errorf("its upgrade is %v", s.GetUpgrade().GetState())
	}
	return nil
}

// asReported compares what runs with what the report says.
func asReported(runs, outcome, before, artifact string) error {
	want := map[string][]string{
		"upgraded": {artifact}, "unchanged": {artifact},
		"rolled-back": {before}, "failed": {before}, "skipped": {before}, "not-started": {before},
		"unreachable": {before, artifact},
	}[outcome]
	if slices.Contains(want, runs) {
		return nil
	}
	return fmt.Errorf("it runs %s, want %v", runs, want)
}

// claimed says which rollout still holds the service.
func (h *Host) claimed(ctx context.Context, t testing.TB) error {
	answer, err := pb.NewRolloutServiceClient(h.Client(t)).ListRollouts(ctx, &pb.ListRolloutsRequest{Service: "web"}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for _, r := range answer.GetReports() {
		if r.GetReleaseTime() == nil {
			return fmt.Errorf("rollout %s still has it, %v", r.GetRolloutId(), r.GetProgress())
		}
	}
	return nil
}
