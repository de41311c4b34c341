package rollout

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func planOf(t testing.TB, n int, shape Shape) Plan {
	t.Helper()
	var hosts []Host
	for i := range n {
		hosts = append(hosts, Host{Name: fmt.Sprintf("h%d", i), Labels: map[string]string{"zone": fmt.Sprint(i % 2)}})
	}
	p, err := Arrange(hosts, shape)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestForesee(t *testing.T) {
	policy := DefaultPolicy()
	policy.MaxInFlight, policy.Pause = 2, time.Minute
	spec := specOf(t, planOf(t, 6, Shape{Canary: Canary{Amount: Amount{N: 1}}}), policy, []string{"h0"})
	got := Foresee(spec, Facts{
		Hosts: map[string]HostFacts{
			"h0": {Connections: 10, DrainLimit: 30 * time.Second, Drains: []time.Duration{5 * time.Second, 50 * time.Second, 40 * time.Second}},
			"h1": {Connections: 100, Drains: []time.Duration{2 * time.Minute}},
			"h2": {Connections: 7, DrainLimit: 30 * time.Second},
			"h3": {Unchanged: true, Connections: 5, DrainLimit: time.Second},
			"h4": {Has: true, Connections: -1, Drains: []time.Duration{10 * time.Second}},
			"h5": {DrainLimit: time.Minute, Connections: 3, Drains: []time.Duration{20 * time.Second}},
		},
		Sizes: []int64{1000}, Upgrade: 10 * time.Second,
	})
	want := Estimate{
		Bytes: 4 * 1000, AtRisk: 17, Uncounted: 1, Guessed: 1,
		Waves: []WaveEstimate{{Hosts: 1, AtRisk: 10, Took: 10 * time.Second}, {Hosts: 5, AtRisk: 7, Took: 20 * time.Second}},
		Took:  (10 + 60 + 20) * time.Second,
		// h1 is one of the first two of its wave, and drains for two minutes.
		Drained: (10+60+10)*time.Second + 2*time.Minute,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}

// Of a host without drains of its own those of the others tell, and its own limit.
func TestForeseeDrains(t *testing.T) {
	spec := specOf(t, planOf(t, 3, Shape{}), DefaultPolicy(), []string{"h0"})
	for name, c := range map[string]struct {
		hosts   map[string]HostFacts
		drained time.Duration
		guessed int
	}{
		"nothing is known":      {nil, 10 * time.Second, 3},
		"one stands for others": {map[string]HostFacts{"h0": {Drains: []time.Duration{time.Minute}}}, 70 * time.Second, 2},
		"which have a limit": {map[string]HostFacts{
			"h0": {Unchanged: true, Drains: []time.Duration{time.Minute}}, "h1": {DrainLimit: time.Second}, "h2": {DrainLimit: 2 * time.Second},
		}, 12 * time.Second, 2},
	} {
		if got := Foresee(spec, Facts{Hosts: c.hosts, Upgrade: 10 * time.Second}); got.Took != 10*time.Second || got.Drained != c.drained || got.Guessed != c.guessed {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Zones follow one another, whatever may be in flight.
func TestForeseeSpread(t *testing.T) {
	spec := specOf(t, planOf(t, 4, Shape{Spread: "zone"}), DefaultPolicy(), []string{"h0"})
	if got := Foresee(spec, Facts{Upgrade: time.Minute}); got.Took != 2*time.Minute || got.Uncounted != 4 {
		t.Errorf("%+v", got)
	}
}

// TestForeseeEnds at once, and never takes longer than one host after the other.
func TestForeseeEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		facts := Facts{Hosts: map[string]HostFacts{}, Upgrade: time.Duration(rapid.IntRange(0, 100).Draw(t, "upgrade"))}
		for name, a := range f.agents {
			facts.Hosts[name] = HostFacts{Unchanged: a.unchanged}
		}
		changing := 0
		for _, t := range f.spec.Plan.Targets {
			if !facts.Hosts[t.Name].Unchanged {
				changing++
			}
		}
		e := Foresee(f.spec, facts)
		most := time.Duration(changing) * facts.Upgrade
		if !f.spec.Policy.Manual {
			most += time.Duration(len(e.Waves)-1) * f.spec.Policy.Pause
		}
		if e.Took > most || e.Took < facts.Upgrade && changing > 0 || e.Drained != e.Took {
			t.Fatalf("%+v takes at most %v", e, most)
		}
	})
}

func TestForeseeLargeFleet(t *testing.T) {
	spec := specOf(t, planOf(t, 1000, Shape{Waves: Waves{Factor: 2}}), DefaultPolicy(), []string{"h0"})
	e := Foresee(spec, Facts{Upgrade: time.Minute})
	if e.Took != 10*time.Minute || len(e.Waves) != 10 {
		t.Errorf("%+v", e)
	}
	for i, w := range e.Waves {
		if w.Took != time.Minute {
			t.Errorf("wave %d takes %v", i, w.Took)
		}
	}
}

func TestCompare(t *testing.T) {
	e := Estimate{Bytes: 100, Took: time.Minute, Waves: []WaveEstimate{{Took: 20 * time.Second}, {Took: 40 * time.Second}}}
	c := Compare(e, Actual{Bytes: 100, Took: 90 * time.Second, Waves: []time.Duration{90 * time.Second}})
	want := Comparison{
		Bytes: Pair[int64]{100, 100}, Took: Pair[time.Duration]{time.Minute, 90 * time.Second},
		Waves: []Pair[time.Duration]{{20 * time.Second, 90 * time.Second}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want\n%+v", c, want)
	}
}
