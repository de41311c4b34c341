package host

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/agent/internal/trust"
)

// credentialsPath is where a program finds its credentials. On the slot of one
// generation programs of several may run, one after the other: each has its own.
func (h *Host) credentialsPath(l supervisor.Launch) string {
	return filepath.Join(h.credentialsDir(l.Service, l.For), strconv.Itoa(l.Generation))
}

// credentialPaths are the paths by name.
func (h *Host) credentialPaths(l supervisor.Launch) map[string]string {
	paths := map[string]string{}
	for name := range l.Spec.Credentials {
		paths[name] = filepath.Join(h.credentialsPath(l), name)
	}
	return paths
}

// placeCredentials has the program find its credentials as the host has them now. If
// they cannot be read, a program that had some on this slot is started with those: it
// serves.
func (h *Host) placeCredentials(l supervisor.Launch, id identity) error {
	if len(l.Spec.Credentials) == 0 {
		return nil
	}
	dir := h.credentialsPath(l)
	secrets, err := h.readCredentials(l.Spec.Credentials)
	if err == nil {
		err = writeCredentials(dir, secrets, id)
	}
	if err == nil {
		return nil
	}
	if _, none := os.Lstat(dir); none != nil {
		return err
	}
	h.log.Warn("a program is started with the credentials that it had", "service", l.Service, "generation", l.For, "error", err)
	return nil
}

// readCredentials reads all or none of them. Errors name files, never what is in them.
func (h *Host) readCredentials(files map[string]string) (map[string]trust.File, error) {
	if !inMemory(h.runtimeDir) {
		return nil, hostFile("credentials: they are kept in memory only, and the runtime directory %s is on a disk: "+
			"put it on a tmpfs, as /run is on most hosts (graced --runtime-dir)", h.runtimeDir)
	}
	secrets := map[string]trust.File{}
	left := service.MaxCredentialBytes
	for _, name := range sortedKeys(files) {
		f, err := trust.ReadFile(files[name], left)
		switch {
		case errors.Is(err, trust.ErrTooLarge):
			return nil, hostFile("credentials.%s: %s: the credentials of a service have at most %d bytes together", name, files[name], service.MaxCredentialBytes)
		case err != nil:
			return nil, hostFile("credentials.%s: %w", name, err)
		}
		left -= len(f.Data)
		secrets[name] = f
	}
	return secrets, nil
}

func hostFile(format string, args ...any) error {
	return fmt.Errorf("%w: %w", supervisor.ErrHostFile, fmt.Errorf(format, args...))
}

// inMemory says whether what is written to a directory reaches no disk but as swap.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return err == nil && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC)
}

// writeCredentials puts all of them in place at once. The directory in place is its
// user's, so nothing is ever written there.
func writeCredentials(dir string, secrets map[string]trust.File, id identity) error {
	above := filepath.Dir(dir)
	fresh := filepath.Join(above, "new")
	err := errors.Join(os.MkdirAll(above, 0o711), os.Chmod(above, 0o711), removePrivate(fresh), os.Mkdir(fresh, 0o700))
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if err == nil {
			err = writePrivate(filepath.Join(fresh, name), secrets[name].Data, id)
		}
	}
	if err == nil {
		err = entrust(fresh, 0o500, id)
	}
	if err == nil {
		err = exchange(fresh, dir)
	}
	if err = errors.Join(err, removePrivate(fresh)); err != nil {
		return fmt.Errorf("place the credentials: %w", err)
	}
	return nil
}

func writePrivate(path string, data []byte, id identity) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close(), entrust(path, 0o400, id))
}

// entrust gives a path to the program's user alone.
func entrust(path string, mode os.FileMode, id identity) error {
	if os.Geteuid() == 0 {
		if err := os.Lchown(path, id.uid, id.gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// exchange has a directory take the place of another, which is there or not: a program
// that its shim starts meanwhile finds one of them.
func exchange(fresh, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		return os.Rename(fresh, dir)
	}
	return os.NewSyscallError("renameat2", err)
}

// removePrivate removes a directory that its owner may not write to, which is no
// matter to root only.
func removePrivate(dir string) error {
	if info, err := os.Lstat(dir); err == nil && info.IsDir() {
		_ = os.Chmod(dir, 0o700) // removing says what is wrong
	}
	return os.RemoveAll(dir)
}
