// Package rollout decides how a service is upgraded on many hosts. It is pure: what
// is planned follows from the hosts and what an operator asked for, and what is done
// from what hosts report; there is no clock, no I/O and no goroutine.
//
//   - amount.go, waves.go, policy.go: what operators write: 3, 10%, exp:2, hold
//   - release.go: what each host gets and does; check.go: what is asked while it soaks
//   - plan.go: Arrange, which hosts in which order
//   - spec.go: Spec, a rollout as every target stores it; its hash and its id
//   - state.go: a rollout as its driver sees it; New
//   - event.go: commands and facts; step.go: the one entry
//   - claim.go: hosts are claimed, and say how far they are
//   - wave.go: waves, and who may begin
//   - budget.go: what stops a rollout, and what goes on after that
//   - heed.go: what operators leave on the claims
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
//   - The host that decided who drives is given up last: until then nobody else begins.
//
// # Driving it
//
// The runner is a package of its own, so that this one stays pure. The contract with
// agents is proto/gracefleet/v1/rollout.proto. Claims and leases are per host and
// service:
//
//   - A claim is durable: rollout id, spec and its hash, actor, reason, predecessor,
//     progress, revision, what operators said. It never times out. Another rollout is
//     refused with the holder's name until it is given up. The predecessor is written
//     before anything is touched; that is where Undo returns to.
//   - A lease is volatile: it ends some 15 s after its last renewal, on the agent's
//     clock. Its epoch is durable and only rises; a call with an older one is refused,
//     which is the event Overtaken. Lock and resource are one process, so a driver
//     that slept cannot do harm, however late it wakes.
//   - Only hosts that move have a lease, and the one that decided who drives. For the
//     others the epoch is enough: a thousand hosts are not called every few seconds.
//   - A driver with a lease is not replaced without take_over and a reason; a resume
//     after the lease has ended needs neither.
//   - Operators' words stand on the claims: the agents are the truth, a driver reads
//     them with each report. Who wants to be heeded at once says it where the driver
//     listens; who wants it to last says it on all claims.
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
package rollout
