// Package rollout decides how a service is upgraded on many hosts. It is pure: what
// is planned follows from the hosts and what an operator asked for, and what is done
// from what hosts report; there is no clock, no I/O and no goroutine.
//
//   - amount.go, waves.go, policy.go: what operators write: 3, 10%, exp:2, hold
//   - plan.go: Arrange, which hosts in which order
//   - spec.go: Spec, a rollout as every target stores it; its hash and its id
//   - state.go: a rollout as its driver sees it; New
//   - event.go: commands and facts; step.go: the one entry
//   - claim.go: hosts are claimed, and say how far they are
//   - wave.go: waves, and who may begin
//   - budget.go: what stops a rollout, and what goes on after that
//   - undo.go: the way back
//   - effects.go: what follows from a state
//   - outcome.go: what became of each host, and of the whole
//   - rebuild.go: the same, for those who only look
//   - estimate.go: what it will take; play.go plays it; compare.go: what it took
//
// # The machine
//
// Step takes a state and an event and returns the next state. What has to be under
// way follows from the state alone: Effects says what, Timer when the next deadline
// is. Whoever drives keeps exactly the Effects of the current state going: starts
// those that appeared, ends those that vanished, reports what comes of them as
// events. Each effect is idempotent. Nothing is kept on the driver's side: a driver
// that takes over begins with New, claims the hosts once more and finds out from
// their answers where the rollout is, by the same code as at its beginning.
//
//	gating ─► claiming ─► fetching ─► rolling ◄─► pausing
//	   │          │           │          │ │         │
//	   │          ├───────────┴──────────│─┴─────────┴──► undoing
//	   ▼          ▼                      ▼                   ▼
//	   └──────────┴────────────────────► closing ◄───────────┘ ─► ended
//
// Rules that are easily got wrong:
//   - A plan never depends on what hosts run or on who answers. The same command
//     must come to the same hash tomorrow, half-way through.
//   - A share of hosts to reach is rounded up, a budget down.
//   - What each entry of the waves says is how many hosts are reached in total. Hosts
//     that are unchanged, skipped or out of reach stay in their wave.
//   - Unreachable hosts have a budget of their own. They take no room among those in
//     flight, hold nobody up, and make nobody go back: past the budget the rollout
//     holds, and goes on by itself when they return. One that returns catches up.
//     So at most MaxInFlight and MaxUnreachable hosts together may be short of
//     capacity, and one that was cut off while it moved may move beside another zone.
//   - A host that cannot get the artifact was never touched. It counts as a failure,
//     and yet makes nobody go back: before the first wave that ends the rollout,
//     later it holds it up, and a resume has it tried again.
//   - A host whose upgrade fails goes back by itself, and is Failed: it is the one to
//     look at. RolledBack are those that were sent back for it.
//   - What moves when the rollout turns around is sent back at once; then follows the
//     last wave, and so on to the canary, under the same limits as forward.
//   - HeldUp says when a driver may leave. The claims stay then, until somebody
//     resumes or aborts.
//   - A rollout that ended is undone by New and Abort.
//
// # Driving it
//
// The runner is a package of its own, so that this one stays pure: one goroutine owns
// the State, each effect is a goroutine that it starts and ends, and a bounded number
// of connections is shared by them. Claims and leases are per host and service:
//
//   - A claim is durable: rollout id, spec and its hash, actor, reason, predecessor,
//     progress, revision, pause. It never times out. Another rollout is refused with
//     the holder's name until it is given up. The predecessor is written before
//     anything is touched; that is where Undo returns to.
//   - A lease is volatile: it ends some 15 s after its last renewal, on the agent's
//     clock. Its epoch is durable and only rises; a call with an older one is refused,
//     which is the event Overtaken. Lock and resource are one process, so a driver
//     that slept cannot do harm, however late it wakes.
//   - A driver with a lease is not replaced without take_over and a reason; a resume
//     after the lease has ended needs neither.
//   - Effects: Claim is ClaimRollout; Lease is RenewRollout every 5 s, on a connection
//     that need not stay; Fetch is an upload, or a pull; Upgrade and Undo are
//     AdvanceRollout and WatchRollout until the host no longer moves; GiveUp is
//     ReleaseRollout. Calls are tried again on UNAVAILABLE alone. A host is reported
//     Unreachable once its connection has failed for as long as a lease, and the
//     effect goes on trying. While Gating, the next gates are dialled ahead, so that a
//     hundred that are down do not cost a hundred timeouts.
//   - Events of several hosts may be stepped before Effects is looked at: both cost
//     time in proportion to the hosts.
//
// What an agent promises for this:
//   - Reports of a claim carry a revision that rises with each write, and survive
//     restarts. Progress that was reported is not taken back, with two exceptions:
//     OrphanRollBack, which aborts what soaks once the lease has ended, so that the
//     host is Pushed again; and a crash loop after promotion, which makes it Failed.
//   - Upgraded says that this rollout did it, Unchanged that it found it so.
//   - Undo is answered RolledBack also where nothing had begun, and from then on
//     nothing of this rollout begins there. A host that failed stays Failed.
//   - OrphanHold lets a soak end by its own timer; OrphanFinish promotes at once. What
//     has not begun never begins without a driver.
//   - A claim is kept, with its last report, for as long as generations are; one that
//     was given up may be taken again by the same rollout, to catch up or to undo.
//   - A claim that is not there any more is told as Forgotten, with what the agent
//     knows; a driver never goes on there.
//   - A freeze declines claims and upgrades, never an Undo.
//
// # The API
//
// A draft, which becomes proto/gracefleet/v1/rollout.proto together with the server
// that answers it: what is there once is held to by the check for breaking changes.
//
//	service RolloutService {
//	  rpc ClaimRollout(ClaimRolloutRequest) returns (ClaimRolloutResponse);       // ABORTED: the holder
//	  rpc RenewRollout(RenewRolloutRequest) returns (RenewRolloutResponse);       // the lease
//	  rpc AdvanceRollout(AdvanceRolloutRequest) returns (AdvanceRolloutResponse); // upgrade, undo
//	  rpc WatchRollout(WatchRolloutRequest) returns (stream WatchRolloutResponse);
//	  rpc PauseRollout(PauseRolloutRequest) returns (PauseRolloutResponse);       // by anyone who may
//	  rpc ReleaseRollout(ReleaseRolloutRequest) returns (ReleaseRolloutResponse); // not while it moves
//	  rpc ListRollouts(ListRolloutsRequest) returns (ListRolloutsResponse);
//	}
//	message RolloutDriver { string service = 1; string rollout_id = 2; int64 epoch = 3; }
//	message RolloutReport { // every answer has one
//	  enum Progress {
//	    PROGRESS_UNSPECIFIED = 0; PROGRESS_CLAIMED = 1; PROGRESS_PUSHED = 2; PROGRESS_UPGRADING = 3;
//	    PROGRESS_SOAKING = 4; PROGRESS_UPGRADED = 5; PROGRESS_UNCHANGED = 6; PROGRESS_FAILED = 7;
//	    PROGRESS_RETURNING = 8; PROGRESS_ROLLED_BACK = 9; PROGRESS_STUCK = 10;
//	  }
//	  string rollout_id = 1; string spec_hash = 2; Progress progress = 3; int64 revision = 4; bool paused = 5;
//	  string reason = 6; string message = 7; int64 predecessor = 8; string upgrade_id = 9; int64 epoch = 10;
//	  google.protobuf.Timestamp lease_end = 11; string ending = 12;
//	}
//	message ClaimRolloutRequest { // spec empty: the one that the host has; epoch: the least
//	  string service = 1; bytes spec = 2; string spec_hash = 3; string rollout_id = 4; bool take_over = 5;
//	  string reason = 6; int64 epoch = 7; google.protobuf.Duration lease = 8;
//	}
//	message RenewRolloutRequest { RolloutDriver driver = 1; optional bool paused = 2; }
//	message AdvanceRolloutRequest {
//	  enum Step { STEP_UNSPECIFIED = 0; STEP_UPGRADE = 1; STEP_UNDO = 2; }
//	  RolloutDriver driver = 1; Step step = 2;
//	}
//	message WatchRolloutRequest { string service = 1; string rollout_id = 2; }
//	message PauseRolloutRequest { string service = 1; string rollout_id = 2; bool paused = 3; string reason = 4; }
//	message ReleaseRolloutRequest { RolloutDriver driver = 1; string ending = 2; }
//	message ListRolloutsRequest { string service = 1; }
package rollout
