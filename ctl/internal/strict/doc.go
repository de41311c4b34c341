// Package strict reads YAML files, JSON among them, key by key: what is unknown,
// twice there or of another kind is a mistake, and each mistake has its place.
//
// Scalars are taken exactly as they are written: mode: 0660 is the octal
// permission 0660 and V: 1.10 stays "1.10", which a decoder that guesses
// types cannot promise. So the decoder walks the syntax tree itself.
//
//   - decode.go: Decode, from bytes to the one document of a file
//   - node.go: mappings, lists and scalars of the syntax tree
//   - errors.go: mistakes with their place, and "did you mean"
package strict
