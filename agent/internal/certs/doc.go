// Package certs holds an agent's certificate and says whose certificates it takes.
// Files are read anew when they change, without a restart and without dropping a
// call; what cannot be read leaves what was read before in force.
//
//   - files.go: the files, and what they say
//   - keeper.go: the current snapshot, and its replacement
//   - verify.go: whether a peer's chain counts now
//   - figures.go: what ends when, and complaints before it does
//   - renew.go: the CA is asked for the next certificate, and for what was revoked
//   - schedule.go: when
//   - list.go: a newer revocation list beside those of other issuers
package certs
