// Package handover knows how listening descriptors are announced to programs.
// Each way is a dialect, one row of a table; the descriptors themselves are the
// same in all of them: from 3 up, in declared order, open across exec.
//
//   - table.go: the rows, and what a row says
package handover
