// Package probe asks a program once whether it works.
//
//   - probe.go: Run and what it needs to know of the program
//   - http.go, grpc.go, tcp.go, exec.go: one kind of probe each
//   - tls.go: how a probe speaks TLS
//   - cause.go: errors of one line, for people
//
// Where connections go (the private path to a candidate, a unix socket's
// private name) is the caller's business: it dials.
package probe
