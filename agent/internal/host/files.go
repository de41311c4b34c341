package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/agent/internal/trust"
)

// maxEnvFile bounds an env_file, in bytes.
const maxEnvFile = 1 << 20

// place puts what a program finds on the host where it looks for it.
func (h *Host) place(l supervisor.Launch) error {
	id, err := identify(l.Spec.User)
	if err == nil {
		err = h.placeFiles(l, id)
	}
	if err == nil {
		err = h.placeCredentials(l, id)
	}
	return err
}

// filePaths are the paths by name.
func (h *Host) filePaths(l supervisor.Launch) map[string]string {
	paths := map[string]string{}
	for name := range l.Spec.Files {
		paths[name] = filepath.Join(h.filesPath(l.Service, l.For), name)
	}
	return paths
}

// placeFiles copies the files of a generation to where its user can read them and
// nobody but the agent can write. Their bytes are verified here, before every start.
func (h *Host) placeFiles(l supervisor.Launch, id identity) error {
	if len(l.Spec.Files) == 0 {
		return nil
	}
	// Beside the scratch directory: what is in that belongs to the program.
	dir := h.filesPath(l.Service, l.For)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("place the generation's files: %w", err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return fmt.Errorf("place the generation's files: %w", err)
	}
	for _, name := range sortedKeys(l.Spec.Files) {
		from, err := h.store.Verify(l.Spec.Files[name])
		if err != nil {
			return fmt.Errorf("files.%s: %w", name, err)
		}
		if err := copyFor(from, filepath.Join(dir, name), id); err != nil {
			return fmt.Errorf("files.%s: %w", name, err)
		}
	}
	return hand(dir, 0o750, id)
}

func copyFor(from, to string, id identity) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o440)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), hand(to, 0o440, id))
}

// hand lets the program's group use what belongs to the agent, whose umask is not
// what others need.
func hand(path string, mode os.FileMode, id identity) error {
	if os.Geteuid() == 0 {
		if err := os.Lchown(path, -1, id.gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// readEnvFile reads assignments as systemd's EnvironmentFile= has them
// (systemd.exec(5)), without continuation lines: KEY=VALUE, comments, quotes
// around a whole value. Whoever writes it decides what the program runs (LD_PRELOAD),
// so it is root's, the agent's or the program's own user's.
func readEnvFile(path string, id identity) (map[string]string, trust.File, error) {
	f, err := trust.ReadFile(path, maxEnvFile)
	if err != nil {
		return nil, f, hostFile("env_file: %w", err)
	}
	if !f.By(id.uid) {
		return nil, f, hostFile("env_file %s belongs to uid %d, who would decide on the program's environment: chown it to root or the service's user", path, f.UID)
	}
	env, err := parseEnv(f.Data)
	if err != nil {
		return nil, f, hostFile("env_file %s:%w", path, err)
	}
	return env, f, nil
}

// parseEnv never repeats a value in an error: it may be a secret.
func parseEnv(data []byte) (map[string]string, error) {
	env := map[string]string{}
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		line := strings.TrimSpace(string(raw))
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		switch {
		case !ok || !isVariable(key):
			return nil, fmt.Errorf("%d: want KEY=VALUE", number)
		case strings.ContainsRune(value, 0):
			return nil, fmt.Errorf("%d: %s contains NUL", number, key)
		}
		env[key] = unquote(strings.TrimSpace(value))
	}
	return env, nil
}

func isVariable(s string) bool {
	for i, r := range s {
		letter := r == '_' || (r|0x20 >= 'a' && r|0x20 <= 'z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
