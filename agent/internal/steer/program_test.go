package steer_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

func program(t testing.TB, order []steer.Slot, w steer.Weights, a service.Address) []bpf.RawInstruction {
	t.Helper()
	p, err := steer.Program(order, w, a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOneWeightedSlotNeedsOneInstruction(t *testing.T) {
	a := address(t, "tcp://127.0.0.1:80")
	p := program(t, []steer.Slot{1, 2, 3}, steer.All(3), a)
	if len(p) != 1 || run(t, p, newPacket(netip.MustParseAddrPort("10.0.0.1:9"), 2, 0)) != 2 {
		t.Errorf("program is %v", p)
	}
}

func TestSharesAreExact(t *testing.T) {
	a := address(t, "tcp://127.0.0.1:80")
	for _, share := range []int{1, 100, 500, 2500, 5000, 9999} {
		p := program(t, []steer.Slot{2, 7, 1}, steer.Split(1, 2, share), a)
		hits := map[uint32]int{}
		for r := range uint32(steer.Whole) {
			hits[run(t, p, newPacket(netip.MustParseAddrPort("10.0.0.1:9"), 2, r))]++
		}
		if hits[0] != share || hits[2] != steer.Whole-share {
			t.Errorf("share %d: %v", share, hits)
		}
	}
}

func TestProbeRule(t *testing.T) {
	const active, candidate = 0, 1
	for _, c := range []struct {
		listen, source string
		iface          uint32
		want           uint32
	}{
		{"tcp://0.0.0.0:80", "127.71.0.7:40000", 1, candidate},
		{"tcp://0.0.0.0:80", "127.71.0.7:40000", 2, active},
		{"tcp://0.0.0.0:80", "127.71.0.8:40000", 1, active},
		{"tcp://[::]:80", "127.71.0.7:40000", 1, candidate},
		{"tcp://[::]:80", "127.71.0.7:40000", 3, active},
		{"tcp://[::]:80", "127.0.0.1:40000", 1, active},
		{"tcp://[::]:80", "[::1]:50001", 1, active},
		{"tcp://[::1]:80", "[::1]:50001", 1, candidate},
		{"tcp://[::1]:80", "[::1]:50002", 1, candidate},
		{"tcp://[::1]:80", "[::1]:50003", 1, active},
		{"tcp://[::1]:80", "[::1]:50001", 2, active},
		{"udp://0.0.0.0:80", "127.71.0.7:40000", 1, active},
	} {
		w := steer.All(1)
		w.Probe, w.ProbePorts = 2, []uint16{50001, 50002}
		p := program(t, []steer.Slot{1, 2}, w, address(t, c.listen))
		got := run(t, p, newPacket(netip.MustParseAddrPort(c.source), c.iface, 5))
		if got != c.want {
			t.Errorf("%s from %s over interface %d: index %d, want %d", c.listen, c.source, c.iface, got, c.want)
		}
	}
	// An IPv6 header that carries the probe's bytes where IPv4 has its source.
	w := steer.All(1)
	w.Probe = 2
	p := program(t, []steer.Slot{1, 2}, w, address(t, "tcp://[::]:80"))
	forged := newPacket(netip.MustParseAddrPort("[2001:db8:7f47:7::1]:9"), 1, 5)
	copy(forged.headers[12:], []byte{127, 71, 0, 7})
	if run(t, p, forged) != active {
		t.Error("an IPv6 address passed for the probe's source")
	}
}

func TestFlowHash(t *testing.T) {
	for _, listen := range []string{"udp://0.0.0.0:80", "udp://[::1]:80", "udp://[::]:80"} {
		a := address(t, listen)
		rng := rand.New(rand.NewPCG(1, 2))
		was := map[netip.AddrPort]bool{}
		for _, share := range []int{100, 500, 2500, 5000, 10000} {
			p := program(t, []steer.Slot{1, 2}, steer.Split(1, 2, share), a)
			hits, flows := 0, 20000
			for i := range flows {
				src := flow(a, i)
				first := run(t, p, newPacket(src, 1, rng.Uint32()))
				if again := run(t, p, newPacket(src, 1, rng.Uint32())); again != first {
					t.Fatalf("%s: the flow of %s was split", listen, src)
				}
				if first == 1 {
					hits++
				}
				if was[src] && first == 0 {
					t.Fatalf("%s: the flow of %s moved back at %d", listen, src, share)
				}
				was[src] = first == 1
			}
			if got := float64(hits) / float64(flows) * 100; got < float64(share)/100-1 || got > float64(share)/100+1 {
				t.Errorf("%s: share %d got %.2f %%", listen, share, got)
			}
		}
	}
}

// flow returns neighbouring addresses and ports, as one NAT or one test has.
func flow(a service.Address, i int) netip.AddrPort {
	port := uint16(32768 + i%4000)
	ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i / 4000)})
	if a.IP.Is6() && (i%2 == 0 || !a.DualStack()) {
		ip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i / 4000)})
	}
	return netip.AddrPortFrom(ip, port)
}

func TestSharesOfAbsentSlotsGoToTheOthers(t *testing.T) {
	a := address(t, "tcp://127.0.0.1:80")
	w := steer.Weights{Share: map[steer.Slot]int{1: 3000, 2: 1000, 3: 6000}}
	p := program(t, []steer.Slot{2, 1}, w, a)
	hits := map[uint32]int{}
	for r := range uint32(steer.Whole) {
		hits[run(t, p, newPacket(netip.MustParseAddrPort("10.0.0.1:9"), 2, r))]++
	}
	if hits[0] != 2500 || hits[1] != 7500 {
		t.Errorf("hits %v", hits)
	}
}

func TestProgramRefuses(t *testing.T) {
	tcp := address(t, "tcp://127.0.0.1:80")
	six := address(t, "tcp://[::1]:80")
	crowded := steer.All(1)
	crowded.Probe, crowded.ProbePorts = 2, make([]uint16, steer.MaxProbePorts+1)
	for name, f := range map[string]func() error{
		"unix": func() error {
			_, err := steer.Program([]steer.Slot{1}, steer.All(1), address(t, "unix:///x"))
			return err
		},
		"empty": func() error { _, err := steer.Program(nil, steer.All(1), tcp); return err },
		"sum": func() error {
			_, err := steer.Program([]steer.Slot{1, 2}, steer.Weights{Share: map[steer.Slot]int{1: 5}}, tcp)
			return err
		},
		"crowded": func() error { _, err := steer.Program([]steer.Slot{1, 2}, crowded, six); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := steer.Program([]steer.Slot{1, 2}, steer.All(3), tcp); !errors.Is(err, steer.ErrNoWeight) {
		t.Error("no member has weight:", err)
	}
	if p := program(t, []steer.Slot{4}, steer.All(3), tcp); run(t, p, newPacket(netip.MustParseAddrPort("10.0.0.1:9"), 1, 1)) != 0 {
		t.Error("a single member must get all")
	}
}
