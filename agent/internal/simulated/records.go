package simulated

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// Records is the disk of one machine, or of many. Records of services are written to
// nowhere, since no agent of a simulated machine follows another. It is safe for
// concurrent use.
type Records struct {
	rollouts *Rollouts

	mu     sync.Mutex
	freeze []byte
}

var _ supervisor.Records = (*Records)(nil)

// Rollouts are the bytes of rollouts, once for all machines that share them: those
// of a rollout over all of a large fleet are large, and the same on each machine.
// They are kept until the end.
type Rollouts struct {
	mu  sync.Mutex
	all map[string][]byte // by digest
}

// NewRollouts keeps none yet.
func NewRollouts() *Rollouts { return &Rollouts{all: map[string][]byte{}} }

// NewRecords is an empty disk.
func NewRecords(r *Rollouts) *Records { return &Records{rollouts: r} }

// WriteRecord keeps nothing.
func (r *Records) WriteRecord(string, []byte) error { return nil }

// SyncRecord does nothing.
func (r *Records) SyncRecord(string) error { return nil }

// DeleteRecord does nothing.
func (r *Records) DeleteRecord(string) error { return nil }

// WriteRollout keeps the bytes of a rollout.
func (r *Records) WriteRollout(data []byte) (digest string, err error) {
	digest = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	r.rollouts.mu.Lock()
	defer r.rollouts.mu.Unlock()
	if r.rollouts.all[digest] == nil {
		r.rollouts.all[digest] = data
	}
	return digest, nil
}

// ReadRollout reads them.
func (r *Records) ReadRollout(digest string) ([]byte, error) {
	r.rollouts.mu.Lock()
	defer r.rollouts.mu.Unlock()
	if data := r.rollouts.all[digest]; data != nil {
		return data, nil
	}
	return nil, fmt.Errorf("no rollout %s is kept", digest)
}

// KeepRollouts keeps all: others may use them.
func (r *Records) KeepRollouts(map[string]bool) error { return nil }

// WriteFreeze keeps a stop of all upgrades.
func (r *Records) WriteFreeze(data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freeze = data
	return nil
}

// ReadFreeze reads it.
func (r *Records) ReadFreeze() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freeze, nil
}
