// Package host is what one machine does for services: it fulfils the interfaces
// that package supervisor declares, with the shims, sockets, cgroups, probes and
// the store below it.
//
//   - host.go: the machine; vet.go: what can be known before a start
//   - slot.go: opening, adopting and closing a slot; spawn.go: its shim
//   - keeper.go: the connection to a slot's shim, and its replacement
//   - external.go: a program that runs already, and its unit; takeover.go: its listeners
//     are taken over; succession.go: who has them after it
//   - launch.go, files.go: from a specification to a program; identity.go: its user
//   - credentials.go: secrets of the host, for its user alone; leftovers.go: what is
//     removed with a generation
//   - program.go: start, signal, kill, await, follow, reload
//   - steering.go: the switch between slots; public.go: paths of unix sockets
//   - private.go: probes over the private path; pidfile.go: the stable pid file
//   - inspect.go: what programs do to their slots; locks.go: what they have locked
//   - connections.go: queues and counts; processes.go: who belongs to a program
package host
