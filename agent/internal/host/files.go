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

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// maxEnvFile bounds an env_file, in bytes.
const maxEnvFile = 1 << 20

// placeFiles copies the files of a generation to where its user can read them and
// nobody but the agent can write, and returns their paths. Their bytes are
// verified here, before every start.
func (h *Host) placeFiles(spec service.Spec, generation int, id identity) (map[string]string, error) {
	if len(spec.Files) == 0 {
		return nil, nil
	}
	// Beside the scratch directory: what is in that belongs to the program.
	dir := h.filesPath(spec.Name, generation)
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("place the generation's files: %w", err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return nil, fmt.Errorf("place the generation's files: %w", err)
	}
	paths := map[string]string{}
	for _, name := range sortedKeys(spec.Files) {
		from, err := h.store.Verify(spec.Files[name])
		if err != nil {
			return nil, fmt.Errorf("files.%s: %w", name, err)
		}
		paths[name] = filepath.Join(dir, name)
		if err := copyFor(from, paths[name], id); err != nil {
			return nil, fmt.Errorf("files.%s: %w", name, err)
		}
	}
	return paths, hand(dir, 0o750, id)
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
// around a whole value.
func readEnvFile(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("env_file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if err != nil {
		return nil, fmt.Errorf("env_file %s: %w", path, err)
	}
	if len(data) > maxEnvFile {
		return nil, fmt.Errorf("env_file %s: more than %d bytes", path, maxEnvFile)
	}
	env, err := parseEnv(data)
	if err != nil {
		return nil, fmt.Errorf("env_file %s:%w", path, err)
	}
	return env, nil
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
