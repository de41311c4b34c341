// Package ctl is gracectl: the command line that talks to agents. Run is the
// whole program; it writes to what it is given and keeps no state.
//
// One file per command (apply.go, push.go, upgrade.go, status.go, ...), and
// beneath them:
//
//   - run.go: Run, from arguments to an exit code
//   - exit.go: exit codes and the errors that carry them
//   - session.go: one run's flags and streams; root.go: the command tree
//   - mutate.go: the flags of every command that changes something
//   - target.go: where a run goes: one agent, or hosts of an inventory; contexts
//   - agent.go: the connection, and what to say when there is none
//   - fanout.go: asking many hosts; report.go: what came of it, host by host;
//     status_hosts.go: their services; drift.go: what differs among them
//   - source.go: service files and artifacts that arguments name
//   - upload.go, bar.go: pushing an artifact, resumably; parcel.go: in which form its
//     bytes travel; base.go: what they may be a difference to
//   - dryrun.go: what --dry-run reports
//   - watch.go: a stream of looks at a service that outlives the agent
//   - follow.go: watching an upgrade until it is over
//   - view.go, live.go, lines.go: what is seen meanwhile, as records, on a
//     terminal, in a pipe
//   - describe.go: upgrades and generations in words
//   - result.go: what came of it, in one line, in detail and as a record
//   - audit.go, audit_verify.go: the record of who did what, and whether it is whole
//   - cert.go: the private CA, with cert_issue.go, cert_revoke.go, cert_list.go
//     and cert_show.go; it asks no agent. cert_serve.go has it answer hosts that
//     join by cert_token.go
//   - sign.go: signed artifacts, with sign_keygen.go, sign_statement.go,
//     sign_verify.go and password.go; it asks no agent
//   - signing.go: the signature that goes with an artifact to an agent
//   - complete.go: names for shell completion
//   - message.go, print.go, table.go, style.go, format.go: output
package ctl
