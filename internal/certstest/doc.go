// Package certstest issues certificates for tests, right and wrong ones.
//
//   - ca.go: an issuer, and what it issues
package certstest
