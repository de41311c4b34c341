// Package delta is the form in which an artifact travels as its difference to another
// that both sides have: zstd with the other one's bytes as dictionary. Clients
// encode, agents decode. Without another one it is plain zstd.
//
// The artifact is cut into segments of 8 MiB. Each is one zstd frame, whose
// dictionary is what the base has around the same place, 4 MiB further on both sides,
// under the id of the segment's number plus one. So both sides need no more memory for
// a gigabyte than for ten megabytes, and a broken transfer goes on at a segment.
// Programs that were built again move by less than that.
//
// What Reader reads may be hostile: its memory is bounded by the segment, and whoever
// calls it bounds how much is read. Frames have no checksum: the digest of the whole
// is one. Whoever uses a base has to prove that they have it, see Proof.
//
//   - segment.go: segments and what belongs to them
//   - encode.go: making a difference
//   - reader.go: decoding one
//   - proof.go: that somebody has the base
package delta
