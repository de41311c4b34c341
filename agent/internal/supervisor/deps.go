package supervisor

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// Records keeps one record per service, crash-consistently. The next agent finds
// what was written; what was synced survives a power cut, too.
type Records interface {
	WriteRecord(name string, data []byte) error
	SyncRecord(name string) error
	DeleteRecord(name string) error

	// WriteRollout keeps the bytes of a rollout, durably, KeepRollouts no others than
	// these.
	WriteRollout(data []byte) (digest string, err error)
	ReadRollout(digest string) ([]byte, error)
	KeepRollouts(used map[string]bool) error
	// WriteFreeze keeps what is said of a stop of all upgrades, durably; nothing ends
	// it.
	WriteFreeze(data []byte) error
	ReadFreeze() ([]byte, error)
}

// Host is what the machine does for services: slots, programs, steering.
type Host interface {
	// Prepare begins what of Open needs no decision, while the decision is being
	// written down. It returns at once; Open uses what came of it.
	Prepare(in SlotIntent)
	// Discard undoes a Prepare that no Open will follow.
	Discard(in SlotIntent)
	// Sweep ends what an earlier agent had prepared and never opened.
	Sweep(ctx context.Context, in SlotIntent)
	// Open creates a slot and its sockets; the last join of their groups.
	Open(ctx context.Context, in SlotIntent) (Slot, error)
	// Adopt finds a slot that an earlier agent opened; ErrSlotGone when its
	// keeper is no more.
	Adopt(ctx context.Context, in SlotIntent) (Slot, error)
	// Steering is the switch of one service's slots.
	Steering(service string) Steering
	// FindProgram finds what is to be adopted: the main process of a unit, or a
	// process; ErrNotAdoptable when it does not listen where the specification says.
	FindProgram(ctx context.Context, spec service.Spec, unit string, pid int) (External, error)
	// Boot has the unit of an adopted program, which has one, start at boot as it did,
	// or no longer.
	Boot(ctx context.Context, x External, starts bool) error
	// Retire does the latter, and has the unit stopped.
	Retire(ctx context.Context, x External) error
	// Bury kills what a generation has left running whose slot's keeper is no more,
	// where that can be told.
	Bury(ctx context.Context, service string, slot, generation int) error
	// Vet says whether what a specification runs is there and can run, and the
	// version its artifact was pushed with.
	Vet(ctx context.Context, spec service.Spec) (version string, err error)
	// Holds says whether an artifact is stored.
	Holds(digest string) bool
	// Conflict says who else holds an address; nil when nobody does.
	Conflict(ctx context.Context, a service.Address, ours []Slot) error
	// MemoryFor says whether another program like the ones in a slot fits.
	MemoryFor(s Slot) error
	// LastLines are the last lines a generation wrote.
	LastLines(service string, generation, n int) []string
	// PIDFile is where SetPID names a service's active program; 0 removes the file.
	PIDFile(service string) string
	SetPID(service string, pid int) error
	// Clear removes what a generation has in the runtime directory, Tidy what others
	// than these have left there.
	Clear(service string, generation int)
	Tidy(service string, alive []int)
	// Forget removes logs of a generation; 0 means all that is left of the service.
	Forget(service string, generation int)
	Now() lifecycle.Time
	BootID() string
}

// SlotIntent says what a slot is for.
type SlotIntent struct {
	Service    string
	Slot       int
	Generation int
	Spec       service.Spec
	// New lists the addresses that only this slot declares: no user may reach
	// them before it has weight.
	New []service.Address
	// External is the running program whose listeners the slot gets; nil for a slot
	// of the agent's own making.
	External *External
}

// External is a program that somebody else started, as it was found.
type External struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // of the process, so that another of its pid is no match
	Program   string `json:"program"`    // path of its executable
	// Unit would start it again; empty when it was adopted by its pid.
	Unit string `json:"unit,omitempty"`
	// Triggers are the units that start Unit, Enabled those of all that did so at boot
	// when it was adopted.
	Triggers []string `json:"triggers,omitempty"`
	Enabled  []string `json:"enabled,omitempty"`
	// Dependents are units that are stopped with Unit.
	Dependents []string `json:"dependents,omitempty"`
	// Replaced says that the agent's own program has taken its place in the generation,
	// Retired that Unit was told to give it up.
	Replaced bool `json:"replaced,omitempty"`
	Retired  bool `json:"retired,omitempty"`
}

// String names it in messages.
func (x External) String() string {
	if x.Unit == "" {
		return fmt.Sprintf("%s (pid %d)", x.Program, x.PID)
	}
	return fmt.Sprintf("%s (pid %d, %s)", x.Program, x.PID, x.Unit)
}

// Slot is one open slot and the program on it. Methods are safe for concurrent
// use; those that wait end with their context.
type Slot interface {
	// Start runs an instance and returns its pid once it executes. The same
	// instance again answers as before. The error is a *StartError.
	Start(ctx context.Context, l Launch) (pid int, err error)
	// Current is the slot's latest instance; ok is false when there is none.
	Current(ctx context.Context) (i Instance, ok bool, err error)
	// Await returns when the instance has ended.
	Await(ctx context.Context, instance int) (Exit, error)
	// AwaitNotify returns when the instance said READY=1.
	AwaitNotify(ctx context.Context, instance int) error
	// AwaitParentSignal returns when a signal arrived that programs of a dialect
	// send their parent once they serve.
	AwaitParentSignal(ctx context.Context, instance int, dialect string) error
	// Follow reports what the program says of itself until ctx ends.
	Follow(ctx context.Context, instance int, fn func(Saying)) error
	Signal(ctx context.Context, instance int, op string, sig int, stop bool) error
	// Successor finds the process to which an adopted program handed over when it
	// ended, as its unit knows it, and takes that in its place.
	Successor(ctx context.Context) (x External, ok bool)
	// Holders are the processes beside the agent's that hold a listener of the slot,
	// and the strangers in its groups: until there are none, closing it would move
	// others' places.
	Holders(ctx context.Context) []string
	// Leftovers are the processes that outlived the program which started them.
	Leftovers() []int
	// Kill ends the program and everything it started, and returns when it has.
	Kill(ctx context.Context, op string) error

	// Probe makes one attempt over the private path.
	Probe(ctx context.Context, p service.Probe, st Steering, generation int) error
	// Inspect looks for what a program may do to its slot: a *Problem. A deep look
	// also goes through the kernel's listeners.
	Inspect(ctx context.Context, deep bool) error
	// Arrivals reports how many connections at least have arrived since the call.
	Arrivals(ctx context.Context, fn func(n int)) error
	// Queued counts the connections that wait on the slot, handshakes included.
	Queued(ctx context.Context) (int, error)
	// Undeclared are the addresses on which the program listens by itself.
	Undeclared() ([]service.Address, error)
	// Locks are the files that the program has locked against a second copy.
	Locks() ([]string, error)
	// AwaitFull returns when so many percent of a queue of the slot are taken.
	AwaitFull(ctx context.Context, percent int) (queued, limit int, err error)
	// AwaitQueued returns when a connection waits on the slot.
	AwaitQueued(ctx context.Context) error
	// AwaitLost returns when a listener of the slot was shut down.
	AwaitLost(ctx context.Context) error
	Quiesce(ctx context.Context) error
	// Handshaken returns when the handshakes under way at the call have ended,
	// wherever they ended.
	Handshaken(ctx context.Context) error
	// Reload asks the program to read its configuration again, if it can; it says
	// whether the program confirmed that.
	Reload(ctx context.Context, preset string) (confirmed bool, err error)
	// HoldOff keeps new connections away and returns when what is queued was
	// taken, for which it waits at most patience.
	HoldOff(ctx context.Context, patience time.Duration) error
	// Refuse makes new connections be refused. A program that accepts may end.
	Refuse() error
	// Accept listens again where the slot does not. In the groups of those
	// addresses the slot is then last.
	Accept(ctx context.Context) (again []service.Address, err error)

	// Count counts open connections once.
	Count(ctx context.Context) (Count, error)
	// Nudge has the program close connections that were idle for that long.
	Nudge(ctx context.Context, quiet time.Duration) (int, error)
	// CloseConnections resets the open ones and says whose they were.
	CloseConnections(ctx context.Context) ([]netip.AddrPort, error)
	// WatchCount counts them continuously.
	WatchCount(ctx context.Context, fn func(Count)) error

	// Addresses are where it listens, in groups.
	Addresses() []service.Address
	// Listening says whether it still listens on an address.
	Listening(a service.Address) bool
	// Detach lets go of the slot; everything on it lives on.
	Detach()
}

// Steering switches new connections between the slots of one service.
type Steering interface {
	// Set steers by these weights from when it returns. Slots that are not open
	// are left out.
	Set(order steer.Order, weights map[int]int, slots map[int]Slot) error
	// Close closes a slot's sockets and ends its keeper, while no private probe is
	// under way. From the instant at which the slot leaves its groups it steers by
	// the order that holds then, also when Set still names the one before.
	Close(ctx context.Context, number int, s Slot, after steer.Order) error
}

// Launch is one start of a program.
type Launch struct {
	Service string
	// Generation is the one whose artifact runs; For is whose slot it runs on.
	Generation int
	For        int
	Instance   int
	Spec       service.Spec
}

// Instance is one run of a program as its slot's keeper knows it.
type Instance struct {
	Number     int
	Generation int // whose artifact
	PID        int
	Alive      bool
	Ready      bool // said READY=1
	Status     string
	StartedAt  time.Time
	Exit       Exit
}

// Saying is what a program said through its notify socket or to its parent.
type Saying struct {
	Status string // what it says of itself
	Failed string // it asks to be turned away, and why
	Notice string // something an operator should know
	// Forged is a process that claimed to be what it is not, 0 when there is none;
	// Notice says what.
	Forged int
}

// Count is how many connections a slot has. Fields are -1 when they cannot be
// known.
type Count struct {
	Open, Active, Idle, Stalled, Closing int
	Bytes                                int64
	// Waiting are those of Open that the program has not accepted, where this is
	// known: its end does not cut them. Only Slot.Count tells.
	Waiting int
}

// StartError says why a program does not run.
type StartError struct {
	Reason lifecycle.Reason
	Errno  int
	Err    error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// Problem is what Inspect finds.
type Problem struct {
	Reason lifecycle.Reason
	Err    error
}

func (e *Problem) Error() string { return e.Err.Error() }
func (e *Problem) Unwrap() error { return e.Err }
