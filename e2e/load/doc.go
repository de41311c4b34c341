// Package load puts a steady load on a service and tells exactly what its
// clients saw. It is open loop: requests leave at their appointed times whether
// or not earlier ones were answered, latency counts from the appointed time, and
// nothing is ever sent twice, so that a lost request shows.
//
//	l := load.Run(ctx, load.Config{Address: "127.0.0.1:8080", Fresh: 1000, KeepAlive: 1000})
//	...
//	fmt.Println(l.Stop())
//
// Its files:
//
//   - config.go: what to send, where, how often
//   - load.go: starting and stopping
//   - pace.go, sleep_linux.go, sleep_other.go: keeping to the appointed times
//   - fresh.go: a new connection for each request
//   - keepalive.go: requests on connections that stay open
//   - exchange.go: one request and its answer
//   - loss.go: the ways in which a request is lost
//   - record.go: what is remembered of each request
//   - snapshot.go: the figures, and how they print
//   - histogram.go: latencies in constant space
package load
