// Package metrics shows an agent's figures to Prometheus. It names no service and
// needs no proof of who asks.
//
//   - metrics.go: what is shown
//   - serve.go: the listener and its limits
package metrics
