// Command foreign is an HTTP service that finds its sockets, says that it is
// ready and ends as programs of other restart libraries do, what hurts included:
// signals to the parent, addresses that must match, odd drain signals.
//
//   - main.go: the service
//   - protocols.go: how the libraries find sockets and say that they are ready
//   - ways.go: how they end and start themselves anew
package main
