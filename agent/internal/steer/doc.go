// Package steer decides which slot of a service gets a new connection, as pure
// data: the order of slots in the kernel's groups, when a slot may be closed,
// and the classic BPF program that a group runs.
//
// It does no I/O. Package socket applies what is computed here.
//
// The kernel's rules, which everything here follows: a socket's index in its
// SO_REUSEPORT group is the order of listen (of bind for udp); when a member
// leaves, the last one moves into its index; a program's answer out of range
// makes the kernel choose any member by hash.
//
//   - order.go: the slots of every address in kernel order; join, leave, close
//   - closing.go: when a close keeps the attached program right
//   - resolve.go: the order after the agent died in the middle of something
//   - weights.go: shares of new connections, and who is being probed
//   - program.go: the program for one address
//   - probe.go: the rule that leads private probes to the candidate
//   - flow.go: the flow hash of udp
package steer
