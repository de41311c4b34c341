package store

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func childOutput(path string) ([]byte, error) { return exec.Command(path).CombinedOutput() }

// fakeELF is a 64-bit file with one segment and, when named, an interpreter.
func fakeELF(machine elf.Machine, kind elf.Type, interpreter string) []byte {
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(kind), Machine: uint16(machine), Version: 1, Entry: 0x1000,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	segments := []elf.Prog64{{Type: uint32(elf.PT_LOAD), Filesz: 64}}
	if interpreter != "" {
		h.Phnum = 2
		segments = append(segments, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64 + 2*56, Filesz: uint64(len(interpreter) + 1)})
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h)
	_ = binary.Write(&b, binary.LittleEndian, segments)
	b.WriteString(interpreter + "\x00")
	return b.Bytes()
}

func hostMachine() elf.Machine { return machines[runtime.GOARCH][0] }

func foreignMachine() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_X86_64
	}
	return elf.EM_AARCH64
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	long := "#!/bin/" + strings.Repeat("x", 300) + "\n"
	for name, c := range map[string]struct {
		data string
		want error
		text string
	}{
		"this binary":    {string(self), nil, ""},
		"shell":          {"#!/bin/sh\n", nil, ""},
		"shell, spaces":  {"#! \t/bin/sh -e\n", nil, ""},
		"shell, no end":  {"#!/bin/sh", nil, ""},
		"static":         {string(fakeELF(hostMachine(), elf.ET_EXEC, "")), nil, ""},
		"static pie":     {string(fakeELF(hostMachine(), elf.ET_DYN, "")), nil, ""},
		"empty":          {"", ErrEmpty, "empty"},
		"text":           {"hello\n", ErrNotExecutable, "text without a #! line"},
		"bytes":          {"a\x00b", ErrNotExecutable, "neither ELF nor"},
		"no interpreter": {"#! \n", ErrNotExecutable, "names no interpreter"},
		"long line":      {long, ErrNotExecutable, "longer than 255"},
		"nope":           {"#!/nope\n", ErrMissingInterpreter, "interpreter /nope does not exist"},
		"windows":        {"#!/bin/sh\r\n", ErrMissingInterpreter, "Windows line ends"},
		"relative":       {"#!sh\n", ErrMissingInterpreter, "not an absolute path"},
		"directory":      {"#!/tmp\n", ErrMissingInterpreter, "not an executable file"},
		"itself":         {"#!" + loop + "\n", ErrNotExecutable, "in a row"},
		"foreign":        {string(fakeELF(foreignMachine(), elf.ET_EXEC, "")), ErrWrongArchitecture, " executable on an " + runtime.GOARCH + " host"},
		"no loader":      {string(fakeELF(hostMachine(), elf.ET_DYN, "/nope/ld.so")), ErrMissingInterpreter, "/nope/ld.so does not exist"},
		"object":         {string(fakeELF(hostMachine(), elf.ET_REL, "")), ErrNotExecutable, "not linked"},
		"truncated":      {string(self[:len(self)/2]), ErrNotExecutable, "cut short"},
		"header only":    {string(self[:20]), ErrNotExecutable, "cut short"},
		"magic only":     {elfMagic, ErrNotExecutable, "cut short"},
		"gzip":           {"\x1f\x8b\x08", ErrNotExecutable, "gzip"},
		"exe":            {"MZ\x90", ErrNotExecutable, "Windows program"},
	} {
		path := filepath.Join(dir, "web")
		if name == "itself" {
			path = loop
		}
		if err := os.WriteFile(path, []byte(c.data), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Inspect(path)
		if !errors.Is(err, c.want) || c.want != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.text)
		}
	}
	info, err := Inspect("/proc/self/exe")
	if err != nil || info.Kind != "elf" || info.Machine != runtime.GOARCH {
		t.Errorf("this binary: %+v, %v", info, err)
	}
}

func TestInspectOtherFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "a directory", fifo: "a fifo", "/dev/null": "a device"} {
		if _, err := Inspect(path); !errors.Is(err, ErrNotExecutable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := Inspect(filepath.Join(dir, "none")); !errors.Is(err, ErrNotFound) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte("#!/bin/sh\n"))
	f.Add(fakeELF(hostMachine(), elf.ET_DYN, "/lib/ld.so"))
	f.Add(fakeELF(foreignMachine(), elf.ET_EXEC, ""))
	f.Add([]byte(elfMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := recognise(bytes.NewReader(data), int64(len(data)))
		if err == nil && info.Kind == "" {
			t.Fatal("neither an error nor a kind")
		}
		if err != nil && !errors.Is(err, ErrNotExecutable) && !errors.Is(err, ErrWrongArchitecture) {
			t.Fatalf("no typed error: %v", err)
		}
	})
}
