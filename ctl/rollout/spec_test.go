package rollout

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func sample(t testing.TB) Spec {
	t.Helper()
	hosts := []Host{{Name: "b"}, {Name: "a"}, {Name: "c", Release: 1}}
	for i := range hosts {
		hosts[i].Labels = map[string]string{"zone": "z" + hosts[i].Name[:1]}
	}
	plan, err := Arrange(hosts, Shape{Canary: Canary{Amount: Amount{N: 1}}, Waves: Waves{Factor: 2}, Spread: "zone"})
	if err != nil {
		t.Fatal(err)
	}
	policy := DefaultPolicy()
	policy.MaxInFlight, policy.MaxFailures, policy.Pause = 2, Amount{N: 1250, Share: true}, 30*time.Second
	policy.Checks = []Check{
		{Command: []string{"./smoke", "{host}"}, Interval: time.Second, Failures: 3, For: time.Minute},
		{HTTP: "https://{host}/version", Interval: time.Second, Failures: 1},
		{Prometheus: "http://metrics:9090", Query: `up{instance="{address}"}`, Interval: 10 * time.Second, Failures: 2},
	}
	soak := time.Duration(0)
	s, err := NewSpec(Spec{
		Service: "web", Action: ActionUpgrade, Plan: plan, Policy: policy, Gates: []string{"c", "a", "b", "a"},
		Releases: []Release{{Artifact: digestA, Definition: []byte{1, 2}, Signature: []byte("signed")}, {Artifact: "host:/usr/sbin/nginx"}},
		Options:  Options{Steps: []int{100, 1000}, Soak: &soak},
		Request:  Request{ID: "build-7", Actor: "alice", Reason: "fixes <the> leak & more"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSpecHasOneForm: hosts have stored it, and a later program must find the same
// hash for it.
func TestSpecHasOneForm(t *testing.T) {
	s := sample(t)
	got, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "spec.json")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the form has changed, and with it the hash of what hosts have stored:\n%s\n%s", got, want)
	}
	if h := s.Hash(); h != "sha256:bcde317a441a3891af04e7b3a1d3f8e65834f17acb91834464d8ab5f83a004d0" {
		t.Errorf("hash %s", h)
	}
	if id := s.ID(); id != "r-0c1b7a4f42a0" {
		t.Errorf("id %s", id)
	}
	back, err := Decode(got)
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestHashIsOfWhatIsDone(t *testing.T) {
	s := sample(t)
	other := s
	other.Request = Request{ID: "build-8", Actor: "bob"}
	other.Gates = []string{"a"}
	if other.Hash() != s.Hash() {
		t.Error("who asks, or what else there is, changes what is done: the same command would not attach")
	}
	if other.ID() == s.ID() {
		t.Error("another request is the same rollout")
	}
	other = s
	other.Policy.Pause++
	if other.Hash() == s.Hash() {
		t.Error("another policy is the same thing to do")
	}
	other = s
	other.Plan.Waves = []int{3}
	if other.Hash() == s.Hash() {
		t.Error("other waves are the same thing to do")
	}
}

func TestDecodeRefuses(t *testing.T) {
	data, err := sample(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(m map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	plan := func(m map[string]any) map[string]any { return m["plan"].(map[string]any) }
	policy := func(m map[string]any) map[string]any { return m["policy"].(map[string]any) }
	check := func(c map[string]any) string {
		whole := map[string]any{"interval_ns": time.Second, "failures": 1}
		maps.Copy(whole, c)
		return with(func(m map[string]any) { policy(m)["checks"] = []any{whole} })
	}
	for why, text := range map[string]string{
		"unexpected end":        "",
		"cannot unmarshal":      "[]",
		"after top-level value": string(data) + "{}",
		"one form":              " " + string(data),
		"newer gracectl":        with(func(m map[string]any) { m["version"] = 2 }),
		"of form 0":             with(func(m map[string]any) { m["version"] = 0 }),
		"unknown field":         with(func(m map[string]any) { m["then"] = 1 }),
		"not a service's name":  with(func(m map[string]any) { m["service"] = "../x" }),
		"is not an artifact":    with(func(m map[string]any) { m["releases"] = []any{map[string]any{"artifact": "x"}} }),
		"only a rollback finds": with(func(m map[string]any) { m["releases"] = []any{map[string]any{"version": "1.2"}} }),
		"no artifact of its own": with(func(m map[string]any) {
			m["action"], m["releases"] = "restart", []any{map[string]any{"artifact": digestA}}
		}),
		"no definition":            with(func(m map[string]any) { m["action"] = "rollback" }),
		"want upgrade, restart":    with(func(m map[string]any) { m["action"] = "stop" }),
		"steps must rise":          with(func(m map[string]any) { m["options"] = map[string]any{"steps": []int{5, 5}} }),
		"basis points":             with(func(m map[string]any) { m["options"] = map[string]any{"steps": []int{10000}} }),
		"hold or soak":             with(func(m map[string]any) { m["options"] = map[string]any{"soak_ns": -1} }),
		"asks one thing":           check(map[string]any{"command": []string{"x"}, "http": "http://x"}),
		"server's URL and a query": check(map[string]any{"prometheus": "http://x"}),
		"has no program":           check(map[string]any{"command": []string{""}}),
		"can be asked":             check(map[string]any{"http": "file:///etc/passwd"}),
		"every host would store":   check(map[string]any{"http": "http://user:secret@x/"}),
		"an interval of 1ns":       check(map[string]any{"http": "http://x", "interval_ns": 1}),
		"0 failures":               check(map[string]any{"http": "http://x", "failures": 0}),
		"0 releases":               with(func(m map[string]any) { m["releases"] = nil }),
		"gets release 1 of 1":      with(func(m map[string]any) { m["releases"] = m["releases"].([]any)[:1] }),
		"2 hosts are in no wave":   with(func(m map[string]any) { plan(m)["waves"] = []int{1} }),
		"a wave of 9 hosts":        with(func(m map[string]any) { plan(m)["waves"] = []int{9} }),
		"a wave of -1 hosts":       with(func(m map[string]any) { plan(m)["waves"] = []int{-1, 4} }),
		"0 hosts":                  with(func(m map[string]any) { plan(m)["targets"] = nil }),
		"meant twice":              with(func(m map[string]any) { ts := plan(m)["targets"].([]any); ts[1] = ts[0] }),
		"pause of -1ns":            with(func(m map[string]any) { policy(m)["pause_ns"] = -1 }),
		"want one of them":         with(func(m map[string]any) { policy(m)["manual"] = true }),
		"to get the artifact":      with(func(m map[string]any) { policy(m)["fetch_timeout_ns"] = 0 }),
		"is not an amount":         with(func(m map[string]any) { policy(m)["max_failures"] = "many" }),
		"rollback or hold":         with(func(m map[string]any) { policy(m)["on_failure"] = "" }),
		"hold, rollback or finish": with(func(m map[string]any) { policy(m)["on_orphan"] = "x" }),
		"in flight":                with(func(m map[string]any) { policy(m)["max_in_flight"] = -1 }),
		"to claim first":           with(func(m map[string]any) { m["gates"] = []string{"b", "a"} }),
		"nobody asked":             with(func(m map[string]any) { m["request"] = map[string]any{} }),
		"cannot be printed":        with(func(m map[string]any) { m["request"] = map[string]any{"id": "1", "actor": "\x1b[2J"} }),
	} {
		if _, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want it to say %q, of %.200s", err, why, text)
		}
	}
	large := sample(t)
	large.Plan.Targets = nil
	for i := range maxHosts {
		large.Plan.Targets = append(large.Plan.Targets, Target{Name: strings.Repeat("x", 100) + strconv.Itoa(i)})
	}
	large.Plan.Waves = []int{maxHosts}
	if _, err := large.Encode(); err == nil || !strings.Contains(err.Error(), "fewer hosts") {
		t.Errorf("too long to be stored: %v", err)
	}
	if _, err := Decode(make([]byte, maxSpec+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too long: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	data, err := os.ReadFile("testdata/spec.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, text := range []string{"", "{}", `{"version":1}`, `{"version":1e9}`, `{"version":1,"plan":{"waves":[9223372036854775807,1]}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q, %v", data, again, err)
		}
		if m := New(s); len(m.targets()) != len(s.Plan.Targets) || len(m.Effects()) != 1 {
			t.Errorf("%q begins with %+v", data, m)
		}
	})
}

// TestRebuildSeesWhatADriverDoes: asked at any time, the hosts tell an onlooker where
// the rollout is, also when it has ended.
func TestRebuildSeesWhatADriverDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			f.happen()
		}
		f.calm()
		d := f.last()
		for _, h := range d.state.Hosts {
			if h.Lost || h.Progress == Skipped || h.Reason == ReasonNoArtifact {
				t.Skip("who is away, or was never claimed, tells nothing")
			}
		}
		var reports []Event
		for name, a := range f.agents {
			e := Event{Type: Reported, Host: name, Progress: a.progress, Revision: a.revision}
			if !a.claimed {
				e.Type, e.Ending = Released, a.ending
			}
			reports = append(reports, e)
		}
		s := Rebuild(f.spec, reports, f.at)
		if s.Phase != Ended || s.Verdict() != d.state.Verdict() {
			t.Fatalf("the driver left with %d, an onlooker sees %v, %d:\n%+v\n%+v", d.state.Verdict(), s.Phase, s.Verdict(), d.state, s)
		}
		for i, r := range s.Results() {
			if want := d.state.Results()[i]; r != want {
				t.Fatalf("%+v, and the driver said %+v", r, want)
			}
		}
	})
}
