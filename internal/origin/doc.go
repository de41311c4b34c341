// Package origin says whose connections count together while nobody has proved who they
// are. Agent and CA limit handshakes by it.
//
//   - origin.go: the address, or what of it one host has to itself
package origin
