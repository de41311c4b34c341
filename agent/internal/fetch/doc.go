// Package fetch has the agent bring an artifact into its store by itself, from
// where the host's administrator lets it.
//
//   - fetch.go: one fetch, over all its tries; what came stays in the store
//   - source.go: the bytes at a URL, from an offset on
//   - answer.go: what a server's answer means
//   - seed.go: another agent that has them
//   - policy.go: what the host fetches at all
//   - errors.go: what callers branch on
//
// Nobody is asked through a proxy, and no server is told more than a URL and from
// which byte on. Only the digest decides whether what came is what was wanted.
package fetch
