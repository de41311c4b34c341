package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// inShm is a host whose runtime directory is in memory, and a directory with secrets.
func inShm(t *testing.T) (*Host, string) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gf")
	needs.That(t, err == nil, "no memory for files below /dev/shm")
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &Host{runtimeDir: dir, log: hclog.NewNullLogger()}, t.TempDir()
}

func secret(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func launch(generation int, credentials map[string]string) supervisor.Launch {
	return supervisor.Launch{Service: "web", Generation: generation, For: 8, Instance: 1, Spec: service.Spec{Name: "web", Credentials: credentials}}
}

func (h *Host) has(t *testing.T, l supervisor.Launch, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.credentialsPath(l), name))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func TestCredentialsArePlaced(t *testing.T) {
	h, dir := inShm(t)
	own := identity{uid: -1, gid: -1}
	secret(t, dir+"/db", "one")
	secret(t, dir+"/key", "\x00\xff")
	l := launch(8, map[string]string{"db": dir + "/db", "key": dir + "/key"})
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, text := range []string{"one", "two"} {
		secret(t, dir+"/db", text)
		if err := h.placeCredentials(l, own); err != nil {
			t.Fatal(err)
		}
		if got := h.has(t, l, "db"); got != text {
			t.Errorf("db holds %q, want %q", got, text)
		}
	}
	if got := h.has(t, l, "key"); got != "\x00\xff" {
		t.Errorf("key holds %q", got)
	}
	for path, want := range map[string]os.FileMode{"": 0o500, "db": 0o400, "key": 0o400, "..": 0o711} {
		if info, err := os.Stat(filepath.Join(h.credentialsPath(l), path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v; want mode %o", path, info.Mode(), err, want)
		}
	}
	if paths := h.credentialPaths(l); len(paths) != 2 || paths["db"] != h.credentialsPath(l)+"/db" {
		t.Errorf("paths %v", paths)
	}
	entries, err := os.ReadDir(filepath.Dir(h.credentialsPath(l)))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the credentials are %v, %v", entries, err)
	}
}

// What cannot be read keeps a new program from starting, and not one that ran.
func TestCredentialsThatCannotBeRead(t *testing.T) {
	own := identity{uid: -1, gid: -1}
	for name, spoil := range map[string]func(t *testing.T, path string){
		"missing":       func(t *testing.T, path string) {},
		"a directory":   func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) },
		"a fifo":        func(t *testing.T, path string) { _ = syscall.Mkfifo(path, 0o600) },
		"a device":      func(t *testing.T, path string) { _ = os.Symlink("/dev/zero", path) },
		"too large":     func(t *testing.T, path string) { secret(t, path, strings.Repeat("x", service.MaxCredentialBytes+1)) },
		"open to write": func(t *testing.T, path string) { secret(t, path, "x"); _ = os.Chmod(path, 0o606) },
	} {
		t.Run(name, func(t *testing.T) {
			h, dir := inShm(t)
			secret(t, dir+"/db", "secret")
			files := map[string]string{"db": dir + "/db"}
			if err := h.placeCredentials(launch(8, files), own); err != nil {
				t.Fatal(err)
			}
			os.Remove(dir + "/db")
			spoil(t, dir+"/db")
			if err := h.placeCredentials(launch(8, files), own); err != nil {
				t.Errorf("the program cannot be started again: %v", err)
			}
			if got := h.has(t, launch(8, files), "db"); got != "secret" {
				t.Errorf("it is given %q", got)
			}
			err := h.placeCredentials(launch(9, files), own) // another program, on the same slot
			if !errors.Is(err, supervisor.ErrHostFile) || !strings.Contains(err.Error(), "credentials.db") || strings.Contains(err.Error(), "secret") {
				t.Errorf("another program: %v", err)
			}
			if vetted := h.vetSecrets(launch(9, files).Spec); !errors.Is(vetted, supervisor.ErrHostFile) {
				t.Errorf("it is not refused before: %v", vetted)
			}
		})
	}
}

func TestCredentialsTogether(t *testing.T) {
	h, dir := inShm(t)
	files := map[string]string{}
	for _, name := range []string{"a", "b"} {
		secret(t, dir+"/"+name, strings.Repeat("x", service.MaxCredentialBytes/2))
		files[name] = dir + "/" + name
	}
	if _, err := h.readCredentials(files); err != nil {
		t.Error(err)
	}
	secret(t, dir+"/c", "x")
	files["c"] = dir + "/c"
	if _, err := h.readCredentials(files); !errors.Is(err, supervisor.ErrHostFile) || !strings.Contains(err.Error(), "together") {
		t.Errorf("one byte too many: %v", err)
	}
}

// On a disk they could be found years later.
func TestCredentialsAreOnNoDisk(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "gf") // on a disk also where /tmp is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	needs.That(t, !inMemory(dir), "/var/tmp is in memory here")
	secret(t, dir+"/db", "secret")
	h := &Host{runtimeDir: dir, log: hclog.NewNullLogger()}
	err = h.placeCredentials(launch(8, map[string]string{"db": dir + "/db"}), identity{uid: -1, gid: -1})
	if !errors.Is(err, supervisor.ErrHostFile) || !strings.Contains(err.Error(), "tmpfs") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "g")); err == nil {
		t.Error("something was written")
	}
}

// The directory in place belongs to the program's user, who may put there what they
// like: the agent writes to none of it.
func TestCredentialsOfAHostileUser(t *testing.T) {
	h, dir := inShm(t)
	own := identity{uid: -1, gid: -1}
	secret(t, dir+"/db", "secret")
	secret(t, dir+"/victim", "untouched")
	l := launch(8, map[string]string{"db": dir + "/db"})
	if err := h.placeCredentials(l, own); err != nil {
		t.Fatal(err)
	}
	placed := h.credentialsPath(l)
	_ = os.Chmod(placed, 0o700)
	os.Remove(placed + "/db")
	for _, name := range []string{"db", "more"} {
		if err := os.Symlink(dir+"/victim", placed+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, placed+"/dir"); err != nil {
		t.Fatal(err)
	}
	if err := h.placeCredentials(l, own); err != nil {
		t.Fatal(err)
	}
	if got := h.has(t, l, "db"); got != "secret" {
		t.Errorf("it is given %q", got)
	}
	if err := os.Symlink(dir, filepath.Dir(placed)+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := h.clear("web", 8); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(dir + "/victim"); err != nil || string(got) != "untouched" {
		t.Errorf("the victim holds %q, %v", got, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() == 0o700 {
		t.Errorf("the victim's directory has mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir + "/victim"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the victim has mode %v, %v", info.Mode(), err)
	}
}

func TestTidy(t *testing.T) {
	h, dir := inShm(t)
	own := identity{uid: -1, gid: -1}
	secret(t, dir+"/db", "secret")
	for _, generation := range []int{7, 8, 12} {
		l := launch(generation, map[string]string{"db": dir + "/db"})
		l.For = generation
		if err := h.placeCredentials(l, own); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{h.generationPath("web", generation), h.filesPath("web", generation)} {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.Tidy("web", []int{8})
	var left []string
	entries, _ := os.ReadDir(h.servicePath("web"))
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != "8 8.credentials 8.files" {
		t.Errorf("left are %q", got)
	}
	h.Tidy("nothing", nil)
	h.Tidy("web", nil)
	if entries, _ := os.ReadDir(h.servicePath("web")); len(entries) > 0 {
		t.Errorf("left are %v", entries)
	}
}

func TestWhoMayWriteTheEnvironment(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "files of several users take root")
	const alice, bob = 12345, 23456
	path := filepath.Join(t.TempDir(), "env")
	for name, c := range map[string]struct {
		owner int
		mode  os.FileMode
		want  string
	}{
		"root's":                    {0, 0o600, ""},
		"root's, public":            {0, 0o644, ""},
		"the program's user's":      {alice, 0o600, ""},
		"somebody else's":           {bob, 0o600, "belongs to uid 23456"},
		"everybody may write to it": {0, 0o666, "everybody may write"},
	} {
		secret(t, path, "A=secret\n")
		if err := errors.Join(os.Chown(path, c.owner, -1), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		env, _, err := readEnvFile(path, identity{uid: alice, gid: alice})
		switch {
		case c.want == "" && (err != nil || env["A"] != "secret"):
			t.Errorf("%s: %v, %v", name, env, err)
		case c.want != "" && (!errors.Is(err, supervisor.ErrHostFile) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
