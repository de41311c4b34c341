package shim

import (
	"encoding/json"
	"os"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Version of the protocol that this package speaks.
//
// The protocol runs over a SOCK_SEQPACKET unix socket at ControlPath. A message
// is one JSON object, cut into packets (see wire.go) with descriptors beside it.
//
//   - On connect the shim speaks first: op "hello" with Hello.
//   - The agent sends {"id": N, "op": OP, "body": ...}; the shim answers every
//     request, in order, with {"id": N, "body": ...} or {"id": N, "error": ...}.
//   - The shim pushes {"event": ...} at any time. An agent that does not read is
//     disconnected; nothing is lost by that, since State holds every fact.
//   - The newest connection wins: the shim closes the one before.
//
// Compatibility: fields and ops are added, never changed. A field that a side
// does not know is ignored; an op that a shim does not know is answered with
// CodeUnknownOp, and Hello lists the ones it knows.
const Version = 1

// The operations. Their bodies are the types named beside them.
const (
	opHello     = "hello"     // shim: Hello
	opState     = "state"     // -> State
	opOpen      = "open"      // openRequest -> []SocketState + descriptors
	opListeners = "listeners" // -> []SocketState + descriptors
	opInherit   = "inherit"   // inheritRequest + descriptors
	opRelisten  = "relisten"  // relistenRequest
	opStart     = "start"     // Program -> Instance
	opSignal    = "signal"    // SignalRequest
	opKill      = "kill"      // killRequest
	opDismiss   = "dismiss"   // dismissRequest
)

var knownOps = []string{opState, opOpen, opListeners, opInherit, opRelisten, opStart, opSignal, opKill, opDismiss}

// message is everything that travels; exactly one of Op, Event and an answer.
type message struct {
	ID    uint64          `json:"id,omitempty"`
	Op    string          `json:"op,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
	Error *RemoteError    `json:"error,omitempty"`
	Event *Event          `json:"event,omitempty"`
}

// Hello is what a shim says of itself to every agent that connects.
type Hello struct {
	Version int      `json:"version"`
	Ops     []string `json:"ops"`
	State   State    `json:"state"`
}

type openRequest struct {
	Sockets []service.Socket          `json:"sockets"`
	Options map[string]listen.Options `json:"options,omitempty"`
}

type relistenRequest struct {
	Name    string `json:"name"`
	Backlog int    `json:"backlog"`
}

type inheritRequest struct {
	Sockets []service.Socket `json:"sockets"` // one descriptor each, in order
	Program *Program         `json:"program,omitempty"`
	Process *Process         `json:"process,omitempty"`
}

// SignalRequest sends one signal to the program's main process.
type SignalRequest struct {
	// Op names the act: each is done at most once per instance, however often it
	// is asked for.
	Op       string `json:"op"`
	Instance int    `json:"instance"`
	Signal   int    `json:"signal"`
	// Stop says that the program is meant to end: the shim will not restart it.
	Stop bool `json:"stop,omitempty"`
}

type killRequest struct {
	Op string `json:"op"`
}

type dismissRequest struct {
	Force bool `json:"force,omitempty"`
}

// Process names one process for good: a pid alone may be somebody else's
// tomorrow.
type Process struct {
	PID int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot.
	StartTime uint64 `json:"start_time"`
	BootID    string `json:"boot_id"`
}

// Listener is a held socket with a duplicate of its descriptor, which belongs to
// the caller and is not watched by Go's poller.
type Listener struct {
	SocketState
	File *os.File
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventStarted      EventKind = "started"       // by the shim itself; Start answers directly
	EventExecFailed   EventKind = "exec_failed"   // likewise
	EventReady        EventKind = "ready"         // READY=1 of the main process
	EventReadyIgnored EventKind = "ready_ignored" // READY=1 of another process: PID
	EventStatus       EventKind = "status"        // STATUS=
	EventStopping     EventKind = "stopping"      // STOPPING=1
	EventReloading    EventKind = "reloading"     // RELOADING=1
	EventExtra        EventKind = "extra"         // a variable X_GRACEFLEET_*
	EventExited       EventKind = "exited"        // the main process ended: Exit
	EventEmpty        EventKind = "empty"         // its last descendant is gone too
	EventSignal       EventKind = "signal"        // the shim received Signal, most often from its program
	EventSuperseded   EventKind = "superseded"    // another agent connected; the last event
)

// Event is one thing that happened; State already reflects it.
type Event struct {
	// Seq rises by one per event; State.Seq is that of the last one it reflects.
	Seq      uint64    `json:"seq"`
	Kind     EventKind `json:"kind"`
	Time     time.Time `json:"time"`
	Instance int       `json:"instance,omitempty"`
	// PID is the sender's, 0 when unknown.
	PID    int        `json:"pid,omitempty"`
	Signal int        `json:"signal,omitempty"`
	Text   string     `json:"text,omitempty"` // STATUS's text or KEY=VALUE
	Exit   *Exit      `json:"exit,omitempty"`
	Exec   *ExecError `json:"exec,omitempty"`
}
