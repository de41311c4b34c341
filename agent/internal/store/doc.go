// Package store is everything the agent keeps on disk: the record of each
// service, artifacts, uploads under way and the logs of programs.
//
//	STATE_DIR/           0711, owned by the agent's user
//	  lock               flock of the agent that works on the directory
//	  stamp              format version and random id of the directory
//	  reserve            space given up when the disk is full
//	  records/           0700, NAME.a to NAME.c, three copies of one record
//	  quarantine/        0700, what was found corrupt
//	  artifacts/HEX/     0711, the executable (0555) and .artifact, its metadata
//	  uploads/HEX/       0700, an artifact that is not complete yet
//	  rollouts/HEX       0700, a rollout that a service has a part in
//	  freeze             why no upgrade may begin; absent while they may
//	  logs/SERVICE/      0700, N.log and N.index of generation N
//
// Files of this package:
//
//   - dir.go: the layout and its lock, and that nobody else put anything there
//   - stamp.go: format version and id
//   - errors.go: what callers branch on
//   - record.go: records, what is written and what is durable, quarantine
//   - copies.go: the files of a record, overwritten in turn
//   - write.go: the crash-consistent replacing of a file
//   - encode.go: the checksummed header of what is replaced
//   - reserve.go: space kept for state writes on a full disk
//   - artifact.go: stored artifacts, list, delete, collect
//   - verify.go: whether an artifact's bytes are still those of its digest
//   - upload.go: receiving an artifact, resumable by offset
//   - uploads.go: uploads that lie on the disk, who may touch them, which are stale
//   - base.go: what is stored, for an upload that is a difference to it
//   - quota.go: room for an upload, found before its first byte or not at all
//   - inspect.go: whether a file can run on this host
//   - tree.go: archives of programs that are a tree
//   - elf.go: the parts of an ELF file that decide it
//   - rollouts.go: rollouts, and the stop of all upgrades
//   - log.go: where programs write, one file per generation
//   - index.go: the journal beside each log: times, and bytes rotated away
//   - watch.go: notices growth, without waking up for a quiet log
//   - rotate.go: keeps a service's logs below their cap, losing no line
//   - tail.go, reader.go: reading logs, from the end, from a time, following
package store
