// Package contexts reads gracectl's configuration: named ways to reach one agent or
// the hosts of an inventory.
//
//   - contexts.go: Parse, from bytes to contexts
package contexts
