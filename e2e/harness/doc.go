// Package harness runs the real product for a test: it builds graced,
// graced-shim, gracectl and the programs of testserver, starts an agent in fresh
// directories, talks to it as an operator or through the API, and proves at the
// end that nothing is left of it.
//
//	func TestMain(m *testing.M) { harness.Main(m) }
//
//	func TestUpgrade(t *testing.T) {
//		a := harness.Start(t)
//		port := harness.FreePort(t)
//		a.CtlOK(t, "apply", "-f", a.Spec(t, "name: web\nartifact: "+harness.Program(t, "plain", "v1")+"\n..."))
//		a.Await(t, "web", func(s *pb.ServiceStatus) bool { ... }, 5*time.Second)
//	}
//
// It works as root and as an ordinary user. Its files:
//
//   - main.go: around all tests of a package
//   - build.go, race_on.go, race_off.go: binaries, each built once per process
//   - agent.go: an agent's processes, from the first to the last
//   - user.go: an agent without privileges, as the init of a container, or in a
//     network of its own
//   - log.go: what the agents said, and what they must never say
//   - ctl.go: gracectl
//   - authority.go: the CA of agents and clients
//   - network.go: machines on two switches, whose cables can be pulled
//   - fleet.go: hosts on them, each with an agent
//   - driver.go: operators of a fleet, and running.go: commands under way
//   - clients.go: the users of a fleet
//   - settled.go: what a rollout reported, and whether it is true
//   - etcd.go: an etcd
//   - simulator.go: thousands of agents on pretended machines
//   - cost.go: what a command took of the machine
//   - watch.go: the API: status, and waiting for one
//   - port.go: free ports
//   - leftover.go: processes, cgroups and listeners that should be gone
//   - need.go: skipping, where that is allowed
package harness
