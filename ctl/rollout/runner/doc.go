// Package runner drives a rollout: it calls the agents of its hosts, as package
// rollout says, until the rollout has ended, somebody else drives it, or the caller's
// context ends. Nothing is kept on this side: whoever runs the same Spec next, here or
// elsewhere, goes on where the hosts say it is.
//
// One goroutine owns the rollout's state. Each effect of it is a task, a goroutine that
// the owner starts and ends, and that tells it what hosts answer.
//
//   - runner.go: Options, Runner, Run; control.go: Command
//   - drive.go: the owner
//   - change.go: what Observe hears; held.go: somebody else is at it
//   - task.go: one effect; host.go: what those of one host share
//   - call.go: its calls, and when they are tried again; pool.go: connections
//   - claim.go: claims, taken and given up; order.go: what they say is to be done
//   - lease.go: the driver's lease
//   - fetch.go: what a host lacks
//   - move.go: a host begins, goes back, and is watched; report.go: what it says
//   - judge.go, check.go: what the driver asks about a host that soaks
//   - look.go: what is known of rollouts by asking alone
//
// Every call may be repeated, and is: until the agent has answered. A host is out of
// reach when nothing was answered for as long as a lease lasts; it is tried all the
// same. What ends a driver's doings on a host is the epoch of its claim alone, checked
// by the agent: nothing here relies on a clock.
package runner
