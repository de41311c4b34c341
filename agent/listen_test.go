package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func need(t *testing.T, ok bool, reason string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("GRACEFLEET_NO_SKIP") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Who may connect follows from who has a role, and a wide umask changes nothing.
func TestLocalSocketModes(t *testing.T) {
	need(t, os.Geteuid() == 0, "only root opens the socket to groups")
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
	need(t, os.Geteuid() == 0, "only root opens the socket to groups")
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

// Whoever owns the runtime directory could take the agent's place, and the shims'.
func TestRuntimeDirectoryOfAnother(t *testing.T) {
	need(t, os.Geteuid() == 0, "only root gives directories away")
	own, others, link := filepath.Join(t.TempDir(), "own"), t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	r, err := openRuntimeDir(own, "id")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{others, link} {
		if err := os.Lchown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := openRuntimeDir(dir, "id"); err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
			t.Errorf("%s: %v", dir, err)
		}
		if entries, err := os.ReadDir(others); err != nil || len(entries) > 0 {
			t.Errorf("%s was written to: %v, %v", dir, entries, err)
		}
	}
}
