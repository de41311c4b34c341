package supervisor

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// recordFormat is the version of record; a newer one is not understood.
const recordFormat = 1

// record is all that is stored of one service.
type record struct {
	Format int             `json:"format"`
	Name   string          `json:"name"`
	BootID string          `json:"boot_id"`
	State  lifecycle.State `json:"state"`
	// Returns says that a service is halted only as long as its host is down.
	Returns bool `json:"returns,omitempty"`
	// Order is where the slots are in the kernel's groups.
	Order steer.Order `json:"order"`

	// Spec is the recorded specification, and who recorded it.
	Spec       service.Spec `json:"spec"`
	Actor      string       `json:"actor"`
	RecordedAt time.Time    `json:"recorded_at"`
	// Signature is what came with its artifact, until an upgrade runs that.
	Signature []byte `json:"signature,omitempty"`
	// Floor is the highest release that was promoted; below it none is taken.
	Floor int64 `json:"floor,omitempty"`
	// Deleted says that the floor is all that is left of the service.
	Deleted bool `json:"deleted,omitempty"`

	// Rollouts are its parts in those of the fleet.
	Rollouts claim.Book `json:"rollouts,omitzero"`

	Generations []pastGeneration `json:"generations"` // oldest first
	Upgrades    []pastUpgrade    `json:"upgrades"`    // oldest first
	Requests    []pastRequest    `json:"requests,omitempty"`
}

// pastGeneration is what is kept of a generation beyond its life.
type pastGeneration struct {
	Number     int                       `json:"number"`
	State      lifecycle.GenerationState `json:"state"`
	Artifact   string                    `json:"artifact"`
	Version    string                    `json:"version,omitempty"`
	Spec       *service.Spec             `json:"spec,omitempty"` // nil once no rollback can reach it
	CreatedAt  time.Time                 `json:"created_at"`
	ReadyAt    time.Time                 `json:"ready_at,omitzero"`
	EndedAt    time.Time                 `json:"ended_at,omitzero"`
	RollbackOf int                       `json:"rollback_of,omitempty"`
	Good       bool                      `json:"good,omitempty"`
	Restarts   int                       `json:"restarts,omitempty"`
	Reason     lifecycle.Reason          `json:"reason,omitempty"`
	Message    string                    `json:"message,omitempty"`
	Exit       *Exit                     `json:"exit,omitempty"`
	Forced     int                       `json:"forced,omitempty"`
	Release    Release                   `json:"release,omitzero"`
	// External is the program that was adopted, until the agent runs its own.
	External *External `json:"external,omitempty"`
}

// pastUpgrade is an upgrade with what the lifecycle does not need to know.
type pastUpgrade struct {
	lifecycle.Upgrade
	Artifact   string    `json:"artifact"`
	Version    string    `json:"version,omitempty"`
	Actor      string    `json:"actor,omitempty"`
	Comment    string    `json:"comment,omitempty"`
	RequestID  string    `json:"request_id,omitempty"`
	Rollout    string    `json:"rollout,omitempty"` // whose it is
	CreatedAt  time.Time `json:"created_at"`
	ReadyAt    time.Time `json:"ready_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Errno      int       `json:"errno,omitempty"`
	LastLines  []string  `json:"last_lines,omitempty"`
	Release    Release   `json:"release,omitzero"`
	BreakGlass bool      `json:"break_glass,omitempty"`
	// Record is the specification to record once the upgrade is promoted.
	Record *service.Spec `json:"record,omitempty"`
}

// Bounds of a record: it is written whole each time.
const (
	maxUpgrades    = 50
	maxGenerations = 100
	maxRequests    = 500
	requestAge     = 7 * 24 * time.Hour
)

func decodeRecord(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("decode the service's record: %w", err)
	}
	if r.Format != recordFormat {
		return record{}, fmt.Errorf("the service's record has format %d: this agent knows %d", r.Format, recordFormat)
	}
	if err := service.CheckName(r.Name); err != nil {
		return record{}, fmt.Errorf("decode the service's record: %w", err)
	}
	return r, nil
}

// generation is the history's entry for a number, or nil.
func (r *record) generation(n int) *pastGeneration {
	for i := range r.Generations {
		if r.Generations[i].Number == n {
			return &r.Generations[i]
		}
	}
	return nil
}

// spec is the specification that a generation was started with.
func (r *record) spec(n int) (service.Spec, bool) {
	if p := r.generation(n); p != nil && p.Spec != nil {
		return *p.Spec, true
	}
	return service.Spec{}, false
}

// upgrade is the history's entry for an id, or nil.
func (r *record) upgrade(id string) *pastUpgrade {
	for i := range r.Upgrades {
		if r.Upgrades[i].ID == id {
			return &r.Upgrades[i]
		}
	}
	return nil
}

// prune forgets what no rollback can reach and what nobody will ask for.
func (r *record) prune(now time.Time) {
	kept := r.keptNumbers()
	for i := range r.Generations {
		if p := &r.Generations[i]; !kept[p.Number] {
			p.Spec = nil
		}
	}
	if n := len(r.Generations) - maxGenerations; n > 0 {
		r.Generations = r.Generations[n:]
	}
	if n := len(r.Upgrades) - maxUpgrades; n > 0 {
		r.Upgrades = r.Upgrades[n:]
	}
	fresh := r.Requests[:0]
	for _, q := range r.Requests {
		if now.Sub(q.At) < requestAge {
			fresh = append(fresh, q)
		}
	}
	r.Requests = fresh
	if n := len(r.Requests) - maxRequests; n > 0 {
		r.Requests = r.Requests[n:]
	}
}

// keptNumbers are the generations whose specification and artifact stay: the
// living, the one a start brings back, the one a rollout returns to, and the newest good
// ones.
func (r *record) keptNumbers() map[int]bool {
	kept := map[int]bool{r.State.Promoted: true}
	for _, g := range r.State.Generations {
		kept[g.Number] = true
		kept[g.Program] = true
	}
	for _, t := range []*lifecycle.Target{r.State.Fallback, r.State.Back} {
		if t != nil {
			kept[t.Number] = true
		}
	}
	if c := r.Rollouts.Held; c != nil {
		kept[c.Predecessor] = true
	}
	left := r.Spec.KeepGenerations
	for i := len(r.Generations) - 1; i >= 0 && left > 0; i-- {
		p := r.Generations[i]
		if p.Good && p.RollbackOf == 0 && !kept[p.Number] {
			kept[p.Number] = true
			left--
		}
	}
	return kept
}

// artifacts are the artifacts that must not be collected.
func (r *record) artifacts() map[string]bool {
	out := map[string]bool{}
	use := func(s service.Spec) {
		out[s.Artifact] = true
		for _, digest := range s.Files {
			out[digest] = true
		}
	}
	use(r.Spec)
	if c := r.Rollouts.Held; c != nil && c.Change != nil {
		out[c.Change.Artifact] = true
		if c.Change.Spec != nil {
			use(*c.Change.Spec)
		}
	}
	for _, p := range r.Generations {
		if p.Spec != nil {
			use(*p.Spec)
		}
	}
	return out
}
