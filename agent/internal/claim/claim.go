package claim

import (
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// DefaultLease is how long a lease lasts unless its driver wants it otherwise, MaxLease
// how long at most. MaxPast is how many claims are remembered that were given up.
const (
	DefaultLease = 15 * time.Second
	MaxLease     = 10 * time.Minute
	MaxPast      = 10
)

// OnOrphan is what a host does with an upgrade in progress when nobody drives it any
// more. The numbers are stored on disk, and are those of the contract.
type OnOrphan uint8

// The policies.
const (
	Hold     OnOrphan = 1 // steps and soak end by their timers
	Rollback OnOrphan = 2 // it is aborted
	Finish   OnOrphan = 3 // it is promoted once it soaks
)

// Kind is what a rollout does to a host. The numbers are stored on disk, and are those
// of the contract.
type Kind uint8

// The kinds of changes.
const (
	Upgrade  Kind = 1 // a new artifact or specification
	Restart  Kind = 2 // the active generation again
	RollBack Kind = 3 // the newest good generation with an artifact or version
)

// Change is what a rollout does to one host.
type Change struct {
	Kind     Kind          `json:"kind"`
	Artifact string        `json:"artifact,omitempty"` // empty means the recorded one
	Version  string        `json:"version,omitempty"`  // RollBack alone, instead of the artifact
	Spec     *service.Spec `json:"spec,omitempty"`     // nil means the recorded one
	// Steps, Hold and Soak are instead of the specification's.
	Steps     []lifecycle.CanaryStep `json:"steps,omitempty"`
	NoSteps   bool                   `json:"no_steps,omitempty"`
	Hold      *time.Duration         `json:"hold,omitempty"`
	Soak      *time.Duration         `json:"soak,omitempty"`
	Signature []byte                 `json:"signature,omitempty"`
	Force     bool                   `json:"force,omitempty"`     // although memory looks short
	HoldSoak  bool                   `json:"hold_soak,omitempty"` // the driver ends it
	// Root says that whoever claimed the service rules the host, and may declare
	// anything.
	Root bool `json:"root,omitempty"`
}

// Claim is one service's part in one rollout.
type Claim struct {
	Rollout  string   `json:"rollout"`
	SpecHash string   `json:"spec_hash"`
	Spec     string   `json:"spec"`             // digest of the whole rollout's bytes
	Change   *Change  `json:"change,omitempty"` // nil on a host that only decides between operators
	OnOrphan OnOrphan `json:"on_orphan"`
	Actor    string   `json:"actor"`
	Admin    bool     `json:"admin,omitempty"` // Actor may declare the service
	Comment  string   `json:"comment,omitempty"`
	// Predecessor was active when the service was claimed, or rather when its upgrade
	// began: it is returned to. 0 when none was.
	Predecessor int       `json:"predecessor,omitempty"`
	ClaimedAt   time.Time `json:"claimed_at"`
	ReleasedAt  time.Time `json:"released_at,omitzero"`
	Ending      string    `json:"ending,omitempty"` // in its driver's word

	// Epoch is that of the latest lease, Driver who has it, or had, and Leased whether
	// it lasted when this was written.
	Epoch  int64         `json:"epoch"`
	Driver string        `json:"driver"`
	Lease  time.Duration `json:"lease"`
	Leased bool          `json:"leased,omitempty"`

	Control Control `json:"control,omitzero"`

	Progress Progress         `json:"progress"`
	Reason   lifecycle.Reason `json:"reason,omitempty"`
	Message  string           `json:"message,omitempty"`
	// Revision rises with each change of the claim.
	Revision int64 `json:"revision"`
	// Upgrade is the rollout's upgrade here, Return the rollback that takes it back;
	// empty before they begin.
	Upgrade    string `json:"upgrade,omitempty"`
	Return     string `json:"return,omitempty"`
	Generation int    `json:"generation,omitempty"` // that Upgrade is to
	// Undo says that the host was told to go back, Orphaned that it does so because
	// nobody drives.
	Undo      bool      `json:"undo,omitempty"`
	Orphaned  bool      `json:"orphaned,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// Released says whether the claim was given up.
func (c *Claim) Released() bool { return !c.ReleasedAt.IsZero() }

// Control is what operators want of a rollout's driver.
type Control struct {
	Paused       bool   `json:"paused,omitempty"`
	PromotedWave int    `json:"promoted_wave,omitempty"` // waves that may begin, from 1
	Abort        bool   `json:"abort,omitempty"`
	Actor        string `json:"actor,omitempty"` // who said something last
	Reason       string `json:"reason,omitempty"`
	Revision     int64  `json:"revision,omitempty"` // how often something was said
}

// Driver is who drives a rollout, by the lease they were given.
type Driver struct {
	Rollout string
	Epoch   int64
}
