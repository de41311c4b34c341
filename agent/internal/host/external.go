package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/agent/internal/systemd"
)

// FindProgram finds the program that a unit or a process is, and says whether it
// listens on what a specification declares.
func (h *Host) FindProgram(ctx context.Context, spec service.Spec, unit string, pid int) (supervisor.External, error) {
	x := supervisor.External{PID: pid}
	if unit != "" {
		u, err := systemd.Find(ctx, unit)
		if err != nil {
			return x, notAdoptable(err)
		}
		x.PID, x.Unit, x.Triggers, x.Enabled, x.Dependents = u.PID, u.Name, u.Triggers, u.Enabled, u.Dependents
	}
	p, err := shim.Identify(x.PID)
	if err != nil {
		return x, notAdoptable(fmt.Errorf("there is no process %d", x.PID))
	}
	x.StartTime = p.StartTime
	x.Program, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", x.PID))
	if err != nil {
		return x, notAdoptable(fmt.Errorf("process %d may not be looked at: run graced as root, or as the program's user: %w", x.PID, err))
	}
	return x, notAdoptable(h.adoptable(ctx, spec, x))
}

// adoptable says why a program that is there cannot be taken over.
func (h *Host) adoptable(ctx context.Context, spec service.Spec, x supervisor.External) error {
	if x.Unit == "" {
		if err := startedAgain(ctx, x.PID); err != nil {
			return err
		}
	}
	inodes := map[uint64]bool{}
	for _, sock := range spec.Sockets {
		l, err := h.listenerOf(ctx, spec.Name, x, sock.Address)
		if err != nil {
			return err
		}
		inodes[l.Inode] = true
	}
	return alone(x, inodes)
}

// alone refuses a program of which a part that would stay has the listeners, too:
// it could not be replaced by ending what was named.
func alone(x supervisor.External, inodes map[uint64]bool) error {
	family := append([]int{x.PID}, below(x.PID)...)
	for _, p := range socket.HoldersOf(inodes) {
		inUnit := x.Unit != "" && (p.PID == 1 || p.Unit == x.Unit)
		if !inUnit && !slices.Contains(family, p.PID) && p.PID != os.Getpid() {
			return fmt.Errorf("process %d (%s) has the listeners of process %d as well: adopt that one, if it is its parent, or the unit of both", p.PID, p.Program, x.PID)
		}
	}
	return nil
}

func notAdoptable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", supervisor.ErrNotAdoptable, err)
}

// startedAgain refuses a process that a unit would start again once it has ended.
func startedAgain(ctx context.Context, pid int) error {
	name := socket.UnitOf(pid)
	if !strings.HasSuffix(name, ".service") {
		return nil
	}
	if u, err := systemd.Find(ctx, name); err == nil && u.PID == pid {
		return fmt.Errorf("process %d is the main process of %s, which would start it again: adopt it by --unit %s", pid, u.Name, u.Name)
	}
	return nil
}

// held is a listener and where the adopted program has it.
type held struct {
	socket.Listener
	descriptor
}

// listenerOf finds the one socket that listens on an address, in the program.
func (h *Host) listenerOf(ctx context.Context, name string, x supervisor.External, a service.Address) (held, error) {
	if a.Network != service.TCP {
		return held{}, fmt.Errorf("%s: only tcp listeners can be taken over: stop the program and use gracectl apply", a)
	}
	all, err := socket.Listeners(ctx, a)
	if err != nil {
		return held{}, err
	}
	pids := []int{x.PID}
	if x.Unit != "" { // its main process may be a mere wrapper
		pids = append(pids, below(x.PID)...)
	}
	own, known := heldSockets(pids)
	if !known {
		return held{}, fmt.Errorf("the descriptors of process %d may not be looked at: run graced as root, or as the program's user", x.PID)
	}
	var found []held
	for _, l := range all {
		at, ok := own[l.Inode]
		holder := socket.Process{}
		if !ok {
			holder, _ = socket.Holder(l.Inode)
		}
		switch {
		case !ok && (h.ownShim(holder.PID) || runsFor(holder.PID, name)):
			continue // another slot of the same service
		case !ok:
			return held{}, socket.InUse(a, socket.Stranger{Listener: l, Process: holder})
		case l.Address != a:
			return held{}, fmt.Errorf("process %d (%s) listens on %s: declare that in place of %s", x.PID, x.Program, spelled(l.Address), spelled(a))
		}
		found = append(found, held{l, at})
	}
	switch len(found) {
	case 0:
		return held{}, fmt.Errorf("process %d (%s) does not listen on %s%s", x.PID, x.Program, spelled(a), listensElsewhere(own))
	case 1:
		return found[0], nil
	}
	return held{}, fmt.Errorf("process %d (%s) has %d sockets that listen on %s, which share connections by chance (SO_REUSEPORT): have it open one, and adopt it then",
		x.PID, x.Program, len(found), a)
}

// runsFor says whether an agent started a process, for a service.
func runsFor(pid int, name string) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.Contains(strings.Split(string(environ), "\x00"), "GRACEFLEET_SERVICE="+name)
}

// listensElsewhere helps whoever declared the wrong addresses.
func listensElsewhere(own map[uint64]descriptor) string {
	all, err := listening(own)
	if err != nil {
		return ""
	}
	if len(all) == 0 {
		return ", nor on any other tcp address"
	}
	var names []string
	for _, a := range all {
		names = append(names, spelled(a))
	}
	return "; it does on " + strings.Join(names, ", ")
}

// spelled is an address as a service file has it.
func spelled(a service.Address) string {
	out := a.String()
	if a.V6Only {
		out += " with v6only: true"
	}
	if a.Device != "" {
		out += " with device: " + a.Device
	}
	return out
}

// Boot has the unit of an adopted program, and what triggers it, start at boot as
// they did, or no longer.
func (h *Host) Boot(ctx context.Context, x supervisor.External, starts bool) error {
	if starts {
		return systemd.Enable(ctx, x.Enabled...)
	}
	return systemd.Disable(ctx, append([]string{x.Unit}, x.Triggers...)...)
}

// Retire has the unit of an adopted program no longer start it, and stopped.
func (h *Host) Retire(ctx context.Context, x supervisor.External) error {
	return errors.Join(h.Boot(ctx, x, false), systemd.Stop(ctx, append(slices.Clone(x.Triggers), x.Unit)...))
}

// Bury kills what a generation that lost its shim has left running, and removes
// their cgroups.
func (h *Host) Bury(ctx context.Context, service string, slot, generation int) error {
	programs, err := h.generationCgroup(service, generation)
	if err != nil || programs == "" {
		return err
	}
	if pids, err := programs.Pids(); err == nil && len(pids) > 0 {
		h.log.Warn("processes that lost their shim are killed", "service", service, "generation", generation, "pids", pids)
		if err := programs.Kill(); err != nil {
			return err
		}
	}
	shims, err := h.slotCgroup(service, slot)
	if err := errors.Join(err, programs.Await(ctx)); err != nil {
		return err
	}
	// A shim that was killed just now is in no list any more, and holds its cgroup still.
	ending, cancel := context.WithTimeout(ctx, shimEnd)
	defer cancel()
	_ = shims.Await(ending) // else it stays
	return errors.Join(programs.Remove(), shims.Remove())
}
