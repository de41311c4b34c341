// Package join makes a host's agent one of a CA's: its key is made here and stays
// here, and a one-time token brings the certificate for it.
//
//   - join.go: Join
//   - place.go: the files
//   - config.go: the agent's configuration
package join
