//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// nginxConfSays is nginx.conf with another answer.
func (s *service) nginxConfSays(t *testing.T, what string) {
	t.Helper()
	conf := strings.NewReplacer("DIR", s.Dir, "ADDRESS", s.address, "hello", what).Replace(nginxConf)
	if err := os.WriteFile(filepath.Join(s.Dir, "nginx.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A change of configuration alone is an upgrade like any other: the same program
// in a new generation, with its files; a rollback brings the old files back.
func TestConfigurationIsUpgradedAndRolledBack(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 0s}\n")
	s.spec = strings.Replace(s.spec, "args: [-e, stderr, -c, "+s.Dir+"/nginx.conf]", "args: [-e, stderr, -c, \"{file:nginx.conf}\"]\nfiles: {nginx.conf: nginx.conf}", 1)
	l := s.load(rate()/2, rate()/2, nil)
	answered(t, l, 50)
	file := filepath.Join(s.Dir, "web.yaml")
	if err := os.WriteFile(file, []byte(s.spec), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"one", "two"} {
		s.nginxConfSays(t, what)
		if dry := s.Ctl(t, "upgrade", "-f", file, "--dry-run"); dry.Code != 3 {
			t.Errorf("a dry run of a changed configuration: %v", dry)
		}
		s.CtlOK(t, "upgrade", "-f", file)
		if who := get(t, s.address); who != what+"\n" {
			t.Errorf("after the upgrade %q answers, want %q", who, what)
		}
		answered(t, l, 50)
	}
	// The file on the operator's machine is no longer looked at.
	s.nginxConfSays(t, "three")
	s.CtlOK(t, "rollback", "web")
	if who := get(t, s.address); who != "one\n" {
		t.Errorf("after the rollback %q answers, want one", who)
	}
	answered(t, l, 50)
	unharmed(t, l)
}

// Secrets stay on the host: the service file names a file of them.
func TestEnvFile(t *testing.T) {
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("# for the test\nVERSION='from the file'\nPYTHONDONTWRITEBYTECODE=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startKnown(t, "gunicorn", "upgrade: {soak: 0s}\n")
	s.spec = strings.Replace(s.spec, "env: {VERSION: v1, PYTHONDONTWRITEBYTECODE: '1'}", "env_file: "+secrets, 1)
	s.CtlOK(t, "upgrade", "-f", s.Spec(t, s.spec))
	if who := get(t, s.address); !strings.Contains(who, "version=from the file") {
		t.Errorf("%q answers", who)
	}
	if out := s.CtlOK(t, "status", "web", "-o", "json") + s.CtlOK(t, "history", "web", "-o", "json"); strings.Contains(out, "from the file") {
		t.Errorf("a secret is shown: %s", out)
	}
	if err := os.WriteFile(secrets, []byte("no assignment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := harness.Active(s.Status(t, "web")).GetPid()
	if r := s.Ctl(t, "restart", "web"); r.Code != 1 || !strings.Contains(r.Stderr, secrets+":1: want KEY=VALUE") {
		t.Errorf("an env_file that cannot be read: %v", r)
	}
	if g := harness.Active(s.Status(t, "web")); g.GetPid() != pid || g.GetState() != pb.Generation_STATE_ACTIVE {
		t.Errorf("the active generation became %v", g)
	}
}

// A file that is gone keeps new generations from starting. It ends none, not even when
// the agent dies, and a program that crashes gets the environment that it had.
func TestEnvFileIsMissing(t *testing.T) {
	s := &service{Agent: harness.Start(t), t: t, folder: "plain", address: fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))}
	file := filepath.Join(s.Dir, "env")
	if err := os.WriteFile(file, []byte("TOKEN=from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.spec = "sockets: [{name: http, listen: \"tcp://" + s.address + "\"}]\nrestart: {backoff: 10ms}\nenv_file: " + file + "\n"
	s.Apply(t, s.yaml("v1"))
	first := s.await(1, pb.Generation_STATE_ACTIVE).GetPid()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(int(first), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		pid := harness.Active(st).GetPid()
		return pid != 0 && pid != first
	}, awaitLimit)
	pid := harness.Active(st).GetPid()
	if got := variable(t, int(pid), "TOKEN"); got != "from the file" {
		t.Errorf("after a crash the program has %q", got)
	}
	s.Kill9(t)
	s.Restart(t)
	l := s.load(50, 0, nil)
	answered(t, l, 20)
	if g := harness.Active(s.Status(t, "web")); g.GetPid() != pid || g.GetState() != pb.Generation_STATE_ACTIVE {
		t.Errorf("under a new agent the generation is %v", g)
	}
	if r := s.Ctl(t, "restart", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "env_file: open "+file+": no such file") {
		t.Errorf("a restart without the file: %v", r)
	}
	unharmed(t, l)
	if strings.Contains(s.Log(), "from the file") {
		t.Error("the agent's log has the secret")
	}
}

// A reload is the program's own affair: the same process, the configuration that
// is on the host now.
func TestReload(t *testing.T) {
	s := startKnown(t, "nginx", "upgrade: {soak: 0s}\n")
	pid := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(rate()/2, rate()/2, nil)
	answered(t, l, 50)
	s.nginxConfSays(t, "reloaded")
	s.CtlOK(t, "reload", "web")
	for deadline := time.Now().Add(awaitLimit); get(t, s.address) != "reloaded\n"; {
		if time.Now().After(deadline) {
			t.Fatal("the reload changes nothing")
		}
	}
	if now := harness.Active(s.Status(t, "web")); now.GetPid() != pid || now.GetNumber() != 1 {
		t.Errorf("after a reload generation %d with pid %d is active, it was 1 with %d", now.GetNumber(), now.GetPid(), pid)
	}
	answered(t, l, 50)
	if seen := l.Stop(); seen.Fresh.Total() != 0 {
		t.Errorf("a reload lost new connections:\n%v", seen)
	}
}

// A preset whose programs cannot says so, before anything is sent.
func TestReloadOfWhatCannot(t *testing.T) {
	s := startKnown(t, "python", "")
	if r := s.Ctl(t, "reload", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "gracectl restart") {
		t.Errorf("a reload of what cannot: %v", r)
	}
}

const writerApp = `import os, sys
config = open(sys.argv[1]).read().strip()
open(os.path.join(sys.argv[2], "mine"), "w").write(config)
` + pythonApp

// A program that runs as somebody else reads its files and writes to its own
// directory, whatever the agent's umask; nobody else reads them, and the program
// itself cannot change them.
func TestFilesOfAnotherUser(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "running a program as somebody else needs root")
	old := syscall.Umask(0o077)
	s := &service{Agent: harness.Start(t), t: t}
	syscall.Umask(old)
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	public := t.TempDir()
	for dir := public; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755) // the program's user must find app.py
	}
	if err := os.WriteFile(filepath.Join(public, "app.py"), []byte(writerApp), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(public, "secret.conf"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(public, "web.yaml")
	yaml := "name: web\npreset: python\nartifact: host:/usr/bin/python3\nuser: nobody\nhandover: {env: {FD: '{fd:http}'}}\n" +
		"args: [" + public + "/app.py, '{file:secret.conf}', '{generation_dir}']\nfiles: {secret.conf: secret.conf}\n" +
		"sockets: [{name: http, listen: \"tcp://" + s.address + "\"}]\nupgrade: {soak: 0s}\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	s.CtlOK(t, "apply", "-f", file)
	s.await(1, pb.Generation_STATE_ACTIVE)
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", harness.Active(s.Status(t, "web")).GetPid()))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Split(string(argv), "\x00")
	placed, scratch := words[2], words[3]
	if mine, err := os.ReadFile(filepath.Join(scratch, "mine")); err != nil || string(mine) != "secret" {
		t.Errorf("the program wrote %q, %v", mine, err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(placed, &st); err != nil || st.Uid != 0 || st.Mode&0o777 != 0o440 {
		t.Errorf("the file is of user %d with mode %o, %v", st.Uid, st.Mode&0o777, err)
	}
	s.CtlOK(t, "stop", "web")
	for _, path := range []string{placed, scratch} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}
