//go:build linux

package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// leftovers names what the agent should have ended or removed: processes that
// know its directories, cgroups, and listeners on its ports and paths.
func (a *Agent) leftovers(ports map[int]bool) []string {
	var left []string
	for pid, command := range a.processes() {
		left = append(left, fmt.Sprintf("process %d: %s", pid, command))
	}
	for _, dir := range a.cgroups() {
		left = append(left, "cgroup "+dir)
	}
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		left = append(left, listeners(file, ports)...)
	}
	sockets, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(sockets)) {
		for _, dir := range []string{a.Dir, a.RuntimeDir} {
			if _, path, ok := strings.Cut(line, dir+"/"); ok {
				left = append(left, "unix socket "+strings.TrimSpace(path))
				break
			}
		}
	}
	return left
}

// sweep ends what leftovers complained of, so that a failure stays one.
func (a *Agent) sweep() {
	for pid := range a.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, dir := range a.cgroups() {
		os.Remove(dir)
	}
	if base := a.cgroupBase(); base != "" {
		os.Remove(base)
	}
}

// processes are those whose environment, arguments or descriptors name the
// agent's directories. Those of other users show none, and are not the agent's.
func (a *Agent) processes() map[int]string {
	found := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if a.knownTo(e.Name(), cmdline) {
			found[pid] = string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		}
	}
	return found
}

func (a *Agent) knownTo(pid string, cmdline []byte) bool {
	mine := []byte(a.Dir + "/")
	environ, _ := os.ReadFile(filepath.Join("/proc", pid, "environ"))
	for _, dir := range [][]byte{mine, []byte(a.RuntimeDir + "/")} {
		if bytes.Contains(environ, dir) || bytes.Contains(cmdline, dir) {
			return true
		}
	}
	for _, link := range []string{"exe", "cwd", "fd/1", "fd/2"} {
		to, _ := os.Readlink(filepath.Join("/proc", pid, link))
		if strings.HasPrefix(to, string(mine)) {
			return true
		}
	}
	return false
}

// cgroups are those below the agent's own base, deepest first. An agent that was
// delegated a cgroup has none.
func (a *Agent) cgroups() []string {
	base := a.cgroupBase()
	if base == "" {
		return nil
	}
	var dirs []string
	for _, pattern := range []string{"*/*", "*"} {
		matches, _ := filepath.Glob(filepath.Join(base, pattern))
		for _, m := range matches {
			if info, err := os.Lstat(m); err == nil && info.IsDir() {
				dirs = append(dirs, m)
			}
		}
	}
	return dirs
}

func (a *Agent) cgroupBase() string {
	id, err := os.ReadFile(filepath.Join(a.RuntimeDir, "state-id"))
	if err != nil {
		return ""
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		base := filepath.Join(fields[1], "gracefleet-"+strings.TrimSpace(string(id)))
		if _, err := os.Stat(base); err == nil {
			return base
		}
	}
	return ""
}

// listeners are the entries of a file in /proc/net that receive on one of the
// ports: TCP in state LISTEN, UDP in any.
func listeners(file string, ports map[int]bool) []string {
	table, _ := os.ReadFile(filepath.Join("/proc/net", file))
	var found []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseInt(hex, 16, 32)
		if err != nil || !ports[int(port)] || !receives(file, fields[3]) {
			continue
		}
		found = append(found, fmt.Sprintf("%s listener on port %d", file, port))
	}
	return found
}

// receives knows the states of /proc/net, in hexadecimal: 0A is LISTEN, 07 an
// unconnected UDP socket.
func receives(file, state string) bool {
	if strings.HasPrefix(file, "tcp") {
		return state == "0A"
	}
	return state == "07"
}
