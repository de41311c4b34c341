package lifecycle

import (
	"slices"
	"time"
)

// Time is an instant in nanoseconds of CLOCK_BOOTTIME, as events bring it; the
// machine itself has no clock. 0 means none.
type Time int64

// After is the instant d later.
func (t Time) After(d time.Duration) Time { return t + Time(d) }

// GenerationState is where a generation stands. The numbers are stored on disk.
type GenerationState uint8

// The states of a generation.
const (
	Starting  GenerationState = 1 // started, not ready
	Candidate GenerationState = 2 // ready, takes a share of new connections
	Active    GenerationState = 3 // takes every new connection
	Standby   GenerationState = 4 // superseded, alive and resumable
	Draining  GenerationState = 5 // finishing its connections
	Stopped   GenerationState = 6 // ended as told
	Failed    GenerationState = 7 // never became ready, or was turned away
)

// String is the state's name, as clients show it.
func (s GenerationState) String() string {
	return nameOf(int(s), "NONE", "STARTING", "CANDIDATE", "ACTIVE", "STANDBY", "DRAINING", "STOPPED", "FAILED")
}

// Ended says whether nothing more will come of the generation.
func (s GenerationState) Ended() bool { return s == Stopped || s == Failed }

// Phase is how far a draining generation has come. The numbers are stored.
type Phase uint8

// The phases of a drain.
const (
	Quiescing Phase = 1 // weight 0; handshakes and the accept queue run empty
	Patient   Phase = 2 // connections end by themselves
	Signalled Phase = 3 // told to end
	Killed    Phase = 4 // killed with everything it started
)

// UpgradeState is where an upgrade stands. The numbers are stored on disk.
type UpgradeState uint8

// The states of an upgrade.
const (
	UpgradeStarting  UpgradeState = 1
	UpgradeCanary    UpgradeState = 2
	UpgradeSoaking   UpgradeState = 3
	UpgradeSucceeded UpgradeState = 4
	UpgradeFailed    UpgradeState = 5
	UpgradeAborted   UpgradeState = 6
)

// String is the state's name, as clients show it.
func (s UpgradeState) String() string {
	return nameOf(int(s), "NONE", "STARTING", "CANARY", "SOAKING", "SUCCEEDED", "FAILED", "ABORTED")
}

// Ended says whether the upgrade is over.
func (s UpgradeState) Ended() bool { return s >= UpgradeSucceeded }

// Kind is what an upgrade is for. The numbers are stored on disk.
type Kind uint8

// The kinds of upgrades.
const (
	KindCreate       Kind = 1 // first generation, or the first after a failed one
	KindUpgrade      Kind = 2 // new artifact or specification
	KindRollback     Kind = 3 // back to an earlier generation
	KindRestart      Kind = 4 // the same again
	KindAutoRollback Kind = 5 // back by itself after a crash loop
	KindStart        Kind = 6 // the last promoted generation runs again
	KindAdopt        Kind = 7 // a program that runs already becomes a generation
)

// Reason says why something failed or was refused. The texts are stored on disk.
type Reason string

// The reasons that the machine itself gives.
const (
	ReasonReadyTimeout    Reason = "READY_TIMEOUT"
	ReasonExitedEarly     Reason = "EXITED_EARLY"
	ReasonExecFailed      Reason = "EXEC_FAILED"
	ReasonAddressInUse    Reason = "ADDRESS_IN_USE"
	ReasonNotExecutable   Reason = "NOT_EXECUTABLE"
	ReasonDiskFull        Reason = "DISK_FULL"
	ReasonInternal        Reason = "INTERNAL"
	ReasonCandidateDied   Reason = "CANDIDATE_DIED"
	ReasonListenerLost    Reason = "LISTENER_LOST"
	ReasonQueueFull       Reason = "QUEUE_FULL"
	ReasonNotAccepting    Reason = "NOT_ACCEPTING"
	ReasonCheckFailed     Reason = "CHECK_FAILED"
	ReasonReportedFailure Reason = "REPORTED_FAILURE"
	ReasonStranger        Reason = "STRANGER"
	ReasonStepTimeout     Reason = "STEP_TIMEOUT"
	ReasonAborted         Reason = "ABORTED"
	ReasonCrashLoop       Reason = "CRASH_LOOP"
	ReasonHostRebooted    Reason = "HOST_REBOOTED"
	ReasonServiceStopped  Reason = "SERVICE_STOPPED"
	ReasonRolledBack      Reason = "ROLLED_BACK"
	ReasonHostFile        Reason = "HOST_FILE"
	ReasonOrphaned        Reason = "ORPHANED"
)

// Policy is what of a specification decides the lifecycle of one generation.
type Policy struct {
	ReadyTimeout   time.Duration `json:"ready_timeout"`
	PatientDrain   bool          `json:"patient_drain"`
	Patience       time.Duration `json:"patience,omitempty"`
	DrainTimeout   time.Duration `json:"drain_timeout"`
	Restart        Restart       `json:"restart"`
	RollbackWindow time.Duration `json:"rollback_window"`
	// Checked generations are asked by upgrade.check while they prove themselves.
	Checked        bool `json:"checked,omitempty"`
	MaxGenerations int  `json:"max_generations"`
	// Alone programs cannot run beside another generation's.
	Alone bool `json:"alone,omitempty"`
	// OverlapLimit is how long the one before may take to end then, and how long
	// the new one may take to be ready.
	OverlapLimit time.Duration `json:"overlap_limit,omitempty"`
}

// CanaryStep is one step of a canary: a share in basis points.
type CanaryStep struct {
	Weight int  `json:"weight"`
	Manual bool `json:"manual,omitempty"`
}

// Plan is how an upgrade proceeds; it is fixed when the upgrade begins.
type Plan struct {
	Steps          []CanaryStep  `json:"steps,omitempty"`
	Hold           time.Duration `json:"hold,omitempty"`
	MinConnections int           `json:"min_connections,omitempty"`
	StepTimeout    time.Duration `json:"step_timeout,omitempty"`
	Soak           time.Duration `json:"soak,omitempty"`
	// HoldSoak has the soak end by Promote alone.
	HoldSoak bool `json:"hold_soak,omitempty"`
}

// Generation is one generation that is alive, or whose slot is not yet closed.
type Generation struct {
	Number int             `json:"number"`
	Slot   int             `json:"slot"` // 0 once its slot is closed or leased on
	State  GenerationState `json:"state"`
	Phase  Phase           `json:"phase,omitempty"` // while draining
	Policy Policy          `json:"policy"`

	// Instance counts the starts of a program on this generation's slot.
	Instance int `json:"instance"`
	// Program is the generation whose artifact runs: its own, or in a rescue
	// another one's.
	Program int  `json:"program"`
	Running bool `json:"running"` // the instance runs
	Ready   bool `json:"ready"`   // and may receive connections

	// External is a generation whose program was adopted: somebody else started it.
	// Once the program has to be started again, it is the agent's own.
	External bool `json:"external,omitempty"`
	// Alone generations are not started before every other program has ended.
	Alone bool `json:"alone,omitempty"`
	// CutAt is when a generation that makes room is killed, whatever it has left.
	CutAt Time `json:"cut_at,omitempty"`
	// Heir says that State.Back takes the slot once its program is gone.
	Heir bool `json:"heir,omitempty"`

	// Deadline ends readiness, alive_for, or the phase of a drain.
	Deadline Time `json:"deadline,omitempty"`
	// RestartAt is when a program that ended starts again; 0 when none is ordered.
	RestartAt Time `json:"restart_at,omitempty"`
	// StartedAt is when the instance was ordered.
	StartedAt Time `json:"started_at,omitempty"`
	Restarts  int  `json:"restarts,omitempty"`
	// Crashes counts short runs in a row.
	Crashes int `json:"crashes,omitempty"`
	// Overdue is a restarted program that was not ready in time: it is killed.
	Overdue bool `json:"overdue,omitempty"`
	// Lost is a program that gave its listener up: it ends, or is killed, and is
	// started again on its slot.
	Lost bool `json:"lost,omitempty"`
	// HoldUntil is when a slot that nobody serves begins to refuse.
	HoldUntil Time `json:"hold_until,omitempty"`
	Refusing  bool `json:"refusing,omitempty"`
	// WindowEnd is when a crash loop no longer rolls back; 0 when it never does.
	WindowEnd Time `json:"window_end,omitempty"`

	// Ending is what the generation will be once its program is gone.
	Ending  GenerationState `json:"ending,omitempty"`
	Reason  Reason          `json:"reason,omitempty"`
	Message string          `json:"message,omitempty"`
	// Rescues counts programs of other generations started to serve a queue.
	Rescues int `json:"rescues,omitempty"`
	// Abandoned slots are closed even when connections still wait on them.
	Abandoned bool `json:"abandoned,omitempty"`
}

// serves says whether the generation accepts and was not told to end.
func (g *Generation) serves() bool {
	return g.Ready && g.Slot != 0 && !g.State.Ended() &&
		(g.State != Draining || g.Phase < Signalled) && g.Program == g.Number
}

// Target is a good generation that a rollback can return to.
type Target struct {
	Number int    `json:"number"`
	Policy Policy `json:"policy"`
	// External targets are returned to while they serve, and never started.
	External bool `json:"external,omitempty"`
}

// Upgrade is the upgrade in progress, or the last one.
type Upgrade struct {
	ID    string       `json:"id"`
	Kind  Kind         `json:"kind"`
	State UpgradeState `json:"state"`
	From  int          `json:"from"`
	To    int          `json:"to"`
	// Target is the generation that a rollback restores; 0 when none.
	Target int  `json:"target,omitempty"`
	Plan   Plan `json:"plan"`
	// Step is the current step, from 1.
	Step int `json:"step,omitempty"`
	// StepSaw is how many connections each step sent to the candidate.
	StepSaw []int `json:"step_saw,omitempty"`
	// HoldDone says that the current step lasted long enough.
	HoldDone bool `json:"hold_done,omitempty"`
	// PhaseEnd is when the step's hold or the soak ends; 0 when it waits.
	PhaseEnd Time `json:"phase_end,omitempty"`
	// StepLimit is when a step that waits for connections fails.
	StepLimit Time     `json:"step_limit,omitempty"`
	Reason    Reason   `json:"reason,omitempty"`
	Message   string   `json:"message,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

// State is one service. The zero State is a service that never ran.
type State struct {
	// Halted is an operator's stop; it survives a reboot.
	Halted bool `json:"halted,omitempty"`
	// Generations are in the order of their numbers.
	Generations []Generation `json:"generations,omitempty"`
	Upgrade     *Upgrade     `json:"upgrade,omitempty"`
	// Promoted is the generation that a start or a reboot brings back.
	Promoted int `json:"promoted,omitempty"`
	// Fallback is what a crash loop of the active generation returns to.
	Fallback *Target `json:"fallback,omitempty"`
	// Back is what an upgrade without overlap started from: if it fails, that is
	// started again, on the new slot.
	Back       *Target `json:"back,omitempty"`
	LastNumber int     `json:"last_number"`
	LastSlot   int     `json:"last_slot"`
}

// Clone is a copy that shares nothing.
func (s State) Clone() State {
	s.Generations = slices.Clone(s.Generations)
	if s.Fallback != nil {
		f := *s.Fallback
		s.Fallback = &f
	}
	if s.Back != nil {
		b := *s.Back
		s.Back = &b
	}
	if s.Upgrade != nil {
		u := *s.Upgrade
		u.StepSaw = slices.Clone(u.StepSaw)
		u.Warnings = slices.Clone(u.Warnings)
		s.Upgrade = &u
	}
	return s
}

// Generation is the generation with a number, or nil.
func (s *State) Generation(number int) *Generation {
	for i := range s.Generations {
		if s.Generations[i].Number == number {
			return &s.Generations[i]
		}
	}
	return nil
}

// Active is the active generation, or nil.
func (s *State) Active() *Generation {
	for i := range s.Generations {
		if s.Generations[i].State == Active {
			return &s.Generations[i]
		}
	}
	return nil
}

// Upgrading says whether an upgrade is in progress.
func (s *State) Upgrading() bool { return s.Upgrade != nil && !s.Upgrade.State.Ended() }

// Staying counts the generations that have not ended and are not being killed:
// those for which a limit holds.
func (s *State) Staying() int {
	n := s.Live()
	for i := range s.Generations {
		if g := &s.Generations[i]; g.State == Draining && g.Phase == Killed {
			n--
		}
	}
	return n
}

// Live counts the generations that have not ended.
func (s *State) Live() int {
	n := 0
	for i := range s.Generations {
		if !s.Generations[i].State.Ended() {
			n++
		}
	}
	return n
}
