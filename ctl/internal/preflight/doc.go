// Package preflight tries a program before production does: in a room of its own
// on this machine, with namespaces for its network, its processes and what it
// writes, an agent starts it twice and ends it once, under load where it speaks
// HTTP. What it does wrong on the way are the findings.
//
//   - report.go: what was found
//   - room_linux.go, room_other.go: the room
//   - trial.go: what is done in it
//   - follow.go: following the agent
//   - look.go: what the kernel tells of a program
package preflight
