// Package chain is the form of the audit record: lines of JSON, each of which
// carries the SHA-256 of the line before it, so that no line can be changed,
// removed, added or moved without breaking the chain. It is pure: the agent writes
// with it, and whoever has nothing but the lines verifies with it.
//
// A chain without a secret proves that the lines belong together, not that they
// are those that were once written: somebody who may write the files can make up a
// chain from any line on, or cut it short. Whoever has kept a head (the number and
// hash of a line, as every acknowledged line has one) finds that, too.
//
//   - entry.go: what a line says
//   - line.go: how it is written and read
//   - verify.go: the verifier
//   - damage.go: what it finds
package chain
