// Package lifecycle decides what happens to a service's generations. It is
// pure: Step takes a state and an event and returns the next state; there is no
// clock, no I/O and no goroutine. Every state has an answer to every event.
//
// What must be done follows from the state alone: Weights says who receives new
// connections, Effects says what has to be under way, Timer says when the next
// deadline is. Whoever drives the machine keeps exactly the Effects of the
// current state going: it starts those that appeared, ends those that vanished,
// and reports their outcome as events. A driver that died starts all Effects of
// the stored state again, so every effect is idempotent.
//
//   - state.go: generations, the upgrade, the service
//   - event.go: commands and facts
//   - step.go: the one entry; dispatch
//   - begin.go: an upgrade, a rollback, a start begins
//   - prove.go: ready, canary steps, soak, promote
//   - giveback.go: fail and abort
//   - adopt.go: a new agent finds what runs
//   - external.go: a program that somebody else started
//   - alone.go: upgrades of programs that cannot run side by side
//   - drain.go: a generation ends, or stands in meanwhile
//   - crash.go: a program ended untold; restart.go is the pure backoff policy
//   - effects.go, weights.go, timer.go: what follows from a state
//   - durable.go: which changes must be written before anyone acts on them
//   - name.go: states in words
//   - history.go: which generation a rollback returns to
package lifecycle
