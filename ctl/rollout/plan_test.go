package rollout

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var digestA = "sha256:" + strings.Repeat("a1", 32)

func TestParseAmount(t *testing.T) {
	for _, c := range []struct {
		text    string
		want    Amount
		reaches int // of 30
		allows  int
	}{
		{"0", Amount{}, 0, 0},
		{"3", Amount{N: 3}, 3, 3},
		{"40", Amount{N: 40}, 30, 30},
		{"0%", Amount{Share: true}, 0, 0},
		{"1%", Amount{N: 100, Share: true}, 1, 0},
		{"10%", Amount{N: 1000, Share: true}, 3, 3},
		{"12.5%", Amount{N: 1250, Share: true}, 4, 3},
		{"0.05%", Amount{N: 5, Share: true}, 1, 0},
		{"100%", Amount{N: 10000, Share: true}, 30, 30},
	} {
		a, err := ParseAmount(c.text)
		if err != nil || a != c.want || a.String() != c.text {
			t.Errorf("%s: %+v (%s), %v", c.text, a, a, err)
		}
		if a.Reaches(30) != c.reaches || a.Allows(30) != c.allows {
			t.Errorf("%s of 30 reaches %d and allows %d, want %d and %d", c.text, a.Reaches(30), a.Allows(30), c.reaches, c.allows)
		}
	}
	for _, text := range []string{"", "-1", "+1", " 1", "1 ", "01", "1.5", "%", "101%", "100.01%", "1.234%", ".5%", "1e2", "20001", "9999999", "10 %", "10%%", "١"} {
		if a, err := ParseAmount(text); err == nil {
			t.Errorf("%q is %v", text, a)
		}
	}
}

func TestParseWaves(t *testing.T) {
	for _, c := range []struct {
		text      string
		n, canary int
		want      []int
	}{
		{"100%", 7, 0, []int{7}},
		{"100%", 7, 1, []int{1, 6}},
		{"10%,50%,100%", 30, 1, []int{1, 2, 12, 15}},
		{"10%,50%,100%", 4, 0, []int{1, 1, 2}},
		{"1,5,20", 30, 0, []int{1, 4, 15, 10}},
		{"1,5,20", 3, 0, []int{1, 2}},
		{"5,50%", 30, 0, []int{5, 10, 15}},
		{"5,10%", 30, 0, []int{5, 25}}, // 10% are reached already
		{"exp:2", 10, 0, []int{1, 2, 4, 3}},
		{"exp:2", 10, 1, []int{1, 2, 4, 3}},
		{"exp:3", 100, 2, []int{2, 6, 18, 54, 20}},
		{"exp:2", 1, 1, []int{1}},
		{"50%", 1, 0, []int{1}},
	} {
		w, err := ParseWaves(c.text)
		if err != nil || w.String() != c.text {
			t.Errorf("%s: %s, %v", c.text, w, err)
		}
		if got := w.sizes(c.n, c.canary); !slices.Equal(got, c.want) {
			t.Errorf("%s of %d after %d: %v, want %v", c.text, c.n, c.canary, got, c.want)
		}
	}
	for text, why := range map[string]string{
		"":                          "is not an amount",
		"10%,":                      "is not an amount",
		"10%, 50%":                  "without blanks",
		"50%,10%":                   "10% after 50%",
		"5,5":                       "5 after 5",
		"0,5":                       "0 reaches nobody",
		"exp:1":                     "2 to 100",
		"exp:0":                     "whole number after exp:",
		"exp:":                      "whole number after exp:",
		"exp:2,100%":                "whole number after exp:",
		"EXP:2":                     "is not an amount",
		strings.Repeat("1,", 200):   "more than 100",
		strings.Repeat("9", 100000): "...",
	} {
		if _, err := ParseWaves(text); err == nil || !strings.Contains(err.Error(), why) || len(err.Error()) > 300 {
			t.Errorf("%.40q: %v, want it to say %q", text, err, why)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	if d, manual, err := ParsePause("manual"); d != 0 || !manual || err != nil {
		t.Error(d, manual, err)
	}
	if d, manual, err := ParsePause("30s"); d != 30e9 || manual || err != nil {
		t.Error(d, manual, err)
	}
	for _, text := range []string{"", "30", "-1s", "1000h", "promote"} {
		if _, _, err := ParsePause(text); err == nil {
			t.Errorf("pause %q", text)
		}
	}
	for _, text := range []string{"", "0", "10%", "-1", "60000"} {
		if _, err := ParseMaxInFlight(text); err == nil {
			t.Errorf("in flight %q", text)
		}
	}
	if n, err := ParseMaxInFlight("25"); n != 25 || err != nil {
		t.Error(n, err)
	}
	if _, err := ParseOnFailure("rolback"); err == nil {
		t.Error("rolback is taken")
	}
	if _, err := ParseOnOrphan("Hold"); err == nil {
		t.Error("Hold is taken")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"3", "10%", "0.5%", "1,5,20", "10%,50%,100%", "exp:2", "30s", "manual", "rollback", "finish", "", ",", "%", "exp:", "1\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAmount(text)
		if again, err2 := ParseAmount(a.String()); err == nil && (err2 != nil || again != a) {
			t.Errorf("amount %q is %v, and that %v, %v", text, a, again, err2)
		}
		w, err := ParseWaves(text)
		if again, err2 := ParseWaves(w.String()); err == nil && (err2 != nil || !reflect.DeepEqual(again, w)) {
			t.Errorf("waves %q are %v, and these %v, %v", text, w, again, err2)
		}
		checkSizes(t, w.sizes(37, 1), 37)
		if d, manual, err := ParsePause(text); err == nil && (d < 0 || manual && d != 0) {
			t.Errorf("pause %q is %v, %v", text, d, manual)
		}
		if n, err := ParseMaxInFlight(text); err == nil && (n < 1 || n > maxHosts) {
			t.Errorf("in flight %q is %d", text, n)
		}
		if o, err := ParseOnFailure(text); err == nil && string(o) != text {
			t.Errorf("on failure %q is %q", text, o)
		}
		if o, err := ParseOnOrphan(text); err == nil && string(o) != text {
			t.Errorf("on orphan %q is %q", text, o)
		}
	})
}

func checkSizes(t testing.TB, sizes []int, n int) {
	t.Helper()
	for _, size := range sizes {
		if size < 1 {
			t.Errorf("an empty wave: %v", sizes)
		}
		n -= size
	}
	if n != 0 {
		t.Errorf("%d hosts are left out by %v", n, sizes)
	}
}

func drawAmount(t *rapid.T, least int) Amount {
	if rapid.Bool().Draw(t, "share") {
		return Amount{N: rapid.IntRange(least, all).Draw(t, "points"), Share: true}
	}
	return Amount{N: rapid.IntRange(least, 60).Draw(t, "number")}
}

func drawWaves(t *rapid.T) Waves {
	if rapid.IntRange(0, 3).Draw(t, "grow") == 0 {
		return Waves{Factor: rapid.IntRange(2, 5).Draw(t, "factor")}
	}
	var w Waves
	for range rapid.IntRange(0, 5).Draw(t, "waves") {
		_ = w.add(drawAmount(t, 1)) // those that rise are taken
	}
	return w
}

// TestPlansReachEveryHostOnce, the canary first, zone after zone, and the same
// whatever the order in which the hosts are given.
func TestPlansReachEveryHostOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 50).Draw(t, "hosts")
		zones := rapid.IntRange(1, 4).Draw(t, "zones")
		var hosts []Host
		for i := range n {
			hosts = append(hosts, Host{Name: fmt.Sprintf("h%d", i), Labels: map[string]string{"zone": fmt.Sprint(i * 7 % zones)}})
		}
		shape := Shape{Waves: drawWaves(t), Canary: Canary{Amount: drawAmount(t, 0)}}
		if rapid.Bool().Draw(t, "named canary") {
			for range rapid.IntRange(1, 4).Draw(t, "canaries") {
				shape.Canary.Hosts = append(shape.Canary.Hosts, hosts[rapid.IntRange(0, n-1).Draw(t, "canary host")].Name)
			}
		}
		if rapid.Bool().Draw(t, "spread") {
			shape.Spread = "zone"
		}
		p, err := Arrange(hosts, shape)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.validate(); err != nil || len(p.Targets) != n {
			t.Fatalf("%d of %d hosts: %v", len(p.Targets), n, err)
		}
		checkCanary(t, p, shape)
		checkZones(t, p)
		shuffled := slices.Clone(hosts)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		slices.Reverse(shape.Canary.Hosts)
		if again, err := Arrange(shuffled, shape); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("the order of the hosts matters: %+v and %+v, %v", p, again, err)
		}
	})
}

func checkCanary(t *rapid.T, p Plan, shape Shape) {
	want := shape.Canary.Amount.Reaches(len(p.Targets))
	named := slices.Compact(slices.Sorted(slices.Values(shape.Canary.Hosts)))
	if len(named) > 0 {
		want = len(named)
	}
	if p.Canary != (want > 0) || p.Canary && p.Waves[0] != want {
		t.Fatalf("canary of %d: %+v", want, p)
	}
	for i, target := range p.Targets {
		if len(named) > 0 && slices.Contains(named, target.Name) != (i < want) {
			t.Fatalf("the canary is %v, and %s has place %d", named, target.Name, i)
		}
	}
}

// checkZones: after the canary, and within it, a zone that was left is not come back to.
func checkZones(t *rapid.T, p Plan) {
	first := 0
	if p.Canary {
		first = p.Waves[0]
	}
	for _, part := range [][]Target{p.Targets[:first], p.Targets[first:]} {
		if !slices.IsSortedFunc(part, func(a, b Target) int { return strings.Compare(a.Zone+" "+a.Name, b.Zone+" "+b.Name) }) {
			t.Fatalf("not by zone and name: %+v", part)
		}
	}
}

func TestArrangeRefuses(t *testing.T) {
	named := func(names ...string) (hosts []Host) {
		for _, n := range names {
			hosts = append(hosts, Host{Name: n, Labels: map[string]string{"zone": n}})
		}
		return hosts
	}
	for _, c := range []struct {
		hosts []Host
		shape Shape
		why   string
	}{
		{nil, Shape{}, "no host is meant"},
		{make([]Host, maxHosts+1), Shape{}, "at most 20000"},
		{named("a", "b", "a"), Shape{}, "host a is meant twice"},
		{named("a", ""), Shape{}, `host name ""`},
		{named("a"), Shape{Waves: Waves{Factor: -2}}, "factor of 2 to 100"},
		{named("a"), Shape{Waves: Waves{Reach: make([]Amount, 101)}}, "more than 100"},
		{named("a b"), Shape{}, `host name "a b"`},
		{named("a\x1b[2J"), Shape{}, `host name "a\x1b[2J"`},
		{named(strings.Repeat("x", 300)), Shape{}, "1 to 253 bytes"},
		{named("a", "b"), Shape{Canary: Canary{Hosts: []string{"a", "z", "y"}}}, `canary: "y", "z" have no place among the targets`},
		{named("e", "d", "c", "b", "a"), Shape{Spread: "rack"}, `spread by "rack": "a", "b", "c" and 2 more have no such label`},
	} {
		if _, err := Arrange(c.hosts, c.shape); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v, want it to say %q", err, c.why)
		}
	}
}
