package supervisor

import (
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// ServiceState is what the operators want of a service, and whether they have it.
type ServiceState uint8

// The states of a service.
const (
	Running ServiceState = 1 // supposed to run
	Halted  ServiceState = 2 // stopped by an operator
	Down    ServiceState = 3 // nobody serves and nothing is ordered to
)

// Status is one service as it stands, a snapshot that nobody else writes.
type Status struct {
	// Look numbers the looks at services: two statuses of one look are the same. Zero
	// when nobody has looked.
	Look       uint64
	Name       string
	Spec       service.Spec
	State      ServiceState
	Active     int // number of the active generation, 0 when none
	ETag       string
	Pending    []service.Change
	Actor      string
	RecordedAt time.Time
	Warnings   []string
	PIDFile    string
	// RequiresSignature says that it runs signed artifacts alone, Floor which release
	// is the lowest that is taken; 0 before the first.
	RequiresSignature bool
	Floor             int64
	Generations       []Generation // newest first: alive ones, and the last that ended
	Upgrade           *Upgrade     // in progress, or the last
}

// Generation is one generation as it stands.
type Generation struct {
	Number      int
	State       lifecycle.GenerationState
	Artifact    string
	Version     string
	PID         int
	Weight      int  // basis points
	Connections *int // nil: cannot be known
	Restarts    int
	Drain       *Drain
	Exit        *Exit
	CreatedAt   time.Time
	ReadyAt     time.Time
	EndedAt     time.Time
	RollbackOf  int
	Slot        int
	StatusText  string
	Reason      lifecycle.Reason
	Message     string
	Good        bool
	Spec        service.Spec
	External    *External // whose program was adopted; nil for the agent's own
	Release     Release
}

// Drain is how far a drain has come. Nil numbers cannot be known.
type Drain struct {
	Phase       lifecycle.Phase
	Deadline    time.Time // zero: unlimited
	Connections *int
	Active      *int
	Idle        *int
	Stalled     *int
	Closing     *int
	Bytes       *int64
	Forced      int // connections cut at the deadline
}

// Exit is how a program ended.
type Exit struct {
	Code    int       `json:"code"`
	Signal  int       `json:"signal"`
	Time    time.Time `json:"time"`
	Unknown bool      `json:"unknown,omitempty"` // nobody could wait for it
}

// Upgrade is one upgrade as it stands.
type Upgrade struct {
	ID         string
	Service    string
	State      lifecycle.UpgradeState
	Kind       lifecycle.Kind
	From       int
	To         int
	Artifact   string
	Version    string
	Steps      []lifecycle.CanaryStep
	Step       int
	StepSaw    []int
	Waiting    bool
	PhaseEnd   time.Time
	Reason     lifecycle.Reason
	Message    string
	Errno      int
	LastLines  []string
	Actor      string
	Comment    string
	RequestID  string
	Rollout    string // whose it is; empty without one
	CreatedAt  time.Time
	ReadyAt    time.Time
	EndedAt    time.Time
	RollbackOf int
	Warnings   []string
	Release    Release
	BreakGlass bool // its release is below the floor
}

// Release is what a signed statement says of an artifact; zero without one.
type Release struct {
	Number int64  `json:"number"`
	Key    string `json:"key"` // id of the key that signed it
}

// Caller says who asks, why, and under which id a repeat is harmless.
type Caller struct {
	Actor     string
	Comment   string
	RequestID string
	// Root is whoever rules the host: root, or the agent's own user, on the host.
	Root bool `json:",omitempty"`
}

// Signing is what a request brings for a service that runs signed artifacts alone.
type Signing struct {
	// Signature is a signed statement of the artifact, see package statement.
	Signature []byte `json:",omitempty"`
	// BreakGlass takes a release below the floor.
	BreakGlass bool `json:",omitempty"`
}

// ApplyRequest declares a service.
type ApplyRequest struct {
	Caller
	Signing
	Spec   service.Spec
	ETag   string
	DryRun bool
}

// ApplyResult is what came of it.
type ApplyResult struct {
	Status   Status
	Changes  []service.Change
	Created  bool
	Upgrade  *Upgrade
	Warnings []string
}

// AdoptRequest makes a running program the first generation of a service. One of
// Unit and PID is set.
type AdoptRequest struct {
	Caller
	Signing
	Spec   service.Spec
	Unit   string
	PID    int
	DryRun bool
}

// AdoptResult is what came of it.
type AdoptResult struct {
	Status  Status
	Program External
	Upgrade *Upgrade // nil for a dry run and a repeated request
}

// UpgradeRequest starts an upgrade.
type UpgradeRequest struct {
	Caller
	Signing
	Service  string
	Artifact string        // "" means the recorded one
	Spec     *service.Spec // to record first; nil means the recorded one
	Restart  bool
	Steps    []lifecycle.CanaryStep // instead of the specification's
	NoSteps  bool
	Hold     *time.Duration
	Soak     *time.Duration
	DryRun   bool
	Expected int // refuse when the active generation is another; 0 accepts any
	// ForceOldest ends the oldest draining generation when too many are alive.
	ForceOldest bool
	// Force starts although memory looks short.
	Force bool

	by       *claim.Driver // of the rollout that asks; nil for an operator
	holdSoak bool          // until the driver ends it
}

// UpgradeResult is what came of it.
type UpgradeResult struct {
	Upgrade   Upgrade
	Unchanged bool
	Attached  bool
	Aborted   bool // a rollback that was an abort
	Changes   []service.Change
}

// RollbackRequest returns to an earlier good generation. At most one target is
// set; none means the previous one.
type RollbackRequest struct {
	Caller
	Service    string
	Generation int
	Back       int
	Artifact   string
	Version    string
	DryRun     bool

	by *claim.Driver // of the rollout that asks; nil for an operator
}

// UpgradeCommand promotes or aborts the upgrade in progress.
type UpgradeCommand struct {
	Caller
	Service string
	ID      string // refuse unless this one is in progress; "" accepts any
	Step    bool   // promote: to the next step only
	DryRun  bool
}

// ServiceCommand stops, starts, reloads or deletes a service.
type ServiceCommand struct {
	Caller
	Service string
	Now     bool // stop: kill instead of draining
	Keep    bool // delete: leave an adopted program running
	DryRun  bool
}

// Event is one fact about the host, in order.
type Event struct {
	Sequence   int64
	Time       time.Time
	Service    string
	Generation int
	// Exactly one of the following is set.
	GenerationChanged *GenerationChanged
	UpgradeChanged    *Upgrade
	Notice            *Notice
	ServiceChanged    *ServiceChanged
	Dropped           int64
}

// GenerationChanged is a change of a generation's state.
type GenerationChanged struct {
	From, To lifecycle.GenerationState
	Message  string
}

// Notice is something an operator may want to know.
type Notice struct {
	Warning bool
	Message string
}

// ServiceChanged is an operator's act.
type ServiceChanged struct {
	Verb   string // created, recorded, adopted, stopped, started, deleted
	Actor  string
	Reason string
}
