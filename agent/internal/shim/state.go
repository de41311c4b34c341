package shim

import (
	"encoding/json"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// State is all a shim knows. It is a snapshot: reading it changes nothing.
type State struct {
	Seq        uint64          `json:"seq"`
	PID        int             `json:"pid"` // the shim's own
	BootID     string          `json:"boot_id"`
	StateID    string          `json:"state_id"`
	Service    string          `json:"service"`
	Slot       int             `json:"slot"`
	Generation int             `json:"generation"`
	SlotCgroup string          `json:"slot_cgroup,omitempty"`
	Spec       json.RawMessage `json:"spec,omitempty"`

	Sockets []SocketState `json:"sockets,omitempty"`
	// Current is the latest instance, running or not; nil before the first Start.
	Current *Instance `json:"current,omitempty"`
	// Past has the last few instances before it, oldest first.
	Past []Instance `json:"past,omitempty"`
	// Restarts counts the instances the shim started by itself.
	Restarts int `json:"restarts"`
	// Empty says that neither the program nor any descendant of it is alive.
	Empty bool `json:"empty"`
	// Killing says that a Kill has been asked for and something is alive still.
	Killing bool `json:"killing,omitempty"`
}

// SocketState is one held socket.
type SocketState struct {
	Socket service.Socket `json:"socket"`
	Cookie uint64         `json:"cookie"`
	// Accepting is SO_ACCEPTCONN now; false for UDP.
	Accepting bool `json:"accepting"`
}

// Instance is one run of the program.
type Instance struct {
	Number     int `json:"number"`
	Generation int `json:"generation"`
	// Process is the main process; zero when the exec failed.
	Process Process   `json:"process"`
	Started time.Time `json:"started"`
	// Exec is why the program never ran.
	Exec *ExecError `json:"exec,omitempty"`
	// Inherited says that another shim started it: its exit status is unknowable.
	Inherited bool `json:"inherited,omitempty"`
	// ByShim says that the shim started it by itself.
	ByShim bool `json:"by_shim,omitempty"`

	Ready    bool      `json:"ready"`
	ReadyAt  time.Time `json:"ready_at,omitzero"`
	Status   string    `json:"status,omitempty"`
	Stopping bool      `json:"stopping,omitempty"`
	// Extra holds the X_GRACEFLEET_* variables the program sent, newest values.
	Extra map[string]string `json:"extra,omitempty"`
	// ReadyIgnored lists processes that said READY=1 but are not the main one.
	ReadyIgnored []int `json:"ready_ignored,omitempty"`
	// Signals the shim received while this instance was the current one.
	Signals []ReceivedSignal `json:"signals,omitempty"`

	// Ops are the signal and kill operations done to this instance.
	Ops []string `json:"ops,omitempty"`
	// Stop says that it was told to end.
	Stop bool  `json:"stop,omitempty"`
	Exit *Exit `json:"exit,omitempty"`
}

// Alive says whether the main process runs as far as the shim knows.
func (i *Instance) Alive() bool { return i != nil && i.Exec == nil && i.Exit == nil }

// ReceivedSignal is a signal somebody sent to the shim; for programs that signal
// their parent once they serve, it means ready.
type ReceivedSignal struct {
	Signal int       `json:"signal"`
	Time   time.Time `json:"time"`
}

// Exit is how a main process ended.
type Exit struct {
	// Known is false for an inherited process: never take that for success.
	Known bool `json:"known"`
	// Code is the exit status, -1 when a signal or nobody knows what ended it.
	Code   int       `json:"code"`
	Signal int       `json:"signal,omitempty"`
	Time   time.Time `json:"time"`
}

// Success is an exit status known to be 0.
func (e Exit) Success() bool { return e.Known && e.Code == 0 && e.Signal == 0 }
