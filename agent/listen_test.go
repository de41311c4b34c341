package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// Who may connect follows from who has a role, and a wide umask changes nothing.
func TestLocalSocketModes(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root opens the socket to groups")
	defer syscall.Umask(syscall.Umask(0))
	for name, row := range map[string]struct {
		groups map[string]string
		mode   os.FileMode
		gid    uint32
	}{
		"nobody else": {map[string]string{"no-such-group": "read"}, 0o660, 0},
		"one group":   {map[string]string{"daemon": "read", "no-such-group": "read"}, 0o660, 1},
		"several":     {map[string]string{"daemon": "read", "root": "read"}, 0o666, 0},
	} {
		path := filepath.Join(t.TempDir(), "sock")
		l, err := listenLocal(path, row.groups)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != row.mode || st.Uid != 0 || st.Gid != row.gid {
			t.Errorf("%s: %v of %d:%d, want %v of group %d", name, info.Mode(), st.Uid, st.Gid, row.mode, row.gid)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What took the socket's place is not given to anybody.
func TestLocalSocketFollowsNoLink(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root opens the socket to groups")
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "sock")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	if err := openTo(path, []int{1}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(victim)
	if err != nil || info.Sys().(*syscall.Stat_t).Gid != 0 {
		t.Errorf("the file behind a link: %v, %v", info, err)
	}
	if l, err := listenLocal(path, nil); err == nil {
		t.Error("a link was taken for a socket", l.Close())
	}
}

// In a directory of everybody's, such as /tmp, somebody may have been there first: a
// socket, a shim's directory or a secret would be theirs.
func TestRuntimeDirectoryOfSomebodyElse(t *testing.T) {
	const alice = 12345
	for name, c := range map[string]struct {
		plant func(dir string) error
		want  string
		root  bool
	}{
		"nothing there": {func(string) error { return nil }, "", false},
		"its own":       {func(dir string) error { return os.Mkdir(dir, 0o755) }, "", false},
		"a link":        {func(dir string) error { return os.Symlink(os.TempDir(), dir) }, "symbolic link", false},
		"a link inside": {func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o711), os.Symlink(filepath.Dir(dir), dir+"/s"))
		}, "symbolic link", false},
		"a file":           {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory", false},
		"others may write": {func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) }, "mode 0777", false},
		"alice's":          {func(dir string) error { return errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, alice, alice)) }, "uid 12345", true},
		"in alice's":       {func(dir string) error { return os.Chown(filepath.Dir(dir), alice, alice) }, "others decide", true},
	} {
		t.Run(name, func(t *testing.T) {
			needs.That(t, !c.root || os.Geteuid() == 0, "takes root: directories are of several users")
			above := t.TempDir()
			dir := filepath.Join(above, "gracefleet")
			if err := c.plant(dir); err != nil {
				t.Fatal(err)
			}
			r, err := openRuntimeDir(dir, "id")
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := r.close(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			for _, name := range []string{"lock", "state-id"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					t.Errorf("%s was written", name)
				}
			}
		})
	}
}
