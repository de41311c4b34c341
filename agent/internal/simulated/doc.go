// Package simulated is a machine on which programs are only pretended: no process,
// no socket, no disk. A supervisor works with it as with a real one, so thousands of
// agents fit into one process, to show what their clients cost. Time passes really.
//
//   - conduct.go: how programs behave
//   - host.go: the machine, a supervisor.Host
//   - records.go: its disk, or what is pretended of it
//   - slot.go: a slot; program.go: the program on it
//   - steering.go: which slots have weight
package simulated
