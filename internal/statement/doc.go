// Package statement is what the signer of a release says of an artifact, and the
// file in which that is signed. It is pure: gracectl sign writes it, the agent
// reads it.
//
//	gracefleet statement 1
//	service: web
//	platform: linux/amd64
//	artifact: sha256:1f2e...
//	release: 42
//	expires: 2027-01-31T12:00:00Z
//	key: 8DA53C1A7E2F4B60
//	untrusted comment: signature by gracectl
//	RUQ...
//	trusted comment: web, release 42
//	...
//
// The first seven lines are the statement, the bytes that are signed. The rest is
// the file that minisign writes beside them. So both come together with cat, and
// whoever has a key in minisign signs with that.
//
//   - statement.go: the statement
//   - signed.go: with its signature
//   - refusal.go: why it is not taken
package statement
