// Package socket is the agent's view of the kernel's sockets: it attaches
// steering programs, reads queues, counts connections and finds who else
// listens. All truth comes from the kernel, mostly through sock_diag, which
// needs no privilege; all functions take sockets that package listen created and
// the shims hold. Functions are safe for concurrent use.
//
// Slots:
//   - attach.go: put a steering program on a group
//   - control.go: O_NONBLOCK
//   - take.go: take over the listener of a program that runs already
//   - queue.go: accept queues and the backlog
//   - refuse.go: let nobody new in
//   - quiesce.go: wait until nothing can land on a slot any more
//   - closed.go: close sockets, also for the kernel
//   - watchqueue.go: be told when a connection appears on a slot
//
// The kernel's tables:
//   - diag.go: sock_diag requests and answers for tcp and udp
//   - diagunix.go: the same for unix sockets
//   - listeners.go: every listening socket of an address
//   - holder.go: which process holds a socket
//   - foreign.go: strangers, and the error for an address in use
//
// Connections:
//   - count.go: what a count holds, and the scope it is taken over
//   - dump.go: one count, by cgroup, by process or by path
//   - destroyed.go: the stream of destroyed sockets
//   - disconnect.go: close idle ones politely, reset what is left
//   - watch.go: a live count while a slot drains
//
// Private ways in:
//   - probe.go: dial so that the steering program leads to the candidate
//   - accepted.go: whether the program accepted a connection
//   - publish.go: switch a unix path
//   - guard.go: keep it where it points
//
// The host:
//   - capability.go: what this kernel offers, and what takes its place
package socket
