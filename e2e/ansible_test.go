//go:build linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// scaleTable is written by
//
//	go test -run '^$' -bench BesideAnsible -benchtime 1x -timeout 60m ./e2e -scale-table scale.md
var scaleTable = flag.String("scale-table", "", "write the table of gracectl and Ansible to this file")

// forks is how many hosts both have in hand at once.
const forks = 50

// play is what somebody would have Ansible do in place of an upgrade: put the program
// there, and if it is another one have the service restarted, for which true stands.
const play = `- hosts: all
  gather_facts: false
  tasks:
    - copy: {src: "{{ release }}", dest: "{{ directory }}", mode: "0755"}
      notify: restart
  handlers:
    - name: restart
      command: "true"
`

// compared is one row: the same for so many hosts by both.
type compared struct {
	what      string
	hosts     int
	ansible   harness.Cost
	gracectl  harness.Cost
	simulated time.Duration // CPU time of the agents
}

// BenchmarkBesideAnsible is the same for many hosts by gracectl and by Ansible, on one
// machine. It takes half an hour.
//
//	go test -run '^$' -bench BesideAnsible -benchtime 1x -timeout 60m ./e2e -scale-table scale.md
func BenchmarkBesideAnsible(t *testing.B) {
	_, err := exec.LookPath("ansible-playbook")
	harness.Need(t, err == nil, "ansible-core is not installed")
	var rows []compared
	for _, hosts := range []int{100, 1000} {
		rows = append(rows, beside(t, hosts)...)
	}
	text := comparison(rows)
	t.Log("\n" + text)
	if *scaleTable == "" {
		return
	}
	if err := os.WriteFile(*scaleTable, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func beside(t testing.TB, hosts int) []compared {
	t.Helper()
	s := simulate(t, hosts, "-soak", "0s", "-ready", "0s", "-drain", "0s")
	a := newAnsible(t, hosts)
	digest := s.artifact("v2")
	rows := []compared{
		{what: "ask every host", ansible: a.run("ansible", "all", "-m", "command", "-a", "true")},
		{what: "a new release", ansible: a.run("ansible-playbook", "play.yml")},
	}
	for i, args := range [][]string{{"status", "--all"}, {"upgrade", "web", digest, "--all", "--max-in-flight", fmt.Sprint(forks)}} {
		before := s.CPU()
		_, rows[i].gracectl = s.ctl(0, args...)
		rows[i].simulated, rows[i].hosts = s.CPU()-before, hosts
	}
	return rows
}

// ansible is a directory with hosts that are this machine.
type ansible struct {
	t   testing.TB
	dir string
}

func newAnsible(t testing.TB, hosts int) *ansible {
	t.Helper()
	a := &ansible{t, t.TempDir()}
	var inventory strings.Builder
	for i := range hosts {
		directory := filepath.Join(a.dir, "hosts", fmt.Sprintf("web-%05d", i+1))
		if err := os.MkdirAll(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&inventory, "web-%05d ansible_connection=local ansible_python_interpreter=/usr/bin/python3 directory=%s/\n", i+1, directory)
	}
	fmt.Fprintf(&inventory, "[all:vars]\nrelease=%s\n", filepath.Join(a.dir, "web"))
	for name, text := range map[string]string{"inventory": inventory.String(), "play.yml": play, "web": "#!/bin/sh\n# v2\n"} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// run runs a command of Ansible's that has to succeed.
func (a *ansible) run(args ...string) harness.Cost {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), ansibleLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], append(args[1:], "-i", "inventory", "-f", fmt.Sprint(forks))...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "HOME="+a.dir, "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1", "LC_ALL=C.UTF-8")
	r, cost := harness.Measured(cmd)
	if r.Code != 0 {
		a.t.Fatalf("%v: exit code %d\n%s%s", args, r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	a.t.Logf("%v: %v", args, cost)
	return cost
}

// ansibleLimit ends one that hangs.
const ansibleLimit = 30 * time.Minute

func comparison(rows []compared) string {
	var b strings.Builder
	b.WriteString("# Many hosts: gracectl beside Ansible\n\n" +
		"Written by a run on " + machine() + ":\n`go test -run '^$' -bench BesideAnsible -benchtime 1x -timeout 60m ./e2e -scale-table scale.md`.\n\n" +
		"| what | hosts | Ansible: time | CPU per host | gracectl: time | CPU per host | of that the client's | its memory |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		perHost := func(d time.Duration) string {
			return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000/float64(r.hosts))
		}
		fmt.Fprintf(&b, "| %s | %d | %.1f s | %s | %.1f s | %s | %s | %d MB |\n", r.what, r.hosts,
			r.ansible.Wall.Seconds(), perHost(r.ansible.CPU), r.gracectl.Wall.Seconds(), perHost(r.gracectl.CPU+r.simulated), perHost(r.gracectl.CPU), r.gracectl.Memory>>20)
	}
	b.WriteString(whatIsCompared)
	return b.String()
}

// whatIsCompared says what both did, and what speaks for whom.
const whatIsCompared = `
Both have 50 hosts in hand at once (` + "`-f 50`, `--max-in-flight 50`" + `), and both run with all of their hosts on that machine, so CPU time is
that of the client and of the hosts together, and two processors bound the time.

- *ask every host*: ` + "`ansible all -m command -a true`, and `gracectl status --all`" + `, which shows generations, weights and connections.
- *a new release*: a play with one copy of a file of 20 bytes, and a handler that runs ` + "`true`" + ` in place of a restart; and
  ` + "`gracectl upgrade web sha256:... --all`" + `: every host claimed durably, a new generation started beside the old one, ready, promoted, the
  claim given up, the old one drained. Programs are ready at once, there is no soak, no canary and one wave, as in the play.

What flatters Ansible: its hosts are local connections, without SSH, without encryption, without facts, and with pipelining; gracectl speaks
mutual TLS 1.3 with every host. What flatters gracectl: its hosts are those of the simulator, whose agents are real and whose programs,
sockets and disks are not, so a start costs no process; an artifact that one host has, all have (the file's 20 bytes weigh nothing on
either side); and agents run all the time, whereas Ansible starts Python on each host for each task.
`

// machine is what the run had.
func machine() string {
	version := "an unknown version"
	if out, err := exec.Command("ansible", "--version").Output(); err == nil {
		version, _, _ = strings.Cut(strings.TrimPrefix(string(out), "ansible "), "\n")
	}
	return fmt.Sprintf("%d processors, Ansible %s", runtime.NumCPU(), strings.Trim(version, "[]"))
}
