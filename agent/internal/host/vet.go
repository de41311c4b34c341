package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/agent/internal/trust"
)

const hostPrefix = "host:"

// Vet says whether an artifact and its files are there, and can be used on this
// machine.
func (h *Host) Vet(_ context.Context, spec service.Spec) (version string, err error) {
	for _, name := range sortedKeys(spec.Files) {
		if _, err := h.store.GetArtifact(spec.Files[name]); err != nil {
			return "", fmt.Errorf("files.%s: %w", name, vetted(err))
		}
	}
	if err := h.vetSecrets(spec); err != nil {
		return "", err
	}
	if path, ok := strings.CutPrefix(spec.Artifact, hostPrefix); ok {
		_, err := h.store.HostArtifact(path)
		return "", vetted(err)
	}
	a, err := h.store.GetArtifact(spec.Artifact)
	if err != nil {
		return "", vetted(err)
	}
	if err := h.vetProgram(spec, a); err != nil {
		return "", vetted(err)
	}
	return a.Labels[service.VersionLabel], nil
}

// Holds says whether an artifact is stored.
func (h *Host) Holds(digest string) bool {
	_, err := h.store.GetArtifact(digest)
	return err == nil
}

// vetSecrets reads what the program will be given of the host, and keeps nothing.
func (h *Host) vetSecrets(spec service.Spec) error {
	if spec.EnvFile != "" {
		id, err := identify(spec.User)
		if err != nil {
			return hostFile("env_file: %w", err)
		}
		_, f, err := readEnvFile(spec.EnvFile, id)
		if err != nil {
			return err
		}
		h.warnPublic(spec.EnvFile, f)
	}
	if len(spec.Credentials) == 0 {
		return nil
	}
	secrets, err := h.readCredentials(spec.Credentials)
	for name, f := range secrets {
		h.warnPublic(spec.Credentials[name], f)
	}
	return err
}

func (h *Host) warnPublic(path string, f trust.File) {
	if f.Public {
		h.log.Warn("a file with secrets can be read by everybody on this host: chmod o-r", "file", path)
	}
}

// vetProgram looks at the program that a command names: in an archive it is a file
// of the tree.
func (h *Host) vetProgram(spec service.Spec, a store.Artifact) error {
	command := spec.Command[0]
	relative := !strings.HasPrefix(command, "{") && !filepath.IsAbs(command)
	if !a.Tree {
		if relative {
			return fmt.Errorf("command %q: %w: it is relative, and the artifact %s is no tree", command, store.ErrNotExecutable, a.Name)
		}
		_, err := store.Inspect(a.Path)
		return err
	}
	dir, err := h.store.Tree(a.Digest)
	switch {
	case err != nil:
		return err
	case command == artifactPlaceholder:
		return fmt.Errorf("%w: the artifact %s is a tree: say which program of it is the command, such as command: [bin/web]", store.ErrNotExecutable, a.Name)
	case relative:
		_, err = store.Inspect(filepath.Join(dir, command))
	}
	return err
}

func vetted(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %w", supervisor.ErrArtifactNotFound, err)
	default:
		return fmt.Errorf("%w: %w", supervisor.ErrNotExecutable, err)
	}
}

// Conflict names a foreign process that listens on an address, or on one that
// meets it.
func (h *Host) Conflict(ctx context.Context, a service.Address, ours []supervisor.Slot) error {
	if a.Network == service.Unix {
		return h.pathConflict(ctx, a, ours)
	}
	strangers, err := socket.Foreign(ctx, a, cookiesOf(ours))
	if err != nil {
		h.log.Warn("cannot look who listens on an address", "address", a.String(), "error", err)
		return nil // bind decides
	}
	for _, x := range strangers {
		if !h.ownShim(x.PID) {
			return fmt.Errorf("%w: %w", supervisor.ErrAddressInUse, socket.InUse(a, x))
		}
	}
	return nil
}

// ownShim says whether a process is a shim of this agent: one that is opening or
// closing its slot at this moment is not among ours yet, or no longer.
func (h *Host) ownShim(pid int) bool {
	if pid == 0 {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(cmdline), "\x00")
	return len(args) >= 3 && args[0] == "graced-shim" && strings.HasPrefix(args[2], h.runtimeDir+"/s/")
}

// cookiesOf are the kernel's names of the sockets of some slots.
func cookiesOf(slots []supervisor.Slot) map[uint64]bool {
	out := map[uint64]bool{}
	for _, s := range slots {
		for _, l := range s.(*slot).listeners() {
			out[l.Cookie] = true
		}
	}
	return out
}

// pathConflict looks for a live socket, or something else, at a unix path.
func (h *Host) pathConflict(ctx context.Context, a service.Address, ours []supervisor.Slot) error {
	info, err := os.Lstat(a.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", supervisor.ErrAddressInUse, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%w: %s exists and is not a socket: remove it or choose another path", supervisor.ErrAddressInUse, a.Path)
	}
	for _, s := range ours {
		if s.(*slot).publishedAt(a) {
			return nil
		}
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
	if err != nil {
		return nil // what a dead program left behind
	}
	c.Close()
	return fmt.Errorf("%w: a foreign process listens on %s: stop it or choose another path", supervisor.ErrAddressInUse, a.Path)
}

// MemoryFor says whether a second program like the one on a slot fits into what
// memory is available.
func (h *Host) MemoryFor(s supervisor.Slot) error {
	used := residentBytes(s.(*slot).processes())
	available, err := availableBytes()
	if err != nil || used == 0 || available >= used {
		return nil // unknown is not short
	}
	return fmt.Errorf("%w: the active generation uses %d MiB and %d MiB are available: free some, or use --force",
		supervisor.ErrOutOfMemory, used>>20, available>>20)
}
