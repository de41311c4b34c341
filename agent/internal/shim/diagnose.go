package shim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// explain looks at a file that could not be executed, and says what an errno
// cannot.
func explain(e *ExecError) {
	if e.Stage != "execve" || e.Detail != "" {
		return
	}
	switch e.Errno {
	case syscall.EACCES:
		e.Detail = explainAccess(e.Path)
	case syscall.ENOEXEC:
		e.Detail = explainFormat(e.Path)
	case syscall.ENOENT:
		e.Detail = explainMissing(e.Path)
	case syscall.ETXTBSY:
		e.Detail = "the file is still open for writing"
	}
}

func explainAccess(path string) string {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return ""
	case st.IsDir():
		return "it is a directory"
	case st.Mode()&0o111 == 0:
		return fmt.Sprintf("the file is not executable (mode %04o)", st.Mode().Perm())
	}
	return "the program's user may not execute it, or its file system is mounted noexec"
}

func explainFormat(path string) string {
	head := readHead(path)
	switch {
	case head == nil:
		return "not an executable format"
	case len(head) == 0:
		return "the file is empty"
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return explainELF(head)
	}
	return "not an executable format: neither an ELF file nor a script that begins with #!"
}

// explainELF compares the file's machine with this one (elf(5): e_machine is a
// half word at 18, its byte order at 5).
func explainELF(head []byte) string {
	if len(head) < 20 {
		return "the ELF file is cut off"
	}
	names := map[uint16]string{3: "386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 258: "loong64"}
	machine := order(head).Uint16(head[18:])
	name := names[machine]
	if name == "" {
		name = fmt.Sprintf("machine %d", machine)
	}
	if name != runtime.GOARCH {
		return fmt.Sprintf("the file is built for %s, this host is %s", name, runtime.GOARCH)
	}
	return "the ELF file is damaged or cut off"
}

func explainMissing(path string) string {
	head := readHead(path)
	if head == nil {
		return "the file does not exist"
	}
	if rest, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ := strings.Cut(string(rest), "\n")
		if fields := strings.Fields(line); len(fields) > 0 {
			return "its interpreter " + fields[0] + " does not exist on this host"
		}
		return "its #! line names no interpreter"
	}
	if interpreter := elfInterpreter(path, head); interpreter != "" {
		return "its loader " + interpreter + " does not exist on this host: it was linked for another system"
	}
	return "the interpreter it needs does not exist on this host"
}

// elfInterpreter finds PT_INTERP of a 64-bit file (elf(5)).
func elfInterpreter(path string, head []byte) string {
	if len(head) < 64 || !bytes.HasPrefix(head, []byte("\x7fELF\x02")) {
		return ""
	}
	o := order(head)
	at, size, count := o.Uint64(head[32:]), uint64(o.Uint16(head[54:])), uint64(o.Uint16(head[56:]))
	for i := range count {
		start := at + i*size
		if size < 56 || start > uint64(len(head))-56 {
			return ""
		}
		program := head[start:]
		if o.Uint32(program) != 3 {
			continue
		}
		return strings.TrimRight(readAt(path, int64(o.Uint64(program[8:])), int64(min(o.Uint64(program[32:]), 256))), "\x00")
	}
	return ""
}

func order(head []byte) binary.ByteOrder {
	if head[5] == 2 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// readHead returns a file's first bytes, nil if it cannot be read.
func readHead(path string) []byte {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := io.ReadFull(f, b)
	if n == 0 && !errors.Is(err, io.EOF) {
		return nil
	}
	return b[:n]
}

func readAt(path string, at, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		return ""
	}
	return string(b)
}
