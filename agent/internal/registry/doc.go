// Package registry registers the agent's host in an etcd, so that clients find it. The
// key has a lease: it vanishes half a minute after the agent, and not when that only
// restarts. Nothing is read there but whether the key is the agent's own, and nothing
// of the agent waits for it.
//
//   - options.go: what the administrator says, and what is registered
//   - registrar.go: Registrar, which keeps it registered
//   - schedule.go: when it tries again
//   - link.go: a connection to one member
//   - wire.go: etcd's messages, as far as they are needed
package registry
