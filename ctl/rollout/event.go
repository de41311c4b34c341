package rollout

// EventType names a command or a fact.
type EventType uint8

// Commands. Step refuses one with an error and leaves the state as it was.
const (
	Promote EventType = 1 + iota // begin the next wave now
	Pause                        // begin nothing more; hosts in flight finish
	Resume                       // go on, whatever was counted until now
	Abort                        // every touched host goes back
)

// Facts. What can no longer be true of a host changes nothing.
const (
	Reported     EventType = 100 + iota // the agent says how far its host is: Progress, Revision, Reason, Message, Control
	Held                                // another rollout has claimed the host: Message says whose
	Declined                            // the host takes no part: Reason, Message
	Denied                              // the host refuses what was asked of it, and would again: Reason, Message
	Forgotten                           // the agent knows nothing of a claim that it gave
	Unreachable                         // the host does not answer: Message
	FetchFailed                         // the host cannot get the artifact: Message
	FetchDelayed                        // where the artifact comes from is away: Message; it is tried again
	Released                            // the host's claim is given up: all that Reported has, for the last time, and Ending
	Overtaken                           // an agent knows of a later driver: Message says who
	Tick                                // time passed
)

// Event is one command or fact. At is always set.
type Event struct {
	Type EventType
	At   Time
	Host string

	// Progress is one that an agent tells: Claimed, Pushed, Upgrading, Soaking,
	// Upgraded, Unchanged, Failed, Returning, RolledBack or Stuck.
	Progress Progress
	// Revision counts what the agent wrote down of the claim; it only rises.
	Revision int64
	// Control is what operators left on the host's claim.
	Control Control
	Reason  string
	Message string
	// Ending is how the rollout had ended when the claim was given up.
	Ending Ending
}

// Control is an operator's word as it stands on a host's claim. Each claim has its own,
// and the one that was said last, by its revision, counts. The zero Control is none.
type Control struct {
	// Revision counts how often something was said.
	Revision int64
	// Paused begins nothing more.
	Paused bool
	// PromotedWave is the last wave that need not wait, counted from 1.
	PromotedWave int
	// Abort has every touched host go back.
	Abort bool
	// By is who said so, and why; empty where that is not known.
	By string
}
