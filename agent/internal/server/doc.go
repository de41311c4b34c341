// Package server is the agent's gRPC side: it checks what comes in, turns it
// into the words of the domain, asks the supervisor or the store, and turns the
// answer back. It decides nothing.
//
// A call passes intercept.go (caller, permission, panics, errors), then the
// method in its service's file, and on its way out errors.go.
//
//   - server.go: the server, its life and its end
//   - deps.go: what it needs of the supervisor and the store
//   - supervisor.go, upgrade.go, rollout.go, artifact.go, agent.go, audit.go: one gRPC service each
//   - encoded.go: uploads that are differences to what is stored, or compressed
//   - fetch.go: artifacts that the agent fetches by itself
//   - ticket.go: who may fetch from this agent; seed.go: how agents do
//   - adopt.go, watch.go, logs.go: more of SupervisorService
//   - check.go: rules for fields of requests
//   - page.go: pages of lists
//   - convert.go, convert_spec.go, convert_policy.go, convert_rollout.go: the only
//     border to the contract's types
//   - errors.go: errors to codes and reasons, one table
//   - intercept.go: what happens around every call
//   - permission.go: what each method asks for; what is not listed is denied
//   - record.go, detail.go: who changes what and who is refused, written down first
//   - unheard.go: calls that never get as far as intercept.go
//   - caller.go: who calls, and what they may do
//   - peer.go: who is at the other end of the local socket
//   - remote.go: whose certificate is at the other end over the network
//   - limits.go: how much a client may ask of the agent; counts.go: how much of it
//     is used
//   - account.go: how much each caller has asked for
//   - pace.go: connections that are read from no faster than a caller may ask
//   - quiet.go: log lines that strangers cause, bounded
package server
