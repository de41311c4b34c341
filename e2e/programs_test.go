//go:build linux

package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/load"
)

// table is written by
//
//	GRACEFLEET_FULL=1 go test -run TestPresets -timeout 60m ./e2e -table programs.md
var table = flag.String("table", "", "write the table of programs to this file")

// programRow is what a run showed of one program.
type programRow struct {
	name, version, dialect, drain string
	upgrades                      int
	seen                          load.Snapshot
	control                       string
}

func (s *service) row(t *testing.T, name string, upgrades int, seen load.Snapshot) programRow {
	t.Helper()
	spec := s.Status(t, "web").GetService().GetSpec()
	r := programRow{
		name: name, version: versionOf(name), dialect: spec.GetHandover().GetDialect(),
		drain: spec.GetDrain().GetMode() + " " + spec.GetDrain().GetSignal(), upgrades: upgrades, seen: seen, control: "-",
	}
	if wrong := wrongSignals[name]; wrong != "" && *table != "" {
		t.Run("control", func(t *testing.T) { r.control = control(t, name, wrong) })
	}
	return r
}

// control is what the wrong signal does.
func control(t *testing.T, name, wrong string) string {
	t.Helper()
	drain := "drain: {mode: signal, signal: " + wrong + ", timeout: 20s}\n"
	if knowns[name].underLoad {
		return fmt.Sprintf("%s: %d lost in 3 upgrades", wrong, lostUnderLoad(t, name, drain))
	}
	if err := askedAcrossAnUpgrade(t, name, drain); err != nil {
		return wrong + ": the request under way was cut"
	}
	return wrong + ": nothing was cut"
}

var versionForm = regexp.MustCompile(`[0-9]+\.[0-9]+(\.[0-9]+)?`)

// versionOf asks the program; those of this repository speak a protocol only.
func versionOf(name string) string {
	k := knowns[name]
	switch {
	case k.server != "":
		return "this repository's"
	case k.program == "":
		return "its protocol"
	}
	out, _ := exec.Command(k.program, k.version).CombinedOutput()
	return cmp.Or(versionForm.FindString(string(out)), "unknown")
}

func writeTable(t *testing.T, rows []programRow) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Programs that are upgraded as they are\n\n" +
		"Written by a run: `GRACEFLEET_FULL=1 go test -run TestPresets -timeout 60m ./e2e -table programs.md`. Each program was upgraded that\n" +
		"often in a row, and rolled back once, at 500 requests a second on fresh connections and 500 on lasting ones. Go's restart libraries are\n" +
		"represented by programs that speak exactly their protocol. The control sends the signal that looks right, during a request.\n\n" +
		"| preset | version | dialect | drain | upgrades | requests | lost | wrong signal |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %d | %d | %s |\n",
			r.name, r.version, r.dialect, r.drain, r.upgrades, r.seen.Answered()+r.seen.Lost(), r.seen.Lost(), r.control)
	}
	b.WriteString("\nKeep-alive clients that stay are left with their old generation (`patient`); `drain.nudge` has the program close idle ones. starman runs\n" +
		"without keep-alive here, since a kept connection holds one of its workers for good, and is asked 50 and 50 times a second; no signal\n" +
		"that it knows (TERM, INT, HUP, QUIT) cuts a request under way. The gracefleet and go-systemd rows are servers of this repository.\n" +
		"Caddy is built from its sources; the version in Debian 12 takes no sockets. Apache 2.4 takes none in any version.\n")
	if err := os.WriteFile(*table, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
