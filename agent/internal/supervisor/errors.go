package supervisor

import "errors"

// What a request can be refused for. Callers test with errors.Is; the texts
// around them say which service, who holds it and what to do.
var (
	ErrServiceNotFound    = errors.New("no such service")
	ErrGenerationNotFound = errors.New("no such generation")
	ErrUpgradeNotFound    = errors.New("no such upgrade")
	ErrUpgradeInProgress  = errors.New("an upgrade is in progress")
	ErrNoRollbackTarget   = errors.New("no earlier good generation to return to")
	ErrWrongState         = errors.New("not possible in this state")
	ErrETagMismatch       = errors.New("the specification was changed meanwhile")
	ErrGenerationMismatch = errors.New("the active generation is another")
	ErrRequestIDReused    = errors.New("the request id was used for another request")
	ErrTooManyGenerations = errors.New("too many generations are alive")
	ErrAddressOverlap     = errors.New("an address overlaps one that is live")
	ErrAddressInUse       = errors.New("an address is in use by a foreign process")
	ErrOutOfMemory        = errors.New("not enough memory for two generations")
	ErrSignatureRequired  = errors.New("a signed artifact is required")
	ErrSignatureRefused   = errors.New("the signature does not count")
	ErrReleaseBelowFloor  = errors.New("the release is older than one that was promoted")
	ErrNotRoot            = errors.New("this is for root of the host")
	ErrFrozen             = errors.New("upgrades of this host are stopped")
)

// ErrNotAdoptable is Host.FindProgram's answer for what cannot be taken over.
var ErrNotAdoptable = errors.New("the program cannot be adopted")

// ErrSlotGone is Host.Adopt's answer for a slot that nobody keeps any more.
var ErrSlotGone = errors.New("the slot is gone")

// ErrArtifactNotFound is Host.Vet's answer for an artifact that is not stored.
var ErrArtifactNotFound = errors.New("no such artifact")

// ErrNotExecutable is Host.Vet's answer for an artifact that can never run here.
var ErrNotExecutable = errors.New("the artifact cannot run on this host")

// ErrHostFile is Host.Vet's answer for a file on the host, named by the specification,
// that the agent cannot use.
var ErrHostFile = errors.New("a file on the host cannot be used")

// ErrClosed is the answer of a supervisor that is shutting down.
var ErrClosed = errors.New("the agent is shutting down")
