// Package claim is one service's part in the rollouts of a fleet: who has the
// service, who drives, what is left to do, and how far it is. It is pure: a Book is a
// value, methods return the next one, and times and facts are passed in. Whoever keeps
// the service's record keeps its Book in it, and acts only on what was written.
//
//   - claim.go: a claim, and what a rollout does to a host
//   - book.go: who gets a claim, who drives it, who gives it up
//   - advance.go: what drivers have a host do, and operators their driver
//   - progress.go: how far a host is, by what became of its upgrade
//   - errors.go: refusals, with the words of whoever is in the way
package claim
