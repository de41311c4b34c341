// Package audit is the agent's record of who did what: one line of JSON per
// request that was decided on, durable before it is acted on, and chained, so that
// what was written cannot be changed unnoticed. Package chain is the form of a line
// and the verifier.
//
//	STATE_DIR/audit/                       0700, the agent's user alone
//	  audit-00000000000000000001.jsonl     0600, named for its first line
//	  audit-00000000000000041234.jsonl
//	  anchor.json                          what the oldest file kept is chained to
//
// The files make one chain. The oldest are removed whole, after the anchor has
// been written: without it, retention would look like tampering.
//
// Lines that were written but never acknowledged may be missing after a power cut,
// or be torn: then they are cut off. Whatever else is not in order stays as it is,
// for those who will look into it, and the record goes on in a new file, chained to
// the last line that is in order.
//
// Files of this package:
//
//   - log.go: opening a record, appending to it
//   - commit.go: one write and one sync for all who append at once
//   - segment.go: the files of a record: new ones, old ones, the anchor
//   - survey.go: what a record's files hold, and whether it is in order
//   - read.go: reading beside an agent that writes, and without one
//   - lines.go: a file's lines, also those of a damaged one
//   - disk.go: the directory
package audit
