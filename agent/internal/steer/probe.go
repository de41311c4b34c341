package steer

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// ProbeSource is the address that private probes come from over IPv4. Addresses
// of 127/8 cannot arrive from another host; the rule demands the loopback
// interface besides, for hosts with route_localnet.
var ProbeSource = netip.AddrFrom4([4]byte{127, 71, 0, 7})

// MaxProbePorts bounds Weights.ProbePorts.
const MaxProbePorts = 64

// loopbackIndex is LOOPBACK_IFINDEX (net/flow.h).
const loopbackIndex = 1

// Offsets in the IP headers, and of the source port behind them (an IPv4 header
// without options, an IPv6 header without extensions).
const (
	v4Source = netOff + 12
	v4Port   = netOff + 20
	v6Source = netOff + 8
	v6Port   = netOff + 40
)

// probeRule answers with the probed slot's index for private probes, and falls
// through for all else. It is empty for udp: a probe would be a datagram to the
// application.
func probeRule(order []Slot, w Weights, a service.Address) ([]bpf.Instruction, error) {
	index := slices.Index(order, w.Probe)
	if w.Probe == 0 || index < 0 || a.Network != service.TCP {
		return nil, nil
	}
	if len(w.ProbePorts) > MaxProbePorts {
		return nil, fmt.Errorf("%s: %d probe ports: at most %d", a, len(w.ProbePorts), MaxProbePorts)
	}
	match := matchSource(index)
	if a.IP.Is6() && !a.DualStack() {
		match = matchPorts(index, w.ProbePorts)
	}
	if a.DualStack() {
		match = onlyIf(ipVersion(), 4, match)
	}
	iface := []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}}
	return onlyIf(iface, loopbackIndex, match), nil
}

// onlyIf runs body if the value that load leaves in A is want.
func onlyIf(load []bpf.Instruction, want uint32, body []bpf.Instruction) []bpf.Instruction {
	out := append(load,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: want, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(body))})
	return append(out, body...)
}

func matchSource(index int) []bpf.Instruction {
	b := ProbeSource.As4()
	source := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: v4Source, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: source, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(index)},
	}
}

func matchPorts(index int, ports []uint16) []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: v6Port, Size: 2}}
	for _, p := range ports {
		out = append(out,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p), SkipTrue: 1},
			bpf.RetConstant{Val: uint32(index)})
	}
	return out
}
