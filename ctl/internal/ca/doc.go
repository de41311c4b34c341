// Package ca is a small private certificate authority in a directory: a key, its
// certificate, a revocation list and a journal of what was issued. It makes the
// certificates by which agents and their clients know each other.
//
// Every change holds the directory's lock and replaces whole files, in an order
// that leaves a usable CA wherever it is cut off: what will be issued or revoked
// is in the journal before anybody can hold it or see it on the list.
//
//   - name.go: names, roles, trust domains
//   - host.go: names and addresses under which an agent is reached
//   - lifetime.go: how long a certificate is valid
//   - identity.go: trust domain, role and name as a URI
//   - profile.go: what the certificates of the CA, of agents and of clients say
//   - pem.go: certificates, keys and lists as PEM, read with distrust
//   - journal.go: what was issued and revoked, one line a certificate; lines.go:
//     files of one object a line
//   - authority.go: Open, to read; create.go: Create
//   - signer.go: Lock, to change
//   - issue.go: issuing and renewing; output.go: where that goes
//   - token.go: one-time tokens; enrol.go: certificates for keys that never were here
//   - revoke.go: revoking; crl.go: the list
//   - lock.go: one writer
package ca
