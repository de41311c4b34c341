// Package handover knows how programs are told about the listening sockets that
// they inherit, and how they are told to end. It is pure data and text: the agent
// acts on it, and gracectl explain prints it.
//
// A dialect is one way to announce descriptors, one row of a table. A preset is
// what a well-known program needs: its dialect, its drain signal, its traps. In
// the texts of a service file, placeholders such as {fd:http} stand for what is
// known only when a generation starts.
//
//   - dialect.go: the dialects
//   - announce.go: what a dialect makes of a service's sockets
//   - preset.go: the presets
//   - template.go: placeholders
package handover
