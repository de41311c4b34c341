package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestServeReadyExit(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	ctx := testContext(t)
	web, admin := tcpSocket(t, "web"), tcpSocket(t, "admin")
	listeners, err := c.Open(ctx, []service.Socket{web, admin}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		cookie, err := listen.Cookie(l.File)
		if err != nil || cookie != l.Cookie || !l.Accepting {
			t.Errorf("%s: cookie %d, want %d (%v), accepting %t", l.Socket.Name, cookie, l.Cookie, err, l.Accepting)
		}
		defer l.File.Close()
	}
	p := program(in, 1)
	p.Sockets = []string{"admin", "web"}
	i := start(t, c, p)
	if e := await(t, c, EventReady); e.PID != i.Process.PID || e.Instance != 1 {
		t.Errorf("ready event %+v, want of process %d", e, i.Process.PID)
	}
	pid := fmt.Sprint(i.Process.PID)
	for _, s := range []service.Socket{web, admin} {
		address := fmt.Sprintf("127.0.0.1:%d", s.Address.Port)
		if got, want := ask(t, "tcp", address, "pid"), pid+" "+pid+" "+fmt.Sprint(c.Hello().State.PID); got != want {
			t.Errorf("%s: pid, LISTEN_PID, parent: got %q, want %q", s.Name, got, want)
		}
		if got := ask(t, "tcp", address, "env"); strings.Count(got, "LISTEN_PID=") != 1 || strings.Contains(got, "GOGC") || !strings.Contains(got, "A=b") {
			t.Errorf("environment is not the declared one: %s", got)
		}
	}
	if s := state(t, c); !s.Current.Ready || s.Current.Status != "2 sockets" || !s.Current.Process.Same() || string(s.Spec) != `{"x":1}` || s.Service != "web" {
		t.Errorf("state %+v, current %+v", s, s.Current)
	}
	if err := c.Signal(ctx, SignalRequest{Op: "1", Instance: 1, Signal: int(syscall.SIGTERM), Stop: true}); err != nil {
		t.Fatal(err)
	}
	if e := await(t, c, EventExited); !e.Exit.Success() {
		t.Errorf("exit %+v, want success", e.Exit)
	}
	await(t, c, EventEmpty)
	if s := state(t, c); s.Current.Alive() || !s.Empty || !s.Sockets[0].Accepting {
		t.Errorf("after the exit the slot must stay: %+v", s)
	}
}

func TestOpenIsRepeatable(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	ctx := testContext(t)
	web := tcpSocket(t, "web")
	var cookies []uint64
	for range 2 {
		l, err := c.Open(ctx, []service.Socket{web}, nil)
		if err != nil {
			t.Fatal(err)
		}
		cookies = append(cookies, l[0].Cookie)
		l[0].File.Close()
	}
	if cookies[0] != cookies[1] {
		t.Errorf("two sockets where one was asked for: %v", cookies)
	}
	other := tcpSocket(t, "web")
	if _, err := c.Open(ctx, []service.Socket{other}, nil); err == nil {
		t.Error("one name took two addresses")
	}
	taken := service.Socket{Name: "bad", Address: service.Address{Network: service.Unix, Path: "/nonexistent/x"}}
	_, err := c.Open(ctx, []service.Socket{tcpSocket(t, "fresh"), taken}, nil)
	var le *listen.Error
	if !errors.As(err, &le) || le.Address != taken.Address || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("got %v, want a listen error with its address", err)
	}
	if s := state(t, c); len(s.Sockets) != 1 {
		t.Errorf("a failed open left sockets: %+v", s.Sockets)
	}
}

func TestStartIsIdempotent(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	ctx := testContext(t)
	first := start(t, c, program(in, 3))
	if again := start(t, c, program(in, 3)); again.Process != first.Process {
		t.Errorf("a repeated start ran another: %+v, %+v", first.Process, again.Process)
	}
	if _, err := c.Start(ctx, program(in, 2)); !errors.Is(err, ErrStale) {
		t.Errorf("an older instance: got %v, want ErrStale", err)
	}
	if _, err := c.Start(ctx, program(in, 4)); !errors.Is(err, ErrAlive) {
		t.Errorf("a second instance beside the first: got %v, want ErrAlive", err)
	}
	if err := c.Dismiss(ctx, false); !errors.Is(err, ErrAlive) {
		t.Errorf("dismiss under a live program: got %v, want ErrAlive", err)
	}
}

func TestExitStatusAndLastWords(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	start(t, c, program(in, 1, "exit", "42"))
	if e := await(t, c, EventExited); !e.Exit.Known || e.Exit.Code != 42 {
		t.Errorf("exit %+v, want status 42", e.Exit)
	}
	if s := state(t, c); s.Current.Status != "last words" {
		t.Errorf("status %q: what was sent before the exit is lost", s.Current.Status)
	}
	start(t, c, shell(in, 2, "kill -9 $$"))
	if e := await(t, c, EventExited); e.Exit.Signal != 9 || e.Exit.Code != -1 || e.Exit.Success() {
		t.Errorf("exit %+v, want signal 9", e.Exit)
	}
	if s := state(t, c); len(s.Past) != 1 || s.Past[0].Exit.Code != 42 {
		t.Errorf("past %+v, want the first instance", s.Past)
	}
}

func TestExecErrors(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	dir := filepath.Dir(in.Directory)
	elf, err := os.ReadFile(probeBinary)
	if err != nil {
		t.Fatal(err)
	}
	foreign := append([]byte(nil), elf[:4096]...)
	foreign[18], foreign[19] = 0xb7, 0 // EM_AARCH64
	if elf[18] == foreign[18] {        // EM_X86_64 then
		foreign[18] = 62
	}
	for i, test := range []struct {
		name    string
		content string
		mode    os.FileMode
		change  func(*Program)
		errno   syscall.Errno
		want    string
	}{
		{name: "empty", mode: 0o755, errno: syscall.ENOEXEC, want: "the file is empty"},
		{name: "text", content: "echo hello\n", mode: 0o755, errno: syscall.ENOEXEC, want: "neither an ELF file nor a script"},
		{name: "interpreter", content: "#!/nonexistent/python\n", mode: 0o755, errno: syscall.ENOENT, want: "interpreter /nonexistent/python"},
		{name: "foreign", content: string(foreign), mode: 0o755, errno: syscall.ENOEXEC, want: "this host is"},
		{name: "mode", content: "x", mode: 0o644, errno: syscall.EACCES, want: "not executable (mode 0644)"},
		{name: "missing", errno: syscall.ENOENT, want: "the file does not exist"},
		{name: "directory", change: func(p *Program) { p.Path = "/tmp" }, errno: syscall.EACCES, want: "it is a directory"},
		{name: "workdir", change: func(p *Program) { p.Path, p.Dir = probeBinary, "/nonexistent/dir" }, errno: syscall.ENOENT, want: "working directory /nonexistent/dir"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := program(in, i+1)
			p.Path = filepath.Join(dir, test.name)
			if test.mode != 0 {
				if err := os.WriteFile(p.Path, []byte(test.content), test.mode); err != nil {
					t.Fatal(err)
				}
			}
			if test.change != nil {
				test.change(&p)
			}
			for range 2 { // the second time it is remembered
				_, err := c.Start(testContext(t), p)
				var ee *ExecError
				if !errors.As(err, &ee) || ee.Errno != test.errno || !strings.Contains(ee.Error(), test.want) {
					t.Fatalf("got %v, want errno %d and %q", err, test.errno, test.want)
				}
			}
		})
	}
	start(t, c, program(in, 100)) // the shim is none the worse
	await(t, c, EventReady)
}

func TestMissingLoader(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	sh, err := os.ReadFile("/bin/ls")
	loader := "/lib64/ld-linux-x86-64.so.2"
	needs.That(t, err == nil && strings.Contains(string(sh), loader), "/bin/ls is not an amd64 ELF file with a loader")
	p := program(in, 1)
	p.Path = filepath.Join(filepath.Dir(in.Directory), "ls")
	broken := strings.Replace(string(sh), loader, "/lib99/ld-linux-x86-64.so.2", 1)
	if err := os.WriteFile(p.Path, []byte(broken), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = c.Start(testContext(t), p)
	if err == nil || !strings.Contains(err.Error(), "its loader /lib99/ld-linux-x86-64.so.2 does not exist") {
		t.Errorf("got %v", err)
	}
}

func TestLongEnvironment(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	p := shell(in, 1, `test ${#LONG} = 100000`)
	p.Env = append(p.Env, "LONG="+strings.Repeat("x", 100000), "MORE="+strings.Repeat("y", 100000))
	start(t, c, p)
	if e := await(t, c, EventExited); !e.Exit.Success() {
		t.Errorf("exit %+v: the environment did not arrive", e.Exit)
	}
}

func TestCleanProcess(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	web := tcpSocket(t, "web")
	l, err := c.Open(testContext(t), []service.Socket{web}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l[0].File.Close()
	p := program(in, 1)
	p.Path, p.Argv = "/bin/sh", []string{"sh", "-c", `ls -l /proc/$$/fd; ulimit -n; umask; pwd; exec cat /proc/self/status`}
	p.Sockets, p.Umask, p.Nofile, p.NoNewPrivs, p.Dir = []string{"web"}, 0o027, 123, true, "/usr"
	start(t, c, p)
	await(t, c, EventExited)
	b, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	out := string(b)
	for _, want := range []string{"3 -> socket:", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "NoNewPrivs:\t1", "123\n0027\n/usr\n", "0 -> /dev/null"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	if n := strings.Count(out, " -> "); n != 4 {
		t.Errorf("%d descriptors, want 0 to 3:\n%s", n, out)
	}
	if st, err := os.Stat(p.Log); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("log %v %v, want mode 0640", st.Mode(), err)
	}
}

func TestUser(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root may change users")
	in := testIntent(t)
	c := spawnTest(t, in)
	p := program(in, 1)
	p.User = &User{UID: 65534, GID: 65534, Groups: []uint32{65533}}
	p.Path, p.Argv = "/bin/sh", []string{"sh", "-c", "id -u; id -g; id -G; echo again >>/dev/stdout"}
	start(t, c, p)
	await(t, c, EventExited)
	b, _ := os.ReadFile(p.Log)
	if got, want := string(b), "65534\n65534\n65534 65533\nagain\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	private := filepath.Join(filepath.Dir(in.Directory), "private")
	os.Mkdir(private, 0o700)
	p.Instance, p.Dir = 2, private
	_, err := c.Start(testContext(t), p)
	var ee *ExecError
	if !errors.As(err, &ee) || ee.Errno != syscall.EACCES {
		t.Errorf("a directory the user may not enter: got %v, want EACCES", err)
	}
	p.Instance, p.Dir = 3, ""
	p.Path, p.Argv = probeBinary, []string{"probe"}
	start(t, c, p)
	await(t, c, EventReady) // the notify socket can be reached
}

// A program of another user shares no keys with the agent, and so with other
// services.
func TestSessionKeyring(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root may change users")
	_, err := os.Stat("/proc/keys")
	needs.That(t, err == nil, "the kernel has no keyrings")
	in := testIntent(t)
	c := spawnTest(t, in)
	p := program(in, 1)
	p.User = &User{UID: 65534, GID: 65534}
	p.Path, p.Argv = "/bin/sh", []string{"sh", "-c", "cat /proc/keys"}
	start(t, c, p)
	await(t, c, EventExited)
	keys, _ := os.ReadFile(p.Log)
	if !regexp.MustCompile(`65534 +65534 keyring +_ses`).Match(keys) {
		t.Errorf("it has no session keyring of its own:\n%s", keys)
	}
}

// Capabilities that an agent was given beside its user are not the programs'.
func TestAmbientCapabilities(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root has capabilities to give")
	in := testIntent(t)
	c := spawnAmbient(t, in)
	for instance, confined := range []bool{false, true} {
		p := shell(in, instance+1, "exec cat /proc/self/status")
		p.NoNewPrivs = confined
		if err := os.RemoveAll(p.Log); err != nil {
			t.Fatal(err)
		}
		start(t, c, p)
		await(t, c, EventEmpty)
		status, _ := os.ReadFile(p.Log)
		if none := strings.Contains(string(status), "CapAmb:\t0000000000000000"); none != confined {
			t.Errorf("confined %t:\n%s", confined, status)
		}
	}
}

// spawnAmbient starts a shim from a thread with an ambient capability, which ends
// with it.
func spawnAmbient(t *testing.T, in Intent) *Client {
	t.Helper()
	var c *Client
	ctx, done := testContext(t), make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := raiseAmbient(unix.CAP_NET_BIND_SERVICE); err != nil {
			done <- err
			return
		}
		var err error
		c, err = Spawn(ctx, shimBinary, in)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, c, in.Directory) })
	return c
}

func raiseAmbient(capability uintptr) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable |= 1 << capability
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, capability, 0, 0)
}

// What protects the agent when memory is short is no program's; what makes one
// killed sooner stays.
func TestUnprotect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oom_score_adj")
	for was, want := range map[string]string{"-900\n": "0", "0\n": "0\n", "200\n": "200\n"} {
		if err := os.WriteFile(path, []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
		unprotect(path)
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q became %q (%v), want %q", was, got, err, want)
		}
	}
	unprotect(filepath.Join(path, "none")) // degrades quietly
}
