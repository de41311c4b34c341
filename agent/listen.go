package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/trust"
)

// socketGroup may use the local socket as an operator, where the host has such a
// group and the configuration names no other.
const socketGroup = "gracefleet"

// listenLocal opens the API's unix socket: for its owner and, where the agent is
// root, for the groups that have a role. A file has one group, so with several
// everybody may connect, and whoever has no role is turned away then. A socket that
// an agent died on is replaced.
func listenLocal(path string, groups map[string]string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("local socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	welcome := gids(groups)
	// The mode must be right before anyone can connect: bind under that umask.
	old := unix.Umask(umaskFor(welcome))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("local socket: %w", err)
	}
	if err := openTo(path, welcome); err != nil {
		return nil, errors.Join(fmt.Errorf("local socket: %w", err), l.Close())
	}
	return l, nil
}

// gids are those of the groups that the host has.
func gids(groups map[string]string) []int {
	var out []int
	for name := range groups {
		if g, err := user.LookupGroup(name); err == nil {
			if gid, err := strconv.Atoi(g.Gid); err == nil {
				out = append(out, gid)
			}
		}
	}
	return out
}

func umaskFor(gids []int) int {
	if os.Geteuid() == 0 && len(gids) > 1 {
		return 0o111
	}
	return 0o117
}

// openTo follows no link: in a directory of somebody else's the path may have become
// one.
func openTo(path string, gids []int) error {
	if os.Geteuid() != 0 || len(gids) != 1 {
		return nil
	}
	return os.Lchown(path, 0, gids[0])
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("local socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("local socket: %s exists and is not a socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return fmt.Errorf("local socket: another agent answers on %s", path)
	}
	return os.Remove(path)
}

// runtimeDir is locked and belongs to one state directory.
type runtimeDir struct{ lock *os.File }

// openRuntimeDir refuses a directory that another agent uses, or whose shims
// belong to the agent of another state directory: they serve production.
func openRuntimeDir(dir, stateID string) (*runtimeDir, error) {
	for _, d := range []string{dir, filepath.Join(dir, "s")} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, fmt.Errorf("runtime directory: %w", err)
		}
		// In /tmp somebody else may have been there first.
		if err := trust.Dir(d); err != nil {
			return nil, fmt.Errorf("runtime directory %w", err)
		}
		// Programs run as other users reach their notify socket through it.
		if err := os.Chmod(d, 0o711); err != nil {
			return nil, fmt.Errorf("runtime directory: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("runtime directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("runtime directory %s is used by another agent: %w", dir, err), lock.Close())
	}
	r := &runtimeDir{lock: lock}
	if err := stamp(filepath.Join(dir, "state-id"), stateID, filepath.Join(dir, "s")); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *runtimeDir) close() error { return r.lock.Close() }

func stamp(path, stateID, shims string) error {
	was, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(was)) != stateID {
		entries, err := os.ReadDir(shims)
		if err != nil {
			return fmt.Errorf("runtime directory: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("runtime directory %s holds the services of another state directory (id %s, this one is %s): "+
				"start the agent with that state directory, or choose another runtime directory", filepath.Dir(path), strings.TrimSpace(string(was)), stateID)
		}
	}
	if err := os.WriteFile(path, []byte(stateID+"\n"), 0o600); err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	return nil
}
