//go:build linux

package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// secretive is a service with a secret.
type secretive struct {
	*service
	file   string   // on the host
	values []string // all that the secret ever was
}

// agentsWithSecrets are the two kinds of agents, and the user that programs run as.
func agentsWithSecrets(t *testing.T, test func(t *testing.T, a *harness.Agent, user string)) {
	for name, start := range map[string]func(testing.TB, ...string) *harness.Agent{
		"root": harness.StartInMemory, "an ordinary user": harness.StartUnprivilegedInMemory,
	} {
		t.Run(name, func(t *testing.T) {
			user := ""
			if name == "root" {
				harness.Need(t, os.Geteuid() == 0, "running a program as somebody else needs root")
				user = "user: nobody\n"
			}
			test(t, start(t), user)
		})
	}
}

// startSecretive runs plain as generation 1.
func startSecretive(t *testing.T, a *harness.Agent, yaml string) *secretive {
	t.Helper()
	s := &secretive{service: &service{Agent: a, t: t, folder: "plain"}, file: filepath.Join(a.Dir, "db-password")}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.rotate()
	s.spec = "sockets: [{name: http, listen: \"tcp://" + s.address + "\"}]\nupgrade: {soak: 0s}\nrestart: {backoff: 10ms}\ndrain: {mode: signal}\n" +
		"credentials: {db: " + s.file + "}\nenv: {DB_FILE: \"{credential:db}\"}\n" + yaml
	s.Apply(t, s.yaml("v1"))
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

// rotate gives the secret another value.
func (s *secretive) rotate() {
	s.t.Helper()
	s.values = append(s.values, rand.Text())
	err := os.WriteFile(s.file, []byte(s.value()), 0o600)
	if err == nil && os.Geteuid() == 0 {
		var dir syscall.Stat_t
		err = errors.Join(syscall.Stat(s.Dir, &dir), os.Chown(s.file, int(dir.Uid), -1)) // the agent's user
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// plant makes a directory of the agent's user.
func (s *secretive) plant(dir string) {
	s.t.Helper()
	err := os.MkdirAll(dir, 0o700)
	var root syscall.Stat_t
	err = errors.Join(err, syscall.Stat(s.RuntimeDir, &root))
	for ; err == nil && os.Geteuid() == 0 && dir != s.RuntimeDir; dir = filepath.Dir(dir) {
		err = os.Chown(dir, int(root.Uid), int(root.Gid))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *secretive) value() string { return s.values[len(s.values)-1] }

// knows is what the program that answers has for its secret.
func (s *secretive) knows() string {
	s.t.Helper()
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(5 * time.Millisecond) {
		response, err := http.Get("http://" + s.address + "/credential?name=db")
		if err != nil && time.Now().Before(deadline) {
			continue // it is being started
		}
		if err != nil {
			s.t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		return string(body)
	}
}

func (s *secretive) wants(value, when string) {
	s.t.Helper()
	if got := s.knows(); got != value {
		s.t.Errorf("%s the program reads %q, want %q", when, got, value)
	}
}

// placed is the directory that the active program was told.
func (s *secretive) placed() string {
	s.t.Helper()
	return strings.TrimSuffix(variable(s.t, s.pid(), "DB_FILE"), "/db")
}

func (s *secretive) pid() int { return int(harness.Active(s.Status(s.t, "web")).GetPid()) }

func variable(t testing.TB, pid int, name string) string {
	t.Helper()
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	for kv := range strings.SplitSeq(string(environ), "\x00") {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	t.Fatalf("process %d has no %s", pid, name)
	return ""
}

// kept says that no value is to be found where others look, or on a disk.
func (s *secretive) kept() {
	s.t.Helper()
	where := map[string][]byte{"the agent's log": []byte(s.Log())}
	for _, command := range []string{"status web", "history web", "events web", "logs web"} {
		for _, output := range []string{"table", "json"} {
			r := s.Ctl(s.t, append(strings.Fields(command), "-o", output)...)
			if r.Code != 0 {
				s.t.Error(r)
			}
			where["gracectl "+command+" -o "+output] = []byte(r.Stdout + r.Stderr)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		for _, file := range []string{"cmdline", "environ"} {
			where[proc+"/"+file], _ = os.ReadFile(filepath.Join(proc, file)) // it may have ended
		}
	}
	for _, dir := range []string{filepath.Join(s.Dir, "s"), s.RuntimeDir} {
		for path, content := range contents(s.t, dir) {
			if !strings.Contains(path, ".credentials/") {
				where[path] = content
			}
		}
	}
	for place, text := range where {
		for _, value := range s.values {
			if bytes.Contains(text, []byte(value)) {
				s.t.Errorf("the secret is in %s", place)
			}
		}
	}
}

// contents are all regular files below a directory.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			found[path], err = os.ReadFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) { // the agent works meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// left are the files in the runtime directory that hold the secret.
func (s *secretive) left() (out []string) {
	s.t.Helper()
	for path, content := range contents(s.t, s.RuntimeDir) {
		for _, value := range s.values {
			if bytes.Contains(content, []byte(value)) {
				out = append(out, path)
			}
		}
	}
	return out
}

// A program finds its secrets as files that nobody else reads, as the host has them
// when it is started, and nothing shows them.
func TestCredentials(t *testing.T) {
	agentsWithSecrets(t, func(t *testing.T, a *harness.Agent, user string) {
		s := startSecretive(t, a, user)
		s.wants(s.value(), "at first")
		s.kept()
		for path, want := range map[string]uint32{s.placed(): 0o500, s.placed() + "/db": 0o400} {
			var st, self syscall.Stat_t
			if err := errors.Join(syscall.Stat(path, &st), syscall.Stat(fmt.Sprintf("/proc/%d", s.pid()), &self)); err != nil {
				t.Fatal(err)
			}
			if st.Mode&0o777 != want || st.Uid != self.Uid {
				t.Errorf("%s has mode %o and belongs to %d, want %o and the program's %d", path, st.Mode&0o777, st.Uid, want, self.Uid)
			}
		}
		if user != "" {
			other := exec.Command("cat", s.placed()+"/db")
			other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
			if out, err := other.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("Permission denied")) {
				t.Errorf("another user reads %q, %v", out, err)
			}
		}

		first := s.placed()
		before := s.value()
		s.rotate()
		s.wants(before, "before a restart")
		s.CtlOK(t, "restart", "web")
		s.wants(s.value(), "after a restart")
		s.awaitAlone(awaitLimit)
		eventually(t, "what the first generation had is gone", func() bool {
			_, err := os.Stat(first)
			return err != nil
		})

		s.CtlOK(t, "upgrade", "web", harness.Program(t, "plain", "v2"))
		s.rotate()
		s.CtlOK(t, "rollback", "web")
		s.wants(s.value(), "after a rollback")
		s.kept()

		s.awaitAlone(awaitLimit)
		s.CtlOK(t, "stop", "web")
		eventually(t, "a stopped service leaves nothing", func() bool { return len(s.left()) == 0 })
		s.CtlOK(t, "start", "web")
		s.wants(s.value(), "after a start")
		s.CtlOK(t, "stop", "--now", "web")
		s.CtlOK(t, "delete", "-y", "web")
		if left, _ := os.ReadDir(filepath.Join(s.RuntimeDir, "g")); len(left) > 0 {
			t.Errorf("a deleted service leaves %v", left)
		}
	})
}

// Without its secret no generation begins, and the one that serves goes on, also when
// its program has to be started again.
func TestCredentialIsMissing(t *testing.T) {
	agentsWithSecrets(t, func(t *testing.T, a *harness.Agent, user string) {
		s := startSecretive(t, a, user)
		pid := s.pid()
		if err := os.Remove(s.file); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"restart", "web"}, {"upgrade", "web", harness.Program(t, "plain", "v2")}} {
			r := s.Ctl(t, args...)
			if r.Code != 1 || !strings.Contains(r.Stderr, "credentials.db: open "+s.file+": no such file") {
				t.Errorf("without the file: %v", r)
			}
		}
		s.untouched(int32(pid))
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.Await(t, "web", func(st *pb.ServiceStatus) bool {
			g := harness.Active(st)
			return g.GetRestarts() == 1 && g.GetPid() != 0
		}, awaitLimit)
		s.wants(s.value(), "after a crash")
		if !strings.Contains(s.Log(), "is started with the credentials that it had") {
			t.Error("the agent says nothing of it")
		}
		s.rotate()
		s.CtlOK(t, "restart", "web")
		s.wants(s.value(), "with the file back")
		s.kept()
	})
}

// A rollback is not looked at before it begins: it fails like a bad candidate.
func TestCredentialIsMissingInARollback(t *testing.T) {
	s := startSecretive(t, harness.StartInMemory(t), "")
	s.CtlOK(t, "upgrade", "web", harness.Program(t, "plain", "v2"))
	s.awaitAlone(awaitLimit)
	if err := os.Remove(s.file); err != nil {
		t.Fatal(err)
	}
	r := s.Ctl(t, "rollback", "web", "-o", "json")
	if r.Code != 4 || !strings.Contains(r.Stdout, "HOST_FILE") || !strings.Contains(r.Stdout, s.file) {
		t.Errorf("a rollback without the secret: %v", r)
	}
	if g := harness.Active(s.Status(t, "web")); g.GetNumber() != 2 {
		t.Errorf("generation %d is active, want 2", g.GetNumber())
	}
	s.wants(s.value(), "after the rollback that failed")
}

// Agents and shims may be killed at any time; what they leave goes with the generation.
func TestCredentialsWhenTheAgentDies(t *testing.T) {
	agentsWithSecrets(t, func(t *testing.T, a *harness.Agent, user string) {
		s := startSecretive(t, a, user)
		had := s.value()
		s.Kill9(t)
		s.rotate()
		said := strings.Count(s.Log(), "program started")
		s.Restart(t)
		for deadline := time.Now().Add(awaitLimit); strings.Count(s.Log(), "program started") == said; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the new agent does not look at what runs")
			}
		}
		s.wants(had, "running on under a new agent")
		s.CtlOK(t, "restart", "web")
		s.awaitAlone(awaitLimit)
		pid := s.pid()

		s.Kill9(t)
		if err := errors.Join(os.Remove(s.file), syscall.Kill(pid, syscall.SIGKILL)); err != nil {
			t.Fatal(err)
		}
		s.wants(s.value(), "restarted by its shim")
		stale := filepath.Join(s.RuntimeDir, "g", "web", "99.credentials", "99")
		s.plant(stale)
		s.Restart(t)
		s.wants(s.value(), "under a new agent")
		if _, err := os.Stat(stale); err == nil {
			t.Error("what a generation left that nobody knows is there")
		}
		s.rotate()
		s.CtlOK(t, "restart", "web")
		s.wants(s.value(), "restarted by the new agent")
		s.awaitAlone(awaitLimit)

		// The agent dies, and with it all that the service has.
		s.Kill9(t)
		for _, process := range s.family() {
			_ = syscall.Kill(process, syscall.SIGKILL)
		}
		s.Restart(t)
		s.wants(s.value(), "after the death of its shim")
		s.kept()
		s.CtlOK(t, "stop", "web")
		eventually(t, "a stopped service leaves nothing", func() bool { return len(s.left()) == 0 })
	})
}

// family are the shims and programs of the agent's services.
func (s *secretive) family() (pids []int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(proc), "%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if bytes.Contains(cmdline, []byte(s.RuntimeDir+"/s/")) || bytes.Contains(environ, []byte(s.RuntimeDir+"/s/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// On a disk a secret could be found later: the agent says what to do instead.
func TestCredentialsAreNotWrittenToADisk(t *testing.T) {
	var st syscall.Statfs_t
	const tmpfs = 0x01021994
	harness.Need(t, syscall.Statfs("/tmp", &st) == nil && st.Type != tmpfs, "everything is in memory here")
	a := harness.Start(t)
	file := filepath.Join(a.Dir, "secret")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := a.Ctl(t, "apply", "-f", a.Spec(t, "name: web\nartifact: host:/bin/sleep\nargs: [60]\ncredentials: {db: "+file+"}\n"))
	if r.Code != 1 || !strings.Contains(r.Stderr, a.RuntimeDir+" is on a disk: put it on a tmpfs") {
		t.Errorf("credentials on a disk: %v", r)
	}
}

// What the agent would read as root for an operator of less rights, and what it would
// wait for, is refused before anything is touched.
func TestCredentialsThatLeadElsewhere(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "files of several users need root")
	s := startSecretive(t, harness.StartInMemory(t), "")
	home := filepath.Join(s.Dir, "home")
	const alice = 12345
	err := errors.Join(os.Mkdir(home, 0o755), os.Symlink(s.file, home+"/link"), syscall.Mkfifo(home+"/fifo", 0o600),
		os.Symlink("/dev/zero", s.Dir+"/device"), os.Chown(home, alice, alice), os.Lchown(home+"/link", alice, alice), os.Chown(home+"/fifo", alice, alice))
	if err != nil {
		t.Fatal(err)
	}
	pid := int32(s.pid())
	for path, says := range map[string]string{
		home + "/link":              "others decide what is found there",
		home + "/fifo":              "not a regular file",
		s.Dir + "/device":           "not a regular file",
		s.Dir:                       "not a regular file",
		"/proc/" + "self/fd/0":      "",
		s.Dir + "/none":             "no such file",
		"/proc/kmsg":                "",
		"/proc/self/mem":            "",
		"/sys/kernel/debug/tracing": "",
	} {
		for _, key := range []string{"credentials: {db: " + path + "}", "env_file: " + path} {
			yaml := strings.Replace(s.yaml("v1"), "credentials: {db: "+s.file+"}\nenv: {DB_FILE: \"{credential:db}\"}", key, 1)
			if r := s.Ctl(t, "upgrade", "-f", s.Spec(t, yaml)); r.Code != 1 || !strings.Contains(r.Stderr, says) {
				t.Errorf("%s: %v, want %q", key, r, says)
			}
		}
	}
	s.untouched(pid)
}

// Who takes over from a program that was adopted gets the service's secrets.
func TestCredentialsAfterAnAdoption(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "taking a listener over needs root here")
	s := &secretive{service: &service{Agent: harness.StartInMemory(t), t: t, folder: "plain"}}
	s.file = filepath.Join(s.Dir, "db-password")
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.rotate()
	s.spec = strings.ReplaceAll(adoptable, "ADDRESS", "tcp://"+s.address) + "user: nobody\ncredentials: {db: " + s.file + "}\n"
	l := s.startLegacy(t, harness.Program(t, "plain", "v0"), "-listen", "ADDRESS")
	s.CtlOK(t, "adopt", "-f", s.Spec(t, s.yaml("v1")), "--pid", fmt.Sprint(l.pid()))
	s.CtlOK(t, "upgrade", "web", harness.Program(t, "plain", "v1"))
	s.wants(s.value(), "after the adoption")
	s.kept()
}

// Programs of somebody else's are told the path: as an argument, or for nginx here even
// as its configuration.
func TestCredentialsOfKnownPrograms(t *testing.T) {
	_, err := exec.LookPath("/usr/sbin/nginx")
	harness.Need(t, err == nil, "nginx is not installed")
	s := &service{Agent: harness.StartInMemory(t), t: t}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.nginxConfSays(t, "one")
	s.Apply(t, "name: web\npreset: nginx\nartifact: host:/usr/sbin/nginx\nargs: [-e, stderr, -c, \"{credential:nginx.conf}\"]\n"+
		"credentials: {nginx.conf: "+s.Dir+"/nginx.conf}\nsockets: [{name: http, listen: \"tcp://"+s.address+"\"}]\nupgrade: {soak: 0s}\n")
	s.await(1, pb.Generation_STATE_ACTIVE)
	if who := get(t, s.address); who != "one\n" {
		t.Errorf("%q answers", who)
	}
	s.nginxConfSays(t, "two")
	s.CtlOK(t, "restart", "web")
	if who := get(t, s.address); who != "two\n" {
		t.Errorf("after a restart %q answers", who)
	}
}

// A trial reads them as the agent would.
func TestPreflightWithCredentials(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	yaml := "name: web\nartifact: " + harness.Program(t, "plain", "v1") + "\nenv: {DB_FILE: \"{credential:db}\"}\n" + preflightSocket
	if r, code := preflight(t, yaml+"credentials: {db: "+secret+"}\n"); code != 0 || !r.Fit {
		t.Errorf("exit code %d: %+v", code, r)
	}
}
