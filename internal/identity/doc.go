// Package identity is the form in which a certificate says whose it is. It is pure
// text: gracectl cert writes it, the agent reads it.
//
//   - identity.go: the form
package identity
