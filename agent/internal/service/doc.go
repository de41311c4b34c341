// Package service holds what the agent knows about a service as plain data:
// the specification an operator declared, with its limits and defaults.
//
// It is pure: no I/O, no clock; it knows the handover tables and nothing else of
// the project. Every other package of the agent may import it.
//
//   - spec.go: the specification and its parts
//   - address.go: listen addresses, when two are equal, when they overlap
//   - name.go: what a service may be called, and patterns of that
//   - artifact.go: the two forms of an artifact
//   - signal.go: signals that end a program gracefully
//   - defaults.go: what an unset key means
//   - validate.go, validate_socket.go, validate_probe.go, validate_upgrade.go,
//     validate_handover.go: every rule a specification must meet, as field violations
//   - program.go: what a signed artifact does not cover
//   - diff.go, change.go, format.go: what changed between two, in a person's words
//   - invalid.go: the error that lists all violations
//
// spectest makes specifications for tests.
package service
