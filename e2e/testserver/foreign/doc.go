// Command foreign is an HTTP service that finds its sockets, says that it is
// ready and ends as programs of other restart libraries do, what hurts included:
// signals to the parent, addresses that must match, odd drain signals.
//
//   - main.go: the service
//   - protocols.go: the libraries' ways
package main
