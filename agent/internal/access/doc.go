// Package access decides who may do what. It is pure: what a caller's identity is,
// others have proved.
//
//   - permission.go: what there is to be permitted
//   - role.go: roles, and the policy of one host
//   - grant.go: what a caller's roles come to
//   - spiffe.go: identities in certificates
//   - mapping.go: certificates of organisations that have others
package access
