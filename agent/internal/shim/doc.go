// Package shim is both ends of graced-shim, the small process that outlives the
// agent: it creates and holds a slot's sockets, runs one generation's program as
// its parent, hears its notifications and remembers what happened.
//
// Shared:
//   - protocol.go: the protocol's rules, operations and events
//   - state.go, program.go: what travels: all a shim knows, what it shall run
//   - intent.go: what a shim is for, on disk before it exists; its paths
//   - errors.go: refusals that callers branch on; why a program cannot run
//   - wire.go: messages and descriptors over SOCK_SEQPACKET
//   - process.go: naming a process for good
//
// The agent's end:
//   - spawn.go: start a shim and connect
//   - client.go, calls.go: the connection; one method per operation
//
// The shim's end:
//   - run.go: the process and its state
//   - session.go: agents that connect; requests and answers
//   - holder.go: the slot's sockets
//   - start.go, stage.go: start an instance; fork its exec stage, perhaps ahead
//   - exec.go, sigaction.go: the exec stage, execve
//   - diagnose.go: why execve refused a file
//   - notify.go, signals.go: what the program says, by datagram or signal
//   - handshake.go: how programs of other masters say that they are ready
//   - reap.go, respawn.go, kill.go: how it ends, again begins, or must end
package shim
