// Package systemd asks the host's service manager about units, and has it give one
// up. It runs systemctl: whoever pages through a log at night can run the same.
//
//   - unit.go: what a unit is, and who starts it
package systemd
