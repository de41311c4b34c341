package steer_test

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

// failer is a test of testing or of rapid.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// packet is what a program can see of a SYN or datagram.
type packet struct {
	source  netip.AddrPort
	iface   uint32
	random  uint32
	isIPv6  bool
	headers []byte
}

func newPacket(source netip.AddrPort, iface, random uint32) packet {
	p := packet{source: source, iface: iface, random: random, isIPv6: source.Addr().Is6()}
	b := make([]byte, 64)
	if p.isIPv6 {
		b[0] = 0x60
		copy(b[8:], source.Addr().AsSlice())
		binary.BigEndian.PutUint16(b[40:], source.Port())
	} else {
		b[0] = 0x45
		copy(b[12:], source.Addr().AsSlice())
		binary.BigEndian.PutUint16(b[20:], source.Port())
	}
	p.headers = b
	return p
}

// run interprets a program: bpf.VM knows neither the extensions used nor the
// network-header offsets.
func run(t failer, prog []bpf.RawInstruction, p packet) uint32 {
	t.Helper()
	var a, x uint32
	for i := 0; i < len(prog); i++ {
		switch in := prog[i].Disassemble().(type) {
		case bpf.LoadConstant:
			if in.Dst == bpf.RegX {
				x = in.Val
			} else {
				a = in.Val
			}
		case bpf.LoadAbsolute:
			b := p.headers[in.Off-0xfff00000:]
			switch in.Size {
			case 1:
				a = uint32(b[0])
			case 2:
				a = uint32(binary.BigEndian.Uint16(b))
			default:
				a = binary.BigEndian.Uint32(b)
			}
		case bpf.LoadExtension:
			switch in.Num {
			case bpf.ExtRand:
				a = p.random
			case bpf.ExtInterfaceIndex:
				a = p.iface
			default:
				t.Fatalf("extension %d", in.Num)
			}
		case bpf.ALUOpConstant:
			a = alu(t, in.Op, a, in.Val)
		case bpf.ALUOpX:
			a = alu(t, in.Op, a, x)
		case bpf.TAX:
			x = a
		case bpf.TXA:
			a = x
		case bpf.Jump:
			i += int(in.Skip)
		case bpf.JumpIf:
			if holds(t, in, a) {
				i += int(in.SkipTrue)
			} else {
				i += int(in.SkipFalse)
			}
		case bpf.RetConstant:
			return in.Val
		default:
			t.Fatalf("instruction %d: %v", i, in)
		}
	}
	t.Fatal("the program does not return")
	return 0
}

func holds(t failer, j bpf.JumpIf, a uint32) bool {
	switch j.Cond {
	case bpf.JumpEqual:
		return a == j.Val
	case bpf.JumpNotEqual:
		return a != j.Val
	case bpf.JumpGreaterOrEqual:
		return a >= j.Val
	case bpf.JumpLessThan:
		return a < j.Val
	}
	t.Fatalf("condition %v", j.Cond)
	return false
}

func alu(t failer, op bpf.ALUOp, a, b uint32) uint32 {
	switch op {
	case bpf.ALUOpMul:
		return a * b
	case bpf.ALUOpXor:
		return a ^ b
	case bpf.ALUOpMod:
		return a % b
	case bpf.ALUOpShiftRight:
		return a >> b
	}
	t.Fatalf("operation %v", op)
	return 0
}
