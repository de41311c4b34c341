package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnavailable means that this host or user gets no cgroups; the wrapping
// error says why. Everything works without, with fewer extras.
var ErrUnavailable = errors.New("cgroups are not available")

// Tree is the part of the cgroup hierarchy that belongs to one agent.
type Tree struct{ base string }

// Open finds a cgroup v2 hierarchy and a base in it: the agent's own cgroup if
// it was delegated to it, else, as root, one named after the state directory.
// In a delegated cgroup the agent moves itself to the leaf "agent".
func Open(stateID string) (*Tree, error) {
	t, err := open(stateID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return t, nil
}

func open(stateID string) (*Tree, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	mount, root, err := findMount(string(mounts))
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	path, err := ownPath(string(own), root)
	if err != nil {
		return nil, err
	}
	delegated := filepath.Join(mount, path)
	// A leaf "agent" is where a former agent of this tree moved itself, and from
	// where a restarted one may have been started again.
	delegated = strings.TrimSuffix(delegated, "/agent")
	derr := delegate(mount, delegated)
	if derr == nil {
		return &Tree{base: delegated}, nil
	}
	base := filepath.Join(mount, "gracefleet-"+stateID)
	if err := os.Mkdir(base, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%w; and as an ordinary user: %w", derr, err)
	}
	return &Tree{base: base}, nil
}

// findMount returns where cgroup2 is mounted and which part of it is seen there.
func findMount(mountinfo string) (mount, root string, err error) {
	lines := bufio.NewScanner(strings.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		return unescape(fields[4]), unescape(fields[3]), nil
	}
	return "", "", errors.New("no cgroup2 is mounted")
}

// unescape undoes the \ooo of mountinfo (proc(5)).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ownPath is the process's cgroup relative to the mount.
func ownPath(self, root string) (string, error) {
	for line := range strings.Lines(self) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", fmt.Errorf("the agent's cgroup %s lies outside the mounted %s", path, root)
		}
		return rel, nil
	}
	return "", errors.New("the kernel shows no cgroup v2 for this process")
}

// delegate checks that a cgroup was handed to this process, and clears it for
// children by moving the process to a leaf.
func delegate(mount, dir string) error {
	if dir == mount {
		return errors.New("the agent runs in the root cgroup, which is not its own")
	}
	if !delegatedTo(dir) {
		return fmt.Errorf("cgroup %s is not delegated to the agent (systemd: Delegate=yes)", dir)
	}
	leaf := filepath.Join(dir, "agent")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create %s: %w", leaf, err)
	}
	if err := Dir(leaf).Add(os.Getpid()); err != nil {
		return err
	}
	return nil
}

// delegatedTo says whether a cgroup is meant for us. systemd marks its own
// delegations with an extended attribute (since 251, and as root everywhere);
// elsewhere a user that is not root owns what was delegated to it.
func delegatedTo(dir string) bool {
	mark := make([]byte, 1)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, mark); err == nil && n == 1 && mark[0] == '1' {
			return unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil
		}
	}
	return os.Geteuid() != 0 &&
		unix.Access(dir, unix.W_OK) == nil && unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil
}

// Base is the directory all cgroups of this Tree are in.
func (t *Tree) Base() Dir { return Dir(t.base) }

// Slot creates, if need be, the cgroup of a slot's shim.
func (t *Tree) Slot(service string, slot int) (Dir, error) {
	return t.create(service, "slot-"+strconv.Itoa(slot))
}

// Generation creates, if need be, the cgroup of a generation's program.
func (t *Tree) Generation(service string, n int) (Dir, error) {
	return t.create(service, "gen-"+strconv.Itoa(n))
}

// create uses "svc-" so that no service's name can meet a cgroup.* file.
func (t *Tree) create(service, leaf string) (Dir, error) {
	dir := filepath.Join(t.base, "svc-"+service, leaf)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create cgroup: %w", err)
	}
	return Dir(dir), nil
}
