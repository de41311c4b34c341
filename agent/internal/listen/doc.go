// Package listen creates single listening sockets and reads the few facts about
// them that the kernel keeps. It knows nothing of groups or weights.
//
//   - open.go: a socket as declared, bound and listening
//   - filter.go: the guard that keeps users off an address until it is served
//   - file.go: descriptors that Go's poller leaves alone; cookie, accepting, relisten
//   - error.go: what went wrong, on which address, and what to do
package listen
