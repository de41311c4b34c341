package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Info says what an executable is.
type Info struct {
	// Kind is "elf" or "script".
	Kind string
	// Machine of an ELF file, such as "amd64".
	Machine string
	// Interpreter is the dynamic loader of an ELF file or the program of a
	// script's #! line; empty for a static ELF file.
	Interpreter string
}

// maxInterpreters is how many scripts may interpret scripts; the kernel gives
// up with ELOOP beyond (fs/exec.c).
const maxInterpreters = 4

// maxShebang is the kernel's BINPRM_BUF_SIZE less the final NUL.
const maxShebang = 255

// Inspect says what an executable is and whether this host can run it; its
// permissions do not matter. It fails, in a sentence, with ErrNotFound,
// ErrEmpty, ErrNotExecutable, ErrWrongArchitecture or ErrMissingInterpreter.
func Inspect(path string) (Info, error) {
	return inspectPath(path, 0)
}

func inspectPath(path string, depth int) (Info, error) {
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("%s: %w", path, ErrNotFound)
	}
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	return inspectFile(path, f, info.Size(), depth)
}

func inspect(name string, r io.ReaderAt, size int64) (Info, error) {
	return inspectFile(name, r, size, 0)
}

func inspectFile(name string, r io.ReaderAt, size int64, depth int) (Info, error) {
	if size == 0 {
		return Info{}, fmt.Errorf("%s: %w", name, ErrEmpty)
	}
	info, err := recognise(r, size)
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", name, err)
	}
	if info.Interpreter == "" {
		return info, nil
	}
	if err := checkInterpreter(info.Interpreter, depth); err != nil {
		return Info{}, fmt.Errorf("%s: %w", name, err)
	}
	return info, nil
}

// recognise reads a file's first bytes, and no other file.
func recognise(r io.ReaderAt, size int64) (Info, error) {
	head := make([]byte, min(size, maxShebang+1))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Info{}, err
	}
	switch {
	case bytes.HasPrefix(head, []byte(elfMagic)):
		return readELF(r, size)
	case bytes.HasPrefix(head, []byte("#!")):
		return readShebang(head)
	}
	for _, k := range knownFormats {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return Info{}, fmt.Errorf("%w: %s", ErrNotExecutable, k.what)
		}
	}
	if bytes.IndexByte(head, 0) < 0 {
		return Info{}, fmt.Errorf("%w: text without a #! line", ErrNotExecutable)
	}
	return Info{}, fmt.Errorf("%w: neither ELF nor a #! script", ErrNotExecutable)
}

// knownFormats are what people push by mistake.
var knownFormats = []struct{ magic, what string }{
	{"MZ", "a Windows program; build it with GOOS=linux"},
	{"\xcf\xfa\xed\xfe", "a macOS program; build it with GOOS=linux"},
	{"\xca\xfe\xba\xbe", "a macOS universal program or Java class"},
	{"\x1f\x8b", "a gzip archive; push the program inside"},
	{"\x28\xb5\x2f\xfd", "a zstd archive; push the program inside"},
	{"PK\x03\x04", "a zip archive; push the program inside"},
	{"!<arch>\n", "a static library or package"},
}

// readShebang reads the #! line as the kernel does (fs/binfmt_script.c).
func readShebang(head []byte) (Info, error) {
	line, _, whole := bytes.Cut(head[2:], []byte("\n"))
	if !whole && len(head) > maxShebang {
		return Info{}, fmt.Errorf("%w: its #! line is longer than %d bytes", ErrNotExecutable, maxShebang)
	}
	text := strings.TrimLeft(string(line), " \t")
	if i := strings.IndexAny(text, " \t\x00"); i >= 0 {
		text = text[:i]
	}
	if text == "" {
		return Info{}, fmt.Errorf("%w: its #! line names no interpreter", ErrNotExecutable)
	}
	return Info{Kind: "script", Interpreter: text}, nil
}

func checkInterpreter(path string, depth int) error {
	if strings.HasSuffix(path, "\r") {
		return fmt.Errorf("%w: %q does not exist; the file has Windows line ends", ErrMissingInterpreter, path)
	}
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%w: %q is not an absolute path", ErrMissingInterpreter, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: interpreter %s does not exist on this host", ErrMissingInterpreter, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMissingInterpreter, err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%w: interpreter %s is not an executable file", ErrMissingInterpreter, path)
	case depth >= maxInterpreters:
		return fmt.Errorf("%w: more than %d interpreters in a row", ErrNotExecutable, maxInterpreters)
	}
	if _, err := inspectPath(path, depth+1); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: interpreter %w", ErrMissingInterpreter, err)
	}
	return nil
}

func kindOfFile(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a fifo"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "not a regular file"
}
