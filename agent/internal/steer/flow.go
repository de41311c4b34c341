package steer

import (
	"golang.org/x/net/bpf"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// flowHash leaves a hash of the source address and port in A. Random numbers
// would split the datagrams of one flow over two slots; a hash compared with a
// threshold also never moves a flow back while a share grows.
func flowHash(a service.Address) []bpf.Instruction {
	v4 := fold([]bpf.LoadAbsolute{{Off: v4Source, Size: 4}, {Off: v4Port, Size: 2}})
	if a.IP.Is4() {
		return append(v4, mix()...)
	}
	v6 := fold([]bpf.LoadAbsolute{
		{Off: v6Source, Size: 4},
		{Off: v6Source + 4, Size: 4},
		{Off: v6Source + 8, Size: 4},
		{Off: v6Source + 12, Size: 4},
		{Off: v6Port, Size: 2},
	})
	if !a.DualStack() {
		return append(v6, mix()...)
	}
	// An IPv4 client of a dual-stack socket shows an IPv4 header.
	v4 = append(v4, bpf.Jump{Skip: uint32(len(v6))})
	out := onlyIf(ipVersion(), 4, v4)
	return append(append(out, v6...), mix()...)
}

// fold combines the loaded words; X holds the result so far.
func fold(words []bpf.LoadAbsolute) []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: 0x9e3779b9}}
	for _, w := range words {
		out = append(out, w,
			bpf.ALUOpX{Op: bpf.ALUOpXor},
			bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: 0x85ebca6b},
			bpf.TAX{})
	}
	return out
}

// mix spreads the bits of X and leaves the result in A (murmur3's finalizer).
func mix() []bpf.Instruction {
	shift := func(n uint32) []bpf.Instruction {
		return []bpf.Instruction{bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: n}, bpf.ALUOpX{Op: bpf.ALUOpXor}}
	}
	out := append(shift(16), bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: 0xc2b2ae35}, bpf.TAX{})
	return append(out, shift(15)...)
}
