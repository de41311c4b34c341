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
//   - target.go: where a run goes: one agent, or hosts of an inventory; contexts;
//     chosen.go: which hosts of it
//   - agent.go: the connection, and what to say when there is none
//   - fanout.go: asking many hosts; report.go: what came of it, host by host;
//     status_hosts.go: their services; drift.go: what differs among them
//   - each.go: having many hosts do something
//   - rollout_flags.go, rollout_spec.go, rollout_begin.go: from flags and hosts to a
//     rollout; rollout_predict.go: what it will take, rollout_plan.go: as a report
//   - rollout_drive.go: driving one; rollout_delivery.go: what hosts lack;
//     rollout_seeds.go: and get from each other; rollout_watching.go: looking on while
//     somebody else does
//   - rollout_show.go: what is seen meanwhile, of rollout_scene.go, by rollout_live.go,
//     rollout_lines.go and rollout_records.go; rollout_notify.go: who is told;
//     rollout_report.go: what came of it
//   - rollout_command.go: rollouts by their ids, found by rollout_find.go:
//     rollout_list.go, rollout_status.go, rollout_control.go, rollout_word.go,
//     rollout_resume.go; rollout_trust.go: what is not run unseen
//   - explain.go and its pages, explain_handover.go and explain_rollouts.go
//   - coordinator.go: a service is one rollout's at a time; rollout_history.go: those
//     that are over
//   - freeze.go: hosts that refuse upgrades
//   - source.go: service files and artifacts that arguments name; stock.go: the files of
//     this machine that a run sends
//   - upload.go, bar.go: pushing an artifact, resumably; parcel.go: in which form its
//     bytes travel; base.go: what they may be a difference to
//   - fetch.go: having an agent fetch an artifact
//   - dryrun.go: what --dry-run reports
//   - watch.go: a stream of looks at a service that outlives the agent
//   - follow.go: watching an upgrade until it is over
//   - view.go, live.go, lines.go: what is seen meanwhile, as records, on a
//     terminal, in a pipe; block.go: lines that are redrawn
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
