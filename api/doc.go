// Package api is what clients of an agent share with it: how to reach it and
// the words it uses for errors. The contract itself is proto/gracefleet/v1, its
// generated Go api/gracefleet/v1.
//
//	conn, err := api.Dial("unix:/run/gracefleet/graced.sock")
//	services := gracefleetv1.NewSupervisorServiceClient(conn)
//	answer, err := services.GetService(ctx, &gracefleetv1.GetServiceRequest{Name: "web"})
//	if api.ReasonOf(err) == gracefleetv1.Reason_REASON_SERVICE_NOT_FOUND { ... }
//
// Files of this package:
//
//   - dial.go: connections, their limits and keepalive
//   - tls.go: connections over the network, by mutual TLS; Dialer makes many
//   - authority.go: the CA of agents, for those who join and renew
//   - retry.go: which calls are repeated when an agent is away, and why that is safe
//   - errors.go: codes, reasons and field violations on their way to and from gRPC
package api
