//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// Programs that are a tree are pushed as an archive and run inside of it: the
// whole tree is a version, and a rollback brings the old one back.
func TestTreeIsUpgradedAndRolledBack(t *testing.T) {
	_, err := exec.LookPath("/usr/bin/python3")
	harness.Need(t, err == nil, "python3 is not installed")
	s := &service{Agent: harness.Start(t), t: t}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	pack := func(version string) string {
		dir := filepath.Join(s.Dir, version)
		for name, content := range map[string]string{
			"bin/web":        "#!/bin/sh\nexec /usr/bin/python3 lib/app.py\n",
			"lib/app.py":     strings.Replace(pythonApp, `body = f"gen={gen}\n"`, `body = "gen=" + gen + " " + open("etc/version").read() + "\n"`, 1),
			"etc/version":    version,
			"share/nothing/": "",
		} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "/") {
				continue
			}
			if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(s.Dir, "app-"+version+".tar.gz")
		if out, err := exec.Command("tar", "-czf", file, "-C", dir, ".").CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		return file
	}
	yaml := func(file, command string) string {
		return "name: web\npreset: python\nartifact: " + file + "\ncommand: [" + command + "]\nhandover: {env: {FD: '{fd:http}'}}\n" +
			"sockets: [{name: http, listen: \"tcp://" + s.address + "\"}]\nupgrade: {soak: 0s}\n"
	}
	one, two := pack("one"), pack("two")
	s.Apply(t, yaml(one, "bin/web"))
	s.await(1, pb.Generation_STATE_ACTIVE)
	l := s.load(rate()/2, rate()/2, nil)
	answered(t, l, 50)
	s.CtlOK(t, "upgrade", "web", two)
	if who := get(t, s.address); !strings.Contains(who, " two") {
		t.Errorf("after the upgrade %q answers", who)
	}
	answered(t, l, 50)
	s.CtlOK(t, "rollback", "web")
	if who := get(t, s.address); !strings.Contains(who, " one") {
		t.Errorf("after the rollback %q answers", who)
	}
	for command, says := range map[string]string{
		"bin/nothing":    "bin/nothing",
		"\"{artifact}\"": "say which program",
		"etc/version":    "not an executable",
	} {
		if r := s.Ctl(t, "upgrade", "-f", s.Spec(t, yaml(two, command))); r.Code != 1 || !strings.Contains(r.Stderr, says) {
			t.Errorf("command %s: %v, want %q", command, r, says)
		}
	}
	answered(t, l, 50)
	unharmed(t, l)
}
