// Package agent puts an agent together: the store, the host, the supervisor and
// the server. It is the only wiring; graced is its command.
//
//   - config.go: what an agent is told, from flags, environment and file
//   - limits.go: how much of the host artifacts may take
//   - agent.go: Run
//   - listen.go: the local socket
//   - network.go: the agent on the network, and who may do what there
//   - registry.go: where clients find the agent
//   - metrics.go: figures for Prometheus
//   - housekeeping.go: what is tidied up in the background
//   - orphans.go: what falls to the first process of a container
//   - notify.go: systemd
package agent
