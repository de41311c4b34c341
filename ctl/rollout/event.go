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
	Reported    EventType = 100 + iota // the agent says how far its host is: Progress, Revision, Reason, Message, Paused
	Held                               // another rollout has claimed the host: Message says whose
	Declined                           // the host takes no part: Reason, Message
	Forgotten                          // the agent knows nothing of a claim that it gave
	Unreachable                        // the host does not answer: Message
	FetchFailed                        // the host cannot get the artifact: Message
	Released                           // the host's claim is given up: all that Reported has, for the last time, and Ending
	Overtaken                          // an agent knows of a later driver: Message says who
	Tick                               // time passed
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
	// Paused says that the claim has an operator's pause on it.
	Paused  bool
	Reason  string
	Message string
	// Ending is how the rollout had ended when the claim was given up.
	Ending Ending
}
