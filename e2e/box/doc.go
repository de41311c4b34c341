// Package box boots a real systemd as PID 1 for a test, in well under a second,
// and throws it away afterwards. A box sees a writable copy of the host's root
// file system, has namespaces and a cgroup of its own, an empty network with
// loopback, and none of the services that the host has enabled.
//
//	b := box.Up(t)
//	b.Install("graced.service", "/etc/systemd/system/graced.service")
//	out, err := b.Exec(ctx, "systemctl", "start", "graced.service")
//
// Every mount is made in the mount namespace of the box, and PID 1 dies with the
// test that booted it: whatever happens to the test, nothing of a box outlives
// it but an empty directory and an empty cgroup. A box needs root, a cgroup v2
// hierarchy and the programs of systemd and util-linux.
//
// Its files:
//
//   - box.go: booting and powering off
//   - boot.sh: from the new namespaces to systemd, run as PID 1
//   - cgroup.go: the cgroup that holds a box
//   - exec.go: programs and files inside a box
//   - need.go: what a host must have, and skipping where it does not
package box
