// Package fetch gets inventories from where they are kept.
//
//   - source.go: Source, and Parse, from a text to the source that it names
//   - file.go: a file
//   - exec.go: a program that prints one, with tail.go, what it said last
//   - srv.go: service records of a domain
//   - etcd.go: what agents have registered in etcd
package fetch
