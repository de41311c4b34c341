// Package inventory knows the hosts of a fleet: how a file lists them, and which of
// them a selector means. It only thinks: package fetch reads files, runs programs
// and asks name servers.
//
//   - host.go: a host, an inventory, and what bounds them
//   - decode.go: Parse, from YAML or JSON to an inventory; groups
//   - address.go: where an agent is reached
//   - selector.go: ParseSelector, and selectors as text
//   - match.go: whether a host fits; globs
//   - choose.go: Choose, and what to say when nothing fits
//   - expand.go: {host.vars.NAME} in texts
package inventory
