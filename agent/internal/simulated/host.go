package simulated

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// Host is a machine. It implements supervisor.Host, and is safe for concurrent use.
type Host struct {
	conduct Conduct
	vet     func(service.Spec) (version string, err error)
	booted  time.Time
	lastPID atomic.Int64
}

var _ supervisor.Host = (*Host)(nil)

// uptime is how long a machine has run when it begins: 0 is no time.
const uptime = time.Hour

// New is a machine. vet says whether what a specification runs is there, and its
// version.
func New(c Conduct, vet func(service.Spec) (version string, err error)) *Host {
	return &Host{conduct: c, vet: vet, booted: time.Now().Add(-uptime)}
}

// Open creates a slot.
func (h *Host) Open(_ context.Context, in supervisor.SlotIntent) (supervisor.Slot, error) {
	if in.External != nil {
		return nil, errNoPrograms
	}
	return newSlot(h, in.Spec), nil
}

// Adopt finds nothing: a machine ends with its agent.
func (h *Host) Adopt(context.Context, supervisor.SlotIntent) (supervisor.Slot, error) {
	return nil, supervisor.ErrSlotGone
}

// Steering is the switch of a service.
func (h *Host) Steering(string) supervisor.Steering { return steering{} }

// Vet asks who was named at New.
func (h *Host) Vet(_ context.Context, spec service.Spec) (version string, err error) {
	return h.vet(spec)
}

// Now is the machine's uptime.
func (h *Host) Now() lifecycle.Time { return lifecycle.Time(time.Since(h.booted)) }

// BootID is the same of all machines.
func (h *Host) BootID() string { return "simulated" }

// pid is one that no program here has had.
func (h *Host) pid() int { return int(h.lastPID.Add(1)) }

var errNoPrograms = errors.New("a simulated host runs nothing that could be adopted")

// FindProgram finds none.
func (h *Host) FindProgram(context.Context, service.Spec, string, int) (supervisor.External, error) {
	return supervisor.External{}, errors.Join(supervisor.ErrNotAdoptable, errNoPrograms)
}

// Boot is never called, since there are no units.
func (h *Host) Boot(context.Context, supervisor.External, bool) error { return errNoPrograms }

// Retire is never called, since there are no units.
func (h *Host) Retire(context.Context, supervisor.External) error { return errNoPrograms }

// Prepare does nothing: a slot opens at once.
func (h *Host) Prepare(supervisor.SlotIntent) {}

// Discard does nothing.
func (h *Host) Discard(supervisor.SlotIntent) {}

// Sweep does nothing.
func (h *Host) Sweep(context.Context, supervisor.SlotIntent) {}

// Bury finds nothing.
func (h *Host) Bury(context.Context, string, int, int) error { return nil }

// Conflict finds nobody.
func (h *Host) Conflict(context.Context, service.Address, []supervisor.Slot) error { return nil }

// Holds asks who was named at New.
func (h *Host) Holds(digest string) bool {
	_, err := h.vet(service.Spec{Artifact: digest})
	return err == nil
}

// MemoryFor finds enough.
func (h *Host) MemoryFor(supervisor.Slot) error { return nil }

// LastLines are none.
func (h *Host) LastLines(string, int, int) []string { return nil }

// PIDFile is none.
func (h *Host) PIDFile(string) string { return "" }

// SetPID does nothing.
func (h *Host) SetPID(string, int) error { return nil }

// Clear does nothing.
func (h *Host) Clear(string, int) {}

// Tidy does nothing.
func (h *Host) Tidy(string, []int) {}

// Forget does nothing.
func (h *Host) Forget(string, int) {}
