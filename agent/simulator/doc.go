// Command simulator runs thousands of agents in one process, each on an address of
// its own, for whoever wants to know what a client of them costs. Servers,
// supervisors, certificates and permissions are those of graced; the machines below
// them are pretended (package simulated). It is not installed anywhere.
//
//	simulator -hosts 1000 -dir /dev/shm/fleet &
//	cd /dev/shm/fleet/certs
//	gracectl --inventory ../fleet.yaml --tls-cert operator.pem --tls-key operator.key --tls-ca ca.pem hosts
//
// All agents share one store of artifacts, so that what was pushed to one of them is
// on all, and one record of who did what: 10,000 of each would need more descriptors
// than a process has. Services begin anew each time.
//
// Files of this package:
//
//   - main.go: flags, and one run
//   - fleet.go: all hosts, and what they share
//   - host.go: one of them
//   - authority.go: who they trust
package main
