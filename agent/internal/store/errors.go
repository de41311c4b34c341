package store

import (
	"errors"
	"fmt"
	"syscall"
)

// What callers branch on with errors.Is; each is wrapped in a sentence that
// says what failed, on what and why.
var (
	// ErrLocked means that another agent works on the state directory.
	ErrLocked = errors.New("state directory is in use by another agent")
	// ErrFutureFormat means that a newer agent wrote the state directory.
	ErrFutureFormat = errors.New("state directory was written by a newer agent")
	// ErrDiskFull means that nothing was changed for want of space or quota.
	ErrDiskFull = errors.New("disk full")
	// ErrQuota means that artifacts take all that they may; nothing was changed.
	ErrQuota = errors.New("quota of artifacts exceeded")
	// ErrNotFound means that no such artifact, upload or log is stored.
	ErrNotFound = errors.New("not found")
	// ErrBusy means that the same artifact is being uploaded by someone else.
	ErrBusy = errors.New("another upload of the same artifact is under way")
	// ErrBase means that an artifact cannot be what an upload is a difference to.
	ErrBase = errors.New("no base for a difference")
	// ErrInUse means that a generation still needs the artifact.
	ErrInUse = errors.New("artifact is in use")
	// ErrBadDigest means that a digest is not "sha256:" and 64 hex digits.
	ErrBadDigest = errors.New("not a sha256 digest")
	// ErrDigestMismatch means that bytes are not those their digest names.
	ErrDigestMismatch = errors.New("digest mismatch")
	// ErrTooLarge means more bytes than the limit or than were announced.
	ErrTooLarge = errors.New("artifact too large")
	// ErrEmpty means a file of no bytes.
	ErrEmpty = errors.New("artifact is empty")
	// ErrIncomplete means that bytes of an upload are missing.
	ErrIncomplete = errors.New("upload is incomplete")
	// ErrNotExecutable means that no kernel could run the file.
	ErrNotExecutable = errors.New("not an executable")
	// ErrWrongArchitecture means an executable of another kind of machine.
	ErrWrongArchitecture = errors.New("wrong architecture")
	// ErrMissingInterpreter means that the program which runs the file is not
	// on this host.
	ErrMissingInterpreter = errors.New("missing interpreter")
)

// LockedError names the agent that holds the state directory. It is ErrLocked.
type LockedError struct {
	Dir string
	// PID of the holder, 0 when it could not be read.
	PID int
}

// Error says who holds the directory.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s: %v", e.Dir, ErrLocked)
	}
	return fmt.Sprintf("%s: %v, pid %d: stop it, or give this one another --state-dir", e.Dir, ErrLocked, e.PID)
}

// Unwrap makes errors.Is(err, ErrLocked) hold.
func (e *LockedError) Unwrap() error { return ErrLocked }

// diskFull marks an error of a full disk or quota as ErrDiskFull.
func diskFull(err error) error {
	if !isDiskFull(err) || errors.Is(err, ErrDiskFull) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDiskFull, err)
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
