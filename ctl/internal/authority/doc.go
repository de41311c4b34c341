// Package authority has the CA answer over the network: hosts join by one-time
// tokens, agents renew their certificates and learn what was revoked. Each act opens
// the CA's directory anew and holds its lock, as a command of gracectl cert does.
//
//   - token.go: join tokens as text
//   - server.go: Serve
//   - own.go: the service's own certificate
//   - calls.go: what it answers
//   - limit.go: how often, and how many
package authority
