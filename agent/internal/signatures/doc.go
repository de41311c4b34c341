// Package signatures decides which services run signed artifacts alone, and whose
// signatures count for them. It is pure: the host's administrator has written the
// policy, and nothing that a caller says changes it.
//
//   - policy.go: the policy of one host
//   - key.go: the keys that count
package signatures
