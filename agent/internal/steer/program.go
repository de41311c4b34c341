package steer

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// ErrNoWeight is returned by Program when no slot of a group of several has a
// share: the kernel would choose any of them.
var ErrNoWeight = errors.New("no slot of this address has a share of new connections")

// netOff is SKF_NET_OFF (linux/filter.h): offsets from here count from the IP
// header, wherever the kernel's data pointer stands.
const netOff = 0xfff00000

// Program returns the classic BPF program for the group of address a, whose
// slots in kernel order are given. Attach it to any member. It answers with an
// index: first the private-probe rule, then by shares; at random for tcp, by the
// flow's hash for udp. Unix sockets have no groups and are refused.
func Program(order []Slot, w Weights, a service.Address) ([]bpf.RawInstruction, error) {
	if a.Network == service.Unix {
		return nil, fmt.Errorf("%s: unix sockets are switched by path, not by a program", a)
	}
	if len(order) == 0 {
		return nil, fmt.Errorf("%s: no slot listens here", a)
	}
	if err := w.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	if len(order) == 1 {
		return bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	}
	parts := w.parts(order)
	if len(parts) == 0 {
		return nil, fmt.Errorf("%s: %w", a, ErrNoWeight)
	}
	rule, err := probeRule(order, w, a)
	if err != nil {
		return nil, err
	}
	prog, err := bpf.Assemble(append(rule, byShare(parts, a)...))
	if err != nil {
		return nil, fmt.Errorf("%s: assemble the steering program: %w", a, err)
	}
	return prog, nil
}

// byShare loads a number below Whole and compares it with the running sums.
func byShare(parts []part, a service.Address) []bpf.Instruction {
	last := len(parts) - 1
	if last == 0 {
		return []bpf.Instruction{bpf.RetConstant{Val: uint32(parts[0].index)}}
	}
	var out []bpf.Instruction
	if a.Network == service.UDP {
		out = flowHash(a)
	} else {
		out = []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtRand}}
	}
	out = append(out, bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: Whole})
	sum := uint32(0)
	for _, p := range parts[:last] {
		sum += uint32(p.share)
		out = append(out,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: sum, SkipTrue: 1},
			bpf.RetConstant{Val: uint32(p.index)})
	}
	return append(out, bpf.RetConstant{Val: uint32(parts[last].index)})
}

// ipVersion loads the version field of the IP header.
func ipVersion() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: netOff, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
	}
}
