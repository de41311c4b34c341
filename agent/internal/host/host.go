package host

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/cgroup"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// Host is this machine. It implements supervisor.Host.
type Host struct {
	store      *store.Store
	cgroups    *cgroup.Tree // nil without cgroup v2
	runtimeDir string
	shimBinary string
	log        hclog.Logger
	bootID     string

	mu        sync.Mutex
	steerings map[string]*steering
	prepared  map[string]chan spawned // by a shim's directory
}

var _ supervisor.Host = (*Host)(nil)

// Options of New.
type Options struct {
	Store *store.Store
	// Cgroups is nil where there are none: kills go by process tree then, and
	// connections are counted by descriptor.
	Cgroups    *cgroup.Tree
	RuntimeDir string
	ShimBinary string
	Log        hclog.Logger
}

// New prepares the machine. It fails when the runtime directory's name is too
// long for the sockets in it.
func New(o Options) (*Host, error) {
	h := &Host{
		store: o.Store, cgroups: o.Cgroups, runtimeDir: o.RuntimeDir, shimBinary: o.ShimBinary,
		log: o.Log.Named("host"), steerings: map[string]*steering{}, prepared: map[string]chan spawned{},
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read the boot id: %w", err)
	}
	h.bootID = strings.TrimSpace(string(boot))
	if err := shim.CheckDir(h.shimDir("x", 1<<20)); err != nil {
		return nil, err
	}
	return h, nil
}

// BootID names this run of the kernel.
func (h *Host) BootID() string { return h.bootID }

// Now is CLOCK_BOOTTIME: it goes on during a suspend, and nobody can set it.
func (h *Host) Now() lifecycle.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("CLOCK_BOOTTIME: %v", err)) // every supported kernel has it
	}
	return lifecycle.Time(ts.Nano())
}

// shimDir is short, since sockets live in it (unix(7): 107 bytes).
func (h *Host) shimDir(service string, slot int) string {
	sum := sha256.Sum256([]byte(service))
	return filepath.Join(h.runtimeDir, "s", hex.EncodeToString(sum[:4])+"-"+strconv.Itoa(slot))
}

// servicePath holds what the generations of a service have in the runtime directory.
func (h *Host) servicePath(service string) string { return filepath.Join(h.runtimeDir, "g", service) }

// generationPath is the scratch directory of one generation.
func (h *Host) generationPath(service string, generation int) string {
	return filepath.Join(h.servicePath(service), strconv.Itoa(generation))
}

// filesPath is where the files that travel with a generation are.
func (h *Host) filesPath(service string, generation int) string {
	return h.generationPath(service, generation) + ".files"
}

// credentialsDir is where the credentials of programs on a generation's slot are.
func (h *Host) credentialsDir(service string, generation int) string {
	return h.generationPath(service, generation) + ".credentials"
}

// Steering is the switch of a service.
func (h *Host) Steering(service string) supervisor.Steering { return h.steeringOf(service) }

func (h *Host) steeringOf(service string) *steering {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.steerings[service]
	if s == nil {
		s = newSteering(h.log.With("service", service))
		h.steerings[service] = s
	}
	return s
}

// LastLines are the last lines a generation wrote.
func (h *Host) LastLines(service string, generation, n int) []string {
	lines, err := h.store.LastLines(service, generation, n)
	if err != nil {
		h.log.Warn("a generation's last lines cannot be read", "service", service, "generation", generation, "error", err)
	}
	return lines
}

// Forget removes logs; generation 0 means those of the whole service, with all else
// that is left of it.
func (h *Host) Forget(service string, generation int) {
	if err := h.store.RemoveLogs(service, generation); err != nil {
		h.log.Warn("logs could not be removed", "service", service, "error", err)
	}
	if generation != 0 {
		return
	}
	h.Tidy(service, nil)
	_ = os.Remove(h.servicePath(service)) // one that never ran has none
	h.mu.Lock()
	s := h.steerings[service]
	delete(h.steerings, service)
	h.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// Close ends what the machine does for services by itself; all slots live on.
func (h *Host) Close() {
	h.discardAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.steerings {
		s.close()
	}
}

func (h *Host) slotCgroup(service string, slot int) (cgroup.Dir, error) {
	if h.cgroups == nil {
		return "", nil
	}
	return h.cgroups.Slot(service, slot)
}

func (h *Host) generationCgroup(service string, generation int) (cgroup.Dir, error) {
	if h.cgroups == nil {
		return "", nil
	}
	return h.cgroups.Generation(service, generation)
}
