// Package kept holds copies of artifacts that were pushed, in a cache directory of the
// user: what an agent has already, and the next release can be sent as a difference
// to. Whatever is missing or wrong there costs bytes on the wire and nothing else, and
// nothing of it is taken without its digest being looked at.
//
//   - dir.go: the copies, how many there are, and which is the most alike
package kept
