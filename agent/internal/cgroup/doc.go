// Package cgroup keeps each slot and each generation in a cgroup v2 of its own.
// No controller is needed: a cgroup here is a name for a set of processes and
// sockets, and a way to kill all of them.
//
//   - tree.go: find the hierarchy and a base to write to
//   - dir.go: one cgroup: its id, its processes, its removal
//   - kill.go: kill all, wait until empty
package cgroup
