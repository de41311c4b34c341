package trust

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// Two users who are not trusted.
const alice, bob = 12345, 23456

// place is a directory that only root decides on, with a secret of root's in it.
func place(t *testing.T) string {
	t.Helper()
	needs.That(t, os.Geteuid() == 0, "files of several users take root")
	dir := t.TempDir()
	write(t, dir+"/secret", "of root", 0, 0o600)
	return dir
}

func write(t *testing.T, path, text string, uid int, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	must(t, os.Chown(path, uid, uid))
	must(t, os.Chmod(path, mode))
}

func folder(t *testing.T, path string, uid int, mode os.FileMode) string {
	t.Helper()
	must(t, os.Mkdir(path, 0o700))
	must(t, os.Chown(path, uid, uid))
	must(t, os.Chmod(path, mode))
	return path
}

func link(t *testing.T, to, path string, uid int) {
	t.Helper()
	must(t, os.Symlink(to, path))
	must(t, os.Lchown(path, uid, uid))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhoDecidesWhereAPathLeads(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string) (path string)
		want string // "" is refused as unsafe
	}{
		"root's file": {func(_ *testing.T, dir string) string { return dir + "/secret" }, "of root"},
		"alice's file": {func(t *testing.T, dir string) string {
			write(t, dir+"/f", "of alice", alice, 0o600)
			return dir + "/f"
		}, "of alice"},
		"alice's file in alice's directory": {func(t *testing.T, dir string) string {
			write(t, folder(t, dir+"/a", alice, 0o700)+"/f", "of alice", alice, 0o600)
			return dir + "/a/f"
		}, "of alice"},
		"root's link": {func(t *testing.T, dir string) string {
			link(t, "secret", dir+"/l", 0)
			return dir + "/l"
		}, "of root"},
		"root's link up and over": {func(t *testing.T, dir string) string {
			folder(t, dir+"/live", 0, 0o755)
			link(t, "../secret", dir+"/live/l", 0)
			return dir + "/live/l"
		}, "of root"},
		"root's link to alice's file": {func(t *testing.T, dir string) string {
			write(t, folder(t, dir+"/a", alice, 0o755)+"/f", "of alice", alice, 0o600)
			link(t, dir+"/a/f", dir+"/l", 0)
			return dir + "/l"
		}, "of alice"},
		"alice's link to root's file": {func(t *testing.T, dir string) string {
			folder(t, dir+"/a", alice, 0o700)
			link(t, dir+"/secret", dir+"/a/f", alice)
			return dir + "/a/f"
		}, ""},
		"alice's relative link to root's file": {func(t *testing.T, dir string) string {
			folder(t, dir+"/a", alice, 0o700)
			link(t, "../secret", dir+"/a/f", alice)
			return dir + "/a/f"
		}, ""},
		"alice's link to root's directory": {func(t *testing.T, dir string) string {
			folder(t, dir+"/a", alice, 0o700)
			link(t, dir, dir+"/a/d", alice)
			return dir + "/a/d/secret"
		}, ""},
		"a link of root's to alice's link": {func(t *testing.T, dir string) string {
			folder(t, dir+"/a", alice, 0o700)
			link(t, dir+"/secret", dir+"/a/f", alice)
			link(t, dir+"/a/f", dir+"/l", 0)
			return dir + "/l"
		}, ""},
		"root's file in alice's directory": {func(t *testing.T, dir string) string {
			write(t, folder(t, dir+"/a", alice, 0o700)+"/f", "of root", 0, 0o600)
			return dir + "/a/f"
		}, ""},
		"bob's file in alice's directory": {func(t *testing.T, dir string) string {
			write(t, folder(t, dir+"/a", alice, 0o700)+"/f", "of bob", bob, 0o600)
			return dir + "/a/f"
		}, ""},
		"alice's file where everybody may write": {func(t *testing.T, dir string) string {
			write(t, folder(t, dir+"/all", 0, 0o777)+"/f", "of alice", alice, 0o600)
			return dir + "/all/f"
		}, ""},
		"alice's file in a sticky directory": {func(t *testing.T, dir string) string {
			write(t, folder(t, dir+"/tmp", 0, 0o777|os.ModeSticky)+"/f", "of alice", alice, 0o600)
			return dir + "/tmp/f"
		}, "of alice"},
		"alice's link in a sticky directory": {func(t *testing.T, dir string) string {
			folder(t, dir+"/tmp", 0, 0o777|os.ModeSticky)
			link(t, dir+"/secret", dir+"/tmp/f", alice)
			return dir + "/tmp/f"
		}, ""},
		"a file that everybody may write to": {func(t *testing.T, dir string) string {
			write(t, dir+"/f", "of root", 0, 0o602)
			return dir + "/f"
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := place(t)
			f, err := ReadFile(c.make(t, dir), 100)
			switch {
			case c.want == "" && !errors.Is(err, ErrUnsafe):
				t.Errorf("got %q, %v; want ErrUnsafe", f.Data, err)
			case c.want != "" && (err != nil || string(f.Data) != c.want):
				t.Errorf("got %q, %v; want %q", f.Data, err, c.want)
			}
		})
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, os.Symlink("loop", dir+"/loop"))
	must(t, os.WriteFile(dir+"/secret", []byte("of root"), 0o600))
	f, err := os.Open(dir + "/secret")
	must(t, err)
	defer f.Close()
	pipe, other, err := os.Pipe()
	must(t, err)
	defer pipe.Close()
	defer other.Close()
	for path, want := range map[string]string{
		dir:                                   "not a regular file",
		dir + "/fifo":                         "not a regular file",
		"/dev/zero":                           "not a regular file",
		dir + "/none":                         "no such file",
		dir + "/loop":                         "too many levels",
		dir + "/secret/x":                     "not a directory",
		"/proc/self/fd/" + number(pipe):       "no such file", // pipe:[1234] is no path
		"relative":                            "is relative",
		"/":                                   "names nothing",
		dir + "/" + strings.Repeat("x", 1000): "name too long",
	} {
		if _, err := ReadFile(path, 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	// What a link of /proc says counts, not what it is.
	if got, err := ReadFile("/proc/self/fd/"+number(f), 100); err != nil || string(got.Data) != "of root" {
		t.Errorf("%q, %v", got.Data, err)
	}
	must(t, os.Remove(f.Name()))
	if got, err := ReadFile("/proc/self/fd/"+number(f), 100); err == nil {
		t.Errorf("a file that is gone: %q", got.Data)
	}
}

func number(f *os.File) string { return strconv.Itoa(int(f.Fd())) }

func TestLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for size, ok := range map[int]bool{0: true, 1: true, 99: true, 100: true, 101: false, 5000: false} {
		must(t, os.WriteFile(path, bytes.Repeat([]byte{'x'}, size), 0o600))
		f, err := ReadFile(path, 100)
		if ok && (err != nil || len(f.Data) != size) || !ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes of at most 100: read %d, %v", size, len(f.Data), err)
		}
	}
	// The size that a file of /proc has is 0, whatever it holds.
	if _, err := ReadFile("/proc/self/status", 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file that says it is empty: %v", err)
	}
	if f, err := ReadFile("/proc/self/status", 1<<20); err != nil || !bytes.HasPrefix(f.Data, []byte("Name:")) {
		t.Errorf("a file that says it is empty: %q, %v", f.Data, err)
	}
}

func TestOwnerAndMode(t *testing.T) {
	dir := place(t)
	write(t, dir+"/f", "x", alice, 0o644)
	f, err := ReadFile(dir+"/f", 100)
	if err != nil || !f.Public || f.UID != alice || !f.By(alice) || f.By(bob) || f.By(-1) {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = ReadFile(dir+"/secret", 100)
	if err != nil || f.Public || !f.By(alice) || !f.By(-1) {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestDir(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string) string
		want string
	}{
		"good":             {func(t *testing.T, dir string) string { return folder(t, dir+"/d", 0, 0o711) }, ""},
		"somebody else's":  {func(t *testing.T, dir string) string { return folder(t, dir+"/d", alice, 0o700) }, "belongs to uid 12345"},
		"others may write": {func(t *testing.T, dir string) string { return folder(t, dir+"/d", 0, 0o730) }, "mode 0730"},
		"a link": {func(t *testing.T, dir string) string {
			folder(t, dir+"/d", 0, 0o700)
			link(t, "d", dir+"/l", 0)
			return dir + "/l"
		}, "symbolic link"},
		"behind a link of root's": {func(t *testing.T, dir string) string {
			folder(t, folder(t, dir+"/d", 0, 0o700)+"/d", 0, 0o700)
			link(t, "d", dir+"/l", 0)
			return dir + "/l/d"
		}, ""},
		"in somebody else's": {func(t *testing.T, dir string) string {
			return folder(t, folder(t, dir+"/a", alice, 0o755)+"/d", 0, 0o700)
		}, ErrUnsafe.Error()},
		"a file": {func(t *testing.T, dir string) string { return dir + "/secret" }, "not a directory"},
		"none":   {func(t *testing.T, dir string) string { return dir + "/none" }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := place(t)
			err := Dir(c.make(t, dir))
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Nothing stays open, whatever the path.
func TestDescriptors(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/f", nil, 0o600))
	must(t, os.Symlink("f", dir+"/l"))
	must(t, os.Symlink(dir+"/l", dir+"/m"))
	before := descriptors(t)
	for _, path := range []string{dir + "/f", dir + "/l", dir + "/m", dir + "/none", dir + "/f/x", "/", dir, "/dev/null", "/proc/self/root/etc/hostname"} {
		_, _ = ReadFile(path, 1<<20)
		_ = Dir(path)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, it were %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// A file that somebody swaps for a link all the time is read, refused, or gone, and
// never somebody else's.
func TestSwappedMeanwhile(t *testing.T) {
	dir := place(t)
	folder(t, dir+"/a", alice, 0o700)
	write(t, dir+"/a/mine", "of alice", alice, 0o600)
	link(t, dir+"/secret", dir+"/a/link", alice)
	must(t, os.Link(dir+"/a/mine", dir+"/a/f"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir+"/a/f", unix.AT_FDCWD, dir+"/a/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 2000 {
		f, err := ReadFile(dir+"/a/f", 100)
		if err == nil && string(f.Data) != "of alice" || err != nil && !errors.Is(err, ErrUnsafe) && !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%q, %v", f.Data, err)
			break
		}
	}
	close(stop)
	<-done
}
