// Package certstest issues certificates for tests, right and wrong ones.
//
//   - issuer.go: an issuer, and what it issues
//   - ca.go: one that belongs to a test
package certstest
