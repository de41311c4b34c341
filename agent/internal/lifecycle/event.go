package lifecycle

// EventType names a command or a fact.
type EventType uint8

// Commands. Step refuses one with an error and leaves the state as it was.
const (
	Begin       EventType = 1 + iota // start an upgrade: ID, Kind, Plan, Policy, Target
	Promote                          // end the canary and the soak
	PromoteStep                      // go on to the next canary step
	Abort                            // give everything back to the old generation
	Halt                             // drain every generation and close the sockets
	HaltNow                          // the same, killing
	Resume                           // run the last promoted generation again
	EndOldest                        // tell the oldest draining generation to end
	LetGo                            // give up an adopted program, which runs on: Message
	HaltOwn                          // halt, and give up an adopted program: the host goes down
	HoldSoak                         // have the soak end by Promote alone
	FreeSoak                         // have it end by its timer again
)

// Facts. Those about a generation or instance that is no longer there change
// nothing.
const (
	Booted      EventType = 100 + iota // the host restarted: nothing runs
	Adopted                            // a new agent found the instance: Clean (it runs), Count (restarts)
	Started                            // the instance was executed
	StartFailed                        // it could not be: Reason, Message
	BecameReady                        // the instance may receive connections
	Exited                             // the instance ended: Clean, Message
	Fault                              // a generation that proves itself misbehaves: Reason, Message
	Saw                                // the candidate received Count connections in this step
	Quiesced                           // nothing more will reach the slot
	Idle                               // the generation has no open connection
	Stranded                           // connections wait on the slot of an ended generation
	Released                           // its slot is closed
	Tick                               // time passed
)

// Event is one command or fact. At is always set.
type Event struct {
	Type       EventType
	At         Time
	Generation int
	Instance   int

	ID     string
	Kind   Kind
	Plan   Plan
	Policy Policy
	// Target is the generation that a rollback restores.
	Target int

	Clean   bool // exited with status 0
	Reason  Reason
	Message string
	Count   int
}
