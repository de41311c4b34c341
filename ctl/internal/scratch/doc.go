// Package scratch runs an agent of one's own in a directory, for commands that
// show or try something without touching what the machine runs.
//
//   - programs.go: finding or building the agent
//   - agent.go: its process
package scratch
