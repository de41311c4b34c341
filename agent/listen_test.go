package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
			if c.root && os.Geteuid() != 0 {
				t.Skip("takes root: directories are of several users")
			}
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
