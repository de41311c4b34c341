// Package demo tells the whole story on one machine in under a minute: an agent,
// a sample service and a load that never retries, in a temporary directory,
// without root; or three agents, and rollouts over them. Whatever ends it, it cleans
// up.
//
//   - demo.go: Run, the stage and its end
//   - acts.go: the acts
//   - fleet.go: the same with three hosts; rollouts.go: its acts
//   - stage.go: what an act works with
//   - digest.go: an artifact's name
//   - programs.go: versions of the sample
//   - sample.go: the sample service
//   - screen.go: what is shown
package demo
