// Package spec reads service files: YAML decoded strictly into Go types, with
// the place of every mistake, and converted to the API's specification. Package
// strict does the reading.
//
//   - file.go: the Go types of a service file
//   - decode.go: Parse, from bytes to a File, the top-level keys
//   - policy.go: the keys of sockets, upgrade, drain and restart
//   - probe.go: the keys of ready and upgrade.check
//   - scalar.go: durations, percents, permissions, numbers, digests
//   - address.go: what a socket may listen on
//   - url.go: artifacts that the agent fetches
//   - proto.go: from a File to the API's specification
//   - keys.go: every key with its type, default and meaning
//   - explain.go: that table as text
package spec
