// Package trust says whom a path depends on. The agent, mostly as root, reads files
// and keeps directories at paths that an administrator chose; on the way there may be
// directories of less trusted users, who could have the path lead elsewhere.
//
// Trusted are the agent's own user and whoever owns the root directory: root, or in a
// user namespace what root is shown as.
//
//   - walk.go: a path, step by step, each as safe as the one before
//   - dir.go: directories in which nobody else could have put anything
//   - read.go: files whose content goes to somebody who may not read them
package trust
