package steer_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

var compareAddress = cmp.Comparer(func(a, b service.Address) bool { return a == b })

func address(t testing.TB, s string) service.Address {
	t.Helper()
	a, err := service.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// joined has slots 1..n on an address.
func joined(t testing.TB, a service.Address, n int) steer.Order {
	t.Helper()
	var o steer.Order
	for s := steer.Slot(1); s <= steer.Slot(n); s++ {
		o = must(t)(o.Join(s, []service.Address{a})).Done()
	}
	return o
}

func must(t testing.TB) func(steer.Order, error) steer.Order {
	t.Helper()
	return func(o steer.Order, err error) steer.Order {
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
}

func TestCloseMovesTheLastIntoTheFreeIndex(t *testing.T) {
	a := address(t, "tcp://127.0.0.1:80")
	for _, c := range []struct {
		close steer.Slot
		want  []steer.Slot
	}{{1, []steer.Slot{3, 2}}, {2, []steer.Slot{1, 3}}, {3, []steer.Slot{1, 2}}} {
		o := must(t)(joined(t, a, 3).Close(c.close)).Done()
		if d := cmp.Diff(c.want, o.Of(a)); d != "" {
			t.Errorf("close %d: %s", c.close, d)
		}
	}
	if d := cmp.Diff([]steer.Slot{3, 2, 1}, joined(t, a, 3).Relisten(1, a).Of(a)); d != "" {
		t.Error("relisten:", d)
	}
	if d := cmp.Diff([]steer.Slot{3, 2}, joined(t, a, 3).Drop(1, a).Of(a)); d != "" {
		t.Error("drop:", d)
	}
}

func TestOrderIsAValue(t *testing.T) {
	a, b := address(t, "tcp://127.0.0.1:80"), address(t, "tcp://[::]:81")
	o := joined(t, a, 3)
	before := o.Clone()
	pending := must(t)(o.Join(4, []service.Address{a, b}))
	_ = pending.Done()
	_ = must(t)(o.Close(1)).Done()
	_ = o.Drop(2, a)
	o.Of(a)[0] = 99
	if d := cmp.Diff(before, o, compareAddress); d != "" {
		t.Error("the receiver changed:", d)
	}
	b1, err := json.Marshal(pending)
	if err != nil {
		t.Fatal(err)
	}
	var back steer.Order
	if err := json.Unmarshal(b1, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(pending, back, compareAddress); d != "" {
		t.Error("JSON:", d)
	}
}

func TestOneOperationAtATime(t *testing.T) {
	a := address(t, "tcp://127.0.0.1:80")
	o := must(t)(joined(t, a, 2).Close(1))
	if _, err := o.Join(3, []service.Address{a}); err == nil {
		t.Error("a join beside a close was taken")
	}
	o = o.Done()
	if _, err := o.Join(2, []service.Address{a}); err == nil {
		t.Error("slot 2 joined twice")
	}
	if _, err := o.Close(1); err == nil {
		t.Error("slot 1 was closed twice")
	}
	if _, err := o.Leave(1, a); err == nil {
		t.Error("slot 1 left twice")
	}
}

func TestClosable(t *testing.T) {
	a := address(t, "tcp://127.0.0.1:80")
	probing := steer.All(2)
	probing.Probe = 3
	for _, c := range []struct {
		name string
		n    int
		slot steer.Slot
		w    steer.Weights
		want bool
	}{
		{"the only member", 1, 1, steer.All(1), true},
		{"one would remain", 2, 1, steer.All(2), true},
		{"weighted", 2, 2, steer.All(2), false},
		{"last", 3, 3, steer.Split(1, 2, 5000), true},
		{"last member idle", 3, 1, steer.All(2), true},
		{"last member active", 3, 1, steer.All(3), false},
		{"last member a canary", 3, 1, steer.Split(2, 3, 1), false},
		{"last member probed", 3, 1, probing, false},
		{"itself probed", 3, 3, probing, false},
	} {
		if got := joined(t, a, c.n).Closable(c.slot, c.w); got != c.want {
			t.Errorf("%s: closable is %v", c.name, got)
		}
	}
}

func TestClosableInEveryGroup(t *testing.T) {
	a, b := address(t, "tcp://127.0.0.1:80"), address(t, "tcp://127.0.0.1:81")
	o := joined(t, a, 3)
	for _, s := range []steer.Slot{2, 1, 3} {
		o = must(t)(o.Join(s, []service.Address{b})).Done()
	}
	// Last on neither; on b slot 1 is in the middle.
	if o.Closable(1, steer.All(3)) {
		t.Error("slot 1 may be closed although the active slot would move")
	}
	if !o.Closable(1, steer.All(2)) {
		t.Error("slot 1 is parked although no active slot would move")
	}
}

func TestResolve(t *testing.T) {
	a, b := address(t, "tcp://127.0.0.1:80"), address(t, "tcp://127.0.0.1:81")
	both := []service.Address{a, b}
	o := must(t)(must(t)(steer.Order{}.Join(1, both)).Done().Join(2, both)).Done()
	gone := func(out ...string) func(steer.Slot, service.Address) bool {
		return func(s steer.Slot, at service.Address) bool {
			for _, g := range out {
				if g == string(rune('0'+s))+at.String() {
					return false
				}
			}
			return true
		}
	}
	half := must(t)(must(t)(o.Join(3, both)).Resolve(gone("3" + b.String())))
	if d := cmp.Diff([][]steer.Slot{{1, 2, 3}, {1, 2}}, [][]steer.Slot{half.Of(a), half.Of(b)}); d != "" {
		t.Error("a join that reached one address:", d)
	}
	half = must(t)(must(t)(o.Close(1)).Resolve(gone("1" + a.String())))
	if d := cmp.Diff([][]steer.Slot{{2}, {1, 2}}, [][]steer.Slot{half.Of(a), half.Of(b)}); d != "" {
		t.Error("a close that reached one address:", d)
	}
	if half.Pending != nil {
		t.Error("the operation is still pending")
	}
	four := joined(t, a, 4)
	if _, err := four.Resolve(gone("1"+a.String(), "2"+a.String())); !errors.Is(err, steer.ErrAmbiguous) {
		t.Error("two unseen closes of four:", err)
	}
	three := must(t)(joined(t, a, 3).Resolve(gone("1"+a.String(), "2"+a.String())))
	if d := cmp.Diff([]steer.Slot{3}, three.Of(a)); d != "" {
		t.Error("two unseen closes of three:", d)
	}
}
