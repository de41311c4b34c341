// Package e2e holds the promises to account: the real agent, real programs, real
// clients that never retry. Tests alone, nothing to import.
//
// An ordinary run keeps loads and counts small, so that it stays
// quick on two cores. GRACEFLEET_FULL=1 runs the figures that the project
// promises (1000 fresh and 1000 keep-alive requests a second; 20,000 canary
// connections), and -v prints what was measured. Times are printed, never
// asserted. GRACEFLEET_NO_SKIP=1 fails what would be skipped.
//
//	GRACEFLEET_FULL=1 go test -v -timeout 30m ./e2e
//
// Its files:
//
//   - service_test.go: a service under test, and what is done to it
//   - meter_test.go: what the clients of one upgrade saw
//   - upgrade_test.go: ten upgrades, ten rollbacks, restarts
//   - gunicorn_test.go, nginx_test.go: the same for programs of somebody else's;
//     presets_test.go, programs_test.go: for all that presets are for, and their table
//   - files_test.go, tree_test.go: configuration and trees that go with the program
//   - tutorial_test.go: programs that take their sockets by a number
//   - overlap_test.go: programs of which one copy can run
//   - adopt_test.go, adopt_unit_test.go, adopt_faults_test.go: services that run already
//   - preflight_test.go: traps that are found before
//   - canary_test.go: shares of new connections
//   - abort_test.go, rollback_test.go: ways back
//   - drain_test.go: the drain of a program that knows nothing of it
//   - address_test.go: IPv6, dual-stack, unix sockets, UDP
//   - crash_test.go: programs that die
//   - agent_test.go: agents that die
//   - driver_test.go: who drives a rollout on one host; rollout_agent_test.go: what becomes
//     of it there; rollout_claim_test.go: who may drive it, and what others may do
//     meanwhile; rollout_crash_test.go: agents and drivers that die
//   - operate_test.go: stop, start, reload, delete
//   - artifact_faults_test.go, spec_faults_test.go, client_faults_test.go: bad
//     input, and disks that are full
//   - candidate_faults_test.go: candidates that misbehave, one way each
//   - rescue_test.go: queues of the dead, and shims that die
//   - drain_faults_test.go: patience, deadlines, too many generations
//   - fetch_test.go: artifacts that agents fetch by themselves; depot_test.go: from where
//   - network_test.go: agents on the network, and who may do what there; hosts_test.go:
//     two hosts, as the README has one type it
//   - join_test.go: hosts that join, and whose certificates are renewed; between_test.go:
//     somebody in between; authority_test.go: the CA as its unit runs it
//   - audit_test.go: the record of who did what
//   - signatures_test.go: services that run signed artifacts alone
//   - credentials_test.go: secrets, and where they must not be found
//   - planted_test.go: links, fifos and names that lead elsewhere
//   - flood_test.go, flood_bench_test.go, watchers_test.go: callers that ask too much
//   - fallback_test.go: an agent without privileges
//   - hardening_test.go: what services inherit, and the strict unit
//   - systemd_test.go: the shipped units under a real systemd
//   - library_traps_test.go: what Go's restart libraries do to whoever starts their
//     programs
//   - scale_test.go: what a client takes for thousands of hosts; ansible_test.go: the
//     same beside Ansible
//   - etcd_test.go: hosts that register themselves
//   - demo_test.go: the demo, whole and interrupted
//   - fleet_test.go: hosts whose service is upgraded in rollouts, and what is asked of
//     them; fleet_harness_test.go: whether they are what the tests think
//   - fleet_rollout_test.go: rollouts that succeed, fail and are taken back
//   - fleet_driver_test.go: drivers that die, sleep, or are two
//   - fleet_network_test.go: hosts and agents that are gone for a while
//   - fleet_control_test.go: words of operators, and freezes
//   - fleet_seeds_test.go: hosts that get the artifact from one another
//   - fleet_etcd_test.go: operators who ask an etcd who drives
package e2e
