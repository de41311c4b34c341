package steer_test

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// group is the kernel: an array of sockets, with the program attached last.
type group struct {
	members []steer.Slot
	prog    []bpf.RawInstruction
}

func (g *group) leave(s steer.Slot) {
	i := slices.Index(g.members, s)
	last := len(g.members) - 1
	g.members[i] = g.members[last]
	g.members = g.members[:last]
}

// host is an agent that may die before and after each thing it does, with the
// kernel and the record that survive it.
type host struct {
	t         *rapid.T
	addresses []service.Address
	kernel    map[service.Address]*group
	record    steer.Order   // written before acting
	weights   steer.Weights // what users may reach
	next      steer.Slot
	anarchy   bool // close without asking Closable
	strayed   int
}

// dies says whether the agent dies here; if so a new one takes over at once.
func (h *host) dies() bool {
	h.check()
	if rapid.IntRange(0, 5).Draw(h.t, "fate") > 0 {
		return false
	}
	h.recover()
	h.check()
	return true
}

func (h *host) recover() {
	o, err := h.record.Resolve(func(s steer.Slot, a service.Address) bool {
		return slices.Contains(h.kernel[a].members, s)
	})
	if err != nil {
		h.t.Fatalf("resolve: %v", err)
	}
	h.record = o
	for _, a := range h.addresses {
		if !slices.Equal(o.Of(a), h.kernel[a].members) {
			h.t.Fatalf("%s: resolved %v, the kernel has %v", a, o.Of(a), h.kernel[a].members)
		}
	}
}

// attach gives every group its program; the agent may die between two.
func (h *host) attach() bool {
	for _, a := range h.addresses {
		if len(h.record.Of(a)) == 0 {
			continue
		}
		p, err := steer.Program(h.record.Of(a), h.weights, a)
		if err != nil {
			h.t.Fatal(err)
		}
		h.kernel[a].prog = p
		if h.dies() {
			return false
		}
	}
	return true
}

func (h *host) join() {
	if len(h.record.Slots()) >= 6 || !h.attach() {
		return
	}
	h.next++
	o, err := h.record.Join(h.next, h.addresses)
	if err != nil {
		h.t.Fatal(err)
	}
	h.record = o
	for _, a := range h.addresses {
		if h.dies() {
			return // the slot stays where it got to, at weight 0
		}
		h.kernel[a].members = append(h.kernel[a].members, h.next)
	}
	if !h.dies() {
		h.record = h.record.Done()
	}
}

func (h *host) switchTo() {
	whole := h.whole()
	to := rapid.SampledFrom(whole).Draw(h.t, "to")
	share := rapid.SampledFrom([]int{1, 500, 5000, steer.Whole}).Draw(h.t, "share")
	var active steer.Slot
	for s, n := range h.weights.Share {
		if n >= steer.Whole/2 {
			active = s
		}
	}
	if active == to {
		share = steer.Whole
	}
	// While groups change one after another both answers are right.
	old := h.weights
	h.weights = union(old, steer.Split(active, to, share))
	if rapid.Bool().Draw(h.t, "probe") {
		h.weights.Probe = rapid.SampledFrom(whole).Draw(h.t, "probed")
	}
	allowed := h.weights
	for _, a := range h.addresses {
		w := steer.Split(active, to, share)
		w.Probe = allowed.Probe
		p, err := steer.Program(h.record.Of(a), w, a)
		if err != nil {
			h.t.Fatal(err)
		}
		h.kernel[a].prog = p
		h.check()
	}
	h.weights = steer.Split(active, to, share)
	h.weights.Probe = allowed.Probe
	h.dies()
}

func union(a, b steer.Weights) steer.Weights {
	out := steer.Weights{Share: map[steer.Slot]int{}, Probe: a.Probe}
	for _, w := range []steer.Weights{a, b} {
		for s, n := range w.Share {
			out.Share[s] += n
		}
	}
	return out
}

// whole are the slots that have every address.
func (h *host) whole() []steer.Slot {
	var out []steer.Slot
	for _, s := range h.record.Slots() {
		if len(h.record.Addresses(s)) == len(h.addresses) {
			out = append(out, s)
		}
	}
	return out
}

func (h *host) close() {
	s := rapid.SampledFrom(h.record.Slots()).Draw(h.t, "close")
	if len(h.record.Slots()) == 1 || h.weights.Used(s) {
		return
	}
	if !h.anarchy && !h.record.Closable(s, h.weights) {
		return // parked
	}
	h.leave(h.record.Close(s))
}

func (h *host) relisten() {
	s := rapid.SampledFrom(h.record.Slots()).Draw(h.t, "relisten")
	a := rapid.SampledFrom(h.record.Addresses(s)).Draw(h.t, "at")
	if h.weights.Used(s) || len(h.record.Of(a)) == 1 || !h.record.ClosableOn(s, a, h.weights) {
		return
	}
	if !h.leave(h.record.Leave(s, a)) || !h.attach() {
		return
	}
	o, err := h.record.Join(s, []service.Address{a})
	if err != nil {
		h.t.Fatal(err)
	}
	h.record = o
	if h.dies() {
		return
	}
	h.kernel[a].members = append(h.kernel[a].members, s)
	if !h.dies() {
		h.record = h.record.Done()
	}
}

func (h *host) leave(o steer.Order, err error) bool {
	if err != nil {
		h.t.Fatal(err)
	}
	h.record = o
	for _, a := range o.Pending.Addresses {
		if h.dies() {
			return false
		}
		h.kernel[a].leave(o.Pending.Slot)
	}
	if h.dies() {
		return false
	}
	h.record = h.record.Done()
	return true
}

// check connects to every address: ordinary clients may only reach a slot with
// a share, a probe only the probed one.
func (h *host) check() {
	for _, a := range h.addresses {
		g := h.kernel[a]
		if len(g.members) == 0 || len(g.prog) == 0 {
			continue
		}
		for _, random := range []uint32{0, 1, 499, 500, 4999, 5000, 9999} {
			p := newPacket(netip.MustParseAddrPort("10.0.0.1:1234"), 2, random)
			i := int(run(h.t, g.prog, p))
			reach := g.members // out of range: any
			if i < len(g.members) {
				reach = g.members[i : i+1]
			}
			for _, s := range reach {
				if h.weights.Share[s] == 0 && !h.onlyOne(g) {
					h.strayed++
				}
			}
		}
	}
}

// checkProbe connects as a probe does.
func (h *host) checkProbe() {
	g := h.kernel[h.addresses[0]]
	if h.weights.Probe == 0 || h.onlyOne(g) {
		return
	}
	i := int(run(h.t, g.prog, newPacket(netip.MustParseAddrPort("127.71.0.7:1234"), 1, 0)))
	if i >= len(g.members) || g.members[i] != h.weights.Probe {
		h.strayed++
	}
}

// onlyOne: a group of one has no choice, for instance after a join that reached
// only some addresses.
func (h *host) onlyOne(g *group) bool { return len(g.members) == 1 }

func newHost(t *rapid.T, addresses []service.Address, anarchy bool) *host {
	h := &host{t: t, addresses: addresses, kernel: map[service.Address]*group{}, weights: steer.All(1), next: 1, anarchy: anarchy}
	for _, a := range addresses {
		h.kernel[a] = &group{members: []steer.Slot{1}}
	}
	o, err := steer.Order{}.Join(1, addresses)
	if err != nil {
		t.Fatal(err)
	}
	h.record = o.Done()
	h.attach()
	return h
}

func TestNothingIsMisdirected(t *testing.T) {
	addresses := []service.Address{address(t, "tcp://0.0.0.0:80"), address(t, "tcp://[::1]:81")}
	rapid.Check(t, func(t *rapid.T) {
		h := newHost(t, addresses, false)
		t.Repeat(map[string]func(*rapid.T){
			"join":     func(t *rapid.T) { h.t = t; h.join() },
			"switch":   func(t *rapid.T) { h.t = t; h.switchTo() },
			"close":    func(t *rapid.T) { h.t = t; h.close() },
			"relisten": func(t *rapid.T) { h.t = t; h.relisten() },
			"": func(t *rapid.T) {
				h.t = t
				h.checkProbe()
				if h.check(); h.strayed > 0 {
					t.Fatalf("%d connections went astray: order %v weights %v", h.strayed, h.record, h.weights)
				}
			},
		})
	})
}

// TestWithoutTheRuleConnectionsStray shows that the model can fail.
func TestWithoutTheRuleConnectionsStray(t *testing.T) {
	addresses := []service.Address{address(t, "tcp://0.0.0.0:80")}
	strayed := 0
	rapid.Check(t, func(t *rapid.T) {
		h := newHost(t, addresses, true)
		t.Repeat(map[string]func(*rapid.T){
			"join":   func(t *rapid.T) { h.t = t; h.join() },
			"switch": func(t *rapid.T) { h.t = t; h.switchTo() },
			"close":  func(t *rapid.T) { h.t = t; h.close() },
		})
		strayed += h.strayed
	})
	if strayed == 0 {
		t.Error("closing any slot never misdirected a connection: the model proves nothing")
	}
}
