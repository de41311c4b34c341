// Package spec reads service files: YAML decoded strictly into Go types, with
// the place of every mistake, and converted to the API's specification.
//
// Scalars are taken exactly as they are written: mode: 0660 is the octal
// permission 0660 and V: 1.10 stays "1.10", which a decoder that guesses
// types cannot promise. So the decoder walks the syntax tree itself.
//
//   - file.go: the Go types of a service file
//   - decode.go: Parse, from bytes to a File, the top-level keys
//   - policy.go: the keys of sockets, upgrade, drain and restart
//   - probe.go: the keys of ready and upgrade.check
//   - node.go: mappings, lists and scalars of the syntax tree
//   - scalar.go: durations, percents, permissions, numbers, digests
//   - address.go: what a socket may listen on
//   - errors.go: mistakes with their place, and "did you mean"
//   - proto.go: from a File to the API's specification
//   - keys.go: every key with its type, default and meaning
//   - explain.go: that table as text
package spec
