// Package signer is the signer's side of a release: keys in files, and what a
// statement says that an artifact knows by itself.
//
//   - key.go: minisign keys, made and read
//   - platform.go: what an executable runs on
package signer
