// Package supervisor runs the services of one host. Each service has an owner:
// one goroutine that alone holds its state. Commands and facts reach the owner
// as functions it runs one after the other; each leads to one lifecycle.Step,
// then to what follows from the new state: the record is written where the
// change must be durable, connections are steered, and exactly the effects that
// the state asks for are kept under way. Effects run beside the owner and report
// back to it; they never touch its state.
//
//   - supervisor.go: all services; restore.go: what a new agent finds
//   - owner.go: the loop; settle.go: what follows from a state; durable.go: when it is
//     written, and when it is told
//   - slots.go, close.go: opening and closing slots, one at a time
//   - effects.go: which effects are under way; run.go, ready.go, watch.go, drain.go,
//     release.go: what they do
//   - external.go: programs that somebody else started
//   - alone.go: what an upgrade without overlap needs beside them
//   - apply.go, upgrade.go, rollback.go, commands.go: what operators ask for; begin.go: a
//     generation that is to begin; explain.go: why something cannot
//   - admit.go: what may run where signatures are required; floor.go: which releases
//     are too old
//   - claim.go: which rollout has a service, and who drives it; refuse.go: who may not;
//     advance.go: what drivers have it do; progress.go: how far it is; orphan.go: when
//     nobody drives; rollouts.go: what readers see of it
//   - freeze.go: the stop of all upgrades
//   - requests.go: the same request twice
//   - record.go, history.go: what is kept on disk
//   - status.go, journal.go, follow.go: what readers see
//   - deps.go: what it needs of the host; types.go, errors.go: its words
package supervisor
