//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/load"
)

const inARow = 10

const (
	signalDrain  = "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\nupgrade: {soak: 0s}\ndrain: {mode: signal, timeout: 20s}\n"
	patientDrain = "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {http: {socket: http, path: /}}\nupgrade: {soak: 0s}\ndrain: {mode: patient, timeout: 20s}\n"
)

// rate of fresh requests a second, and of those on lasting connections.
func rate() float64 {
	if full {
		return 1000
	}
	return 200
}

// spacing lets each generation serve for a moment.
func spacing() time.Duration {
	if full {
		return time.Second
	}
	return 100 * time.Millisecond
}

func TestUpgradesOfAProgramOnTheLibrary(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	s.manyUpgrades(s.alternate())
}

// The program calls http.Server.Shutdown at once on SIGTERM, which by itself
// loses requests: its generations live side by side until their clients leave.
func TestUpgradesOfAnUnmodifiedProgram(t *testing.T) {
	s := start(t, "plain", patientDrain)
	s.manyUpgrades(s.alternate())
}

func TestRollbacksOfAProgramOnTheLibrary(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	s.manyRollbacks(s.alternate())
}

func TestRollbacksOfAnUnmodifiedProgram(t *testing.T) {
	s := start(t, "plain", patientDrain)
	s.manyRollbacks(s.alternate())
}

// alternate upgrades to v2, v1, v2 and so on.
func (s *service) alternate() func(i int) {
	s.t.Helper()
	digests := []string{s.push("v2"), s.push("v1")}
	return func(i int) { s.upgrade(digests[i%2], 0) }
}

// switches is what was measured of several changes in a row.
type switches struct {
	first, gaps []time.Duration
}

// under puts the load on while change is called so many times. Each call starts
// an upgrade or a rollback.
func (s *service) under(times int, change func(i int)) (load.Snapshot, switches) {
	s.t.Helper()
	m := &meter{}
	l := s.load(rate(), rate(), m.hear)
	answered(s.t, l, 100)
	var sw switches
	for i := range times {
		m.reset()
		before := time.Now()
		change(i)
		up := s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		answered(s.t, l, int64(2*rate()*spacing().Seconds()))
		if at := m.firstAnswer(fmt.Sprint(up.GetToGeneration())); at.After(before) {
			sw.first = append(sw.first, at.Sub(before))
		}
		sw.gaps = append(sw.gaps, m.longestGap())
	}
	return unharmed(s.t, l), sw
}

func (s *service) manyUpgrades(upgrade func(i int)) {
	s.t.Helper()
	seen, sw := s.under(inARow, upgrade)
	left := time.Now()
	s.awaitAlone(5 * time.Second)
	s.report("upgrades", seen, sw, time.Since(left))
	active := fmt.Sprint(inARow + 1)
	if len(seen.Generations) != inARow+1 || seen.Generations[active].Fresh == 0 {
		s.t.Errorf("not every generation answered:\n%v", seen)
	}
}

// manyRollbacks goes back as often as it goes on: after each upgrade there is
// something to go back to.
func (s *service) manyRollbacks(upgrade func(i int)) {
	s.t.Helper()
	seen, sw := s.under(2*inARow, func(i int) {
		if i%2 == 0 {
			upgrade(0)
			return
		}
		answer, err := s.upgrades().RollbackService(s.t.Context(), &pb.RollbackServiceRequest{Service: "web"})
		if err != nil {
			s.t.Fatal(err)
		}
		if answer.GetUnchanged() || answer.GetAborted() {
			s.t.Fatalf("a rollback returns to nothing: %v", answer)
		}
	})
	left := time.Now()
	s.awaitAlone(5 * time.Second)
	s.report("upgrades and rollbacks", seen, sw, time.Since(left))
}

func (s *service) report(what string, seen load.Snapshot, sw switches, gone time.Duration) {
	s.t.Logf("%s in a row: %d; call to first answer of the new generation p50 %v; longest gap p50 %v; old ones gone %v after the clients\n%v",
		what, len(sw.gaps), median(sw.first), median(sw.gaps), gone.Round(time.Millisecond), seen)
}
