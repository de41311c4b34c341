package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// victim is a file that must stay as it is.
func victim(t *testing.T) (dir string, check func()) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "victim")
	if err := os.WriteFile(path, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		got, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		entries, derr := os.ReadDir(dir)
		if err := errors.Join(err, serr, derr); err != nil || string(got) != "untouched" || info.Mode().Perm() != 0o644 || len(entries) != 1 {
			t.Errorf("the victim became %q, mode %v, beside %v: %v", got, info.Mode(), entries, err)
		}
	}
}

func TestStateDirectoryIsNoLink(t *testing.T) {
	dir, untouched := victim(t)
	link := filepath.Join(t.TempDir(), "state")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, Options{}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("opened, %v", err)
	}
	untouched()
}

func TestPartsOfTheStateDirectoryAreNoLinks(t *testing.T) {
	for _, part := range []string{"records", "quarantine", "uploads", "logs", "rollouts", "artifacts"} {
		dir, untouched := victim(t)
		state := filepath.Join(t.TempDir(), "state")
		if err := errors.Join(os.Mkdir(state, 0o711), os.Symlink(dir, filepath.Join(state, part))); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(state, Options{}); err == nil || !strings.Contains(err.Error(), part+" is a symbolic link") {
			t.Errorf("%s: opened, %v", part, err)
		}
		untouched()
	}
}

// Who replaces a log has neither the agent nor a program write elsewhere, nor wait.
func TestPlantedLogs(t *testing.T) {
	dir, untouched := victim(t)
	file := filepath.Join(dir, "victim")
	for name, c := range map[string]struct {
		plant func(s *Store) error
		want  string
	}{
		"a link":     {func(s *Store) error { return os.Symlink(file, s.LogPath("web", 1)) }, "too many levels"},
		"a fifo":     {func(s *Store) error { return unix.Mkfifo(s.LogPath("web", 1), 0o600) }, "1.log"},
		"a socket":   {func(s *Store) error { return unix.Mknod(s.LogPath("web", 1), unix.S_IFSOCK|0o600, 0) }, "1.log"},
		"dead links": {func(s *Store) error { return os.Symlink(dir+"/new", s.LogPath("web", 1)) }, "too many levels"},
		"a link above": {func(s *Store) error {
			return errors.Join(os.Remove(filepath.Dir(s.LogPath("web", 1))), os.Symlink(dir, filepath.Dir(s.LogPath("web", 1))))
		}, "symbolic link"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{LogCap: 1})
			if err := errors.Join(os.Mkdir(filepath.Dir(s.LogPath("web", 1)), 0o700), c.plant(s)); err != nil {
				t.Fatal(err)
			}
			f, err := s.OpenLog("web", 1, os.Geteuid(), os.Getegid())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("opened %v, %v, want %q", f, err, c.want)
			}
			s = reopen(t, s) // looks at all logs
			_, _ = s.RotateLogs("web")
			if lines, err := s.LastLines("web", 1, 5); len(lines) > 0 {
				t.Errorf("read %q, %v", lines, err)
			}
			untouched()
			if err := s.RemoveLogs("web", 0); err != nil {
				t.Error(err)
			}
			untouched()
		})
	}
}

// An artifact that lies elsewhere could change after it was looked at.
func TestPlantedArtifacts(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	for name, plant := range map[string]func(a Artifact) error{
		"the directory": func(a Artifact) error {
			dir := filepath.Dir(a.Path)
			return errors.Join(os.Rename(dir, elsewhere+"/dir"), os.Symlink(elsewhere+"/dir", dir))
		},
		"the program": func(a Artifact) error {
			return errors.Join(os.Rename(a.Path, elsewhere+"/file"), os.Symlink(elsewhere+"/file", a.Path))
		},
		"a fifo": func(a Artifact) error { return errors.Join(os.Remove(a.Path), unix.Mkfifo(a.Path, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{})
			a := store(t, s, program, "web", nil)
			if _, err := s.Verify(a.Digest); err != nil {
				t.Fatal(err)
			}
			if err := plant(a); err != nil {
				t.Fatal(err)
			}
			if path, err := s.Verify(a.Digest); err == nil {
				t.Errorf("%s would run", path)
			}
		})
	}
}
