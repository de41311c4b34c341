package rollout

import (
	"bytes"
	"encoding/json"
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
	releases := []Release{{Artifact: digestA, Definition: digestA}, {Artifact: "sha256:" + strings.Repeat("0", 64), Definition: digestA}}
	s, err := NewSpec("web", releases, plan, policy, []string{"c", "a", "b", "a"}, Request{ID: "build-7", Actor: "alice", Reason: "fixes <the> leak & more"})
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
	if h := s.Hash(); h != "sha256:c33bc658a4108e102480a62ea905e42e1cad7f40df00ce12ddac63955d43a7c7" {
		t.Errorf("hash %s", h)
	}
	if id := s.ID(); id != "r-384b2a08ed66" {
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
	for why, text := range map[string]string{
		"unexpected end":           "",
		"cannot unmarshal":         "[]",
		"after top-level value":    string(data) + "{}",
		"one form":                 " " + string(data),
		"newer gracectl":           with(func(m map[string]any) { m["version"] = 2 }),
		"of form 0":                with(func(m map[string]any) { m["version"] = 0 }),
		"unknown field":            with(func(m map[string]any) { m["then"] = 1 }),
		"not a service's name":     with(func(m map[string]any) { m["service"] = "../x" }),
		"is not a digest":          with(func(m map[string]any) { m["releases"] = []any{map[string]any{"artifact": "x", "definition": "y"}} }),
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
