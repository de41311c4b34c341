package store

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
)

const elfMagic = "\x7fELF"

// machines are the kinds of ELF machine each Go architecture names; the later
// ones of a row run on kernels with 32-bit support.
var machines = map[string][]elf.Machine{
	"386":     {elf.EM_386},
	"amd64":   {elf.EM_X86_64, elf.EM_386},
	"arm":     {elf.EM_ARM},
	"arm64":   {elf.EM_AARCH64, elf.EM_ARM},
	"loong64": {elf.EM_LOONGARCH},
	"ppc64le": {elf.EM_PPC64},
	"riscv64": {elf.EM_RISCV},
	"s390x":   {elf.EM_S390},
}

// elfHeader is what a 32- or 64-bit file header says, widened.
type elfHeader struct {
	order     binary.ByteOrder
	wide      bool
	kind      elf.Type
	machine   elf.Machine
	entry     uint64
	phoff     uint64
	phentsize uint16
	phnum     uint16
}

// readELF checks what the kernel checks before it runs a file
// (fs/binfmt_elf.c), and that no segment lies beyond the file's end.
//
// It reads headers only: debug/elf would read section tables that the kernel
// never looks at and that a stripped file need not have.
func readELF(r io.ReaderAt, size int64) (Info, error) {
	h, err := readELFHeader(r)
	if err != nil {
		return Info{}, err
	}
	if err := h.runnable(); err != nil {
		return Info{}, err
	}
	info := Info{Kind: "elf", Machine: machineName(h.machine)}
	if info.Interpreter, err = h.segments(r, size); err != nil {
		return Info{}, err
	}
	if h.kind == elf.ET_DYN && info.Interpreter == "" && h.entry == 0 {
		return Info{}, fmt.Errorf("%w: a shared library", ErrNotExecutable)
	}
	return info, nil
}

func readELFHeader(r io.ReaderAt) (elfHeader, error) {
	b := make([]byte, 64)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return elfHeader{}, err
	}
	h := elfHeader{order: binary.LittleEndian}
	if b[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		h.order = binary.BigEndian
	}
	h.wide = b[elf.EI_CLASS] == byte(elf.ELFCLASS64)
	if n < 52 || h.wide && n < 64 {
		return elfHeader{}, fmt.Errorf("%w: an ELF file cut short after %d bytes", ErrNotExecutable, n)
	}
	h.kind = elf.Type(h.order.Uint16(b[16:]))
	h.machine = elf.Machine(h.order.Uint16(b[18:]))
	if h.wide {
		h.entry, h.phoff = h.order.Uint64(b[24:]), h.order.Uint64(b[32:])
		h.phentsize, h.phnum = h.order.Uint16(b[54:]), h.order.Uint16(b[56:])
		return h, nil
	}
	h.entry, h.phoff = uint64(h.order.Uint32(b[24:])), uint64(h.order.Uint32(b[28:]))
	h.phentsize, h.phnum = h.order.Uint16(b[42:]), h.order.Uint16(b[44:])
	return h, nil
}

func (h elfHeader) runnable() error {
	fits := false
	for _, m := range machines[runtime.GOARCH] {
		fits = fits || m == h.machine
	}
	switch {
	case !fits || !nativeOrder(h.order):
		return fmt.Errorf("%w: %s executable on an %s host", ErrWrongArchitecture, machineName(h.machine), runtime.GOARCH)
	case h.kind == elf.ET_REL:
		return fmt.Errorf("%w: an object file that was not linked", ErrNotExecutable)
	case h.kind == elf.ET_CORE:
		return fmt.Errorf("%w: a core dump", ErrNotExecutable)
	case h.kind != elf.ET_EXEC && h.kind != elf.ET_DYN:
		return fmt.Errorf("%w: an ELF file of unknown type %d", ErrNotExecutable, h.kind)
	case h.phnum == 0:
		return fmt.Errorf("%w: an ELF file without segments", ErrNotExecutable)
	}
	return nil
}

func nativeOrder(o binary.ByteOrder) bool {
	return o.Uint16([]byte{1, 0}) == binary.NativeEndian.Uint16([]byte{1, 0})
}

// segments checks the program headers and returns the dynamic loader's path.
func (h elfHeader) segments(r io.ReaderAt, size int64) (interpreter string, err error) {
	want := uint16(32)
	if h.wide {
		want = 56
	}
	if h.phentsize != want {
		return "", fmt.Errorf("%w: ELF program headers of %d bytes", ErrNotExecutable, h.phentsize)
	}
	table := make([]byte, int(want)*int(h.phnum))
	if h.phoff > uint64(size) {
		return "", errTruncatedELF(size)
	}
	if _, err := r.ReadAt(table, int64(h.phoff)); errors.Is(err, io.EOF) {
		return "", errTruncatedELF(size)
	} else if err != nil {
		return "", err
	}
	for ; len(table) > 0; table = table[want:] {
		kind, off, length := h.segment(table)
		if kind != elf.PT_LOAD && kind != elf.PT_INTERP {
			continue
		}
		if off > uint64(size) || length > uint64(size)-off {
			return "", errTruncatedELF(size)
		}
		if kind == elf.PT_INTERP {
			if interpreter, err = readInterpreter(r, int64(off), length); err != nil {
				return "", err
			}
		}
	}
	return interpreter, nil
}

func (h elfHeader) segment(b []byte) (kind elf.ProgType, off, length uint64) {
	kind = elf.ProgType(h.order.Uint32(b))
	if h.wide {
		return kind, h.order.Uint64(b[8:]), h.order.Uint64(b[32:])
	}
	return kind, uint64(h.order.Uint32(b[4:])), uint64(h.order.Uint32(b[16:]))
}

func errTruncatedELF(size int64) error {
	return fmt.Errorf("%w: an ELF file cut short at %d bytes", ErrNotExecutable, size)
}

func readInterpreter(r io.ReaderAt, off int64, length uint64) (string, error) {
	const pathMax = 4096
	if length < 2 || length > pathMax {
		return "", fmt.Errorf("%w: its interpreter's path has %d bytes", ErrNotExecutable, length)
	}
	b := make([]byte, length)
	if _, err := r.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	path, _, _ := strings.Cut(string(b), "\x00")
	if path == "" {
		return "", fmt.Errorf("%w: it names an empty interpreter", ErrNotExecutable)
	}
	return path, nil
}

func machineName(m elf.Machine) string {
	for arch, list := range machines {
		if list[0] == m {
			return arch
		}
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}
