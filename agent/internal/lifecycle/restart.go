package lifecycle

import "time"

// Restart is the policy for programs that end untold.
type Restart struct {
	Always     bool          `json:"always"`     // also after status 0
	OnFailure  bool          `json:"on_failure"` // after anything else
	Backoff    time.Duration `json:"backoff"`
	MaxBackoff time.Duration `json:"max_backoff"`
	// Hold is how long connections queue on a slot that nobody serves.
	Hold time.Duration `json:"hold"`
}

const (
	// shortRun is a run that counts as a crash in a row.
	shortRun = 10 * time.Second
	// crashLoop is how many of them in a row make a loop.
	crashLoop = 3
)

// Wanted says whether a program that ended so is started again.
func (r Restart) Wanted(clean bool) bool { return r.Always || (r.OnFailure && !clean) }

// Delay is the wait before the restart that follows n crashes in a row.
func (r Restart) Delay(n int) time.Duration {
	d := r.Backoff
	for range n - 1 {
		if d >= r.MaxBackoff {
			break
		}
		d *= 2
	}
	return max(0, min(d, r.MaxBackoff))
}
